-- The words in braces are explained in package store. Times are microseconds since 1970; 0 is never.

CREATE TABLE instances (
    name    TEXT PRIMARY KEY,
    host    TEXT NOT NULL,
    version TEXT NOT NULL,
    started BIGINT NOT NULL,
    seen    BIGINT NOT NULL,
    workers TEXT NOT NULL -- what they do, as JSON, when it was last seen
);

-- Memory and count of the pool default are settings; its row has the generation alone.
CREATE TABLE pools (
    name       TEXT PRIMARY KEY,
    memory     BIGINT NOT NULL,
    count      BIGINT NOT NULL,
    generation BIGINT NOT NULL
);
INSERT INTO pools (name, memory, count, generation) VALUES ('default', 0, 0, 0);

CREATE TABLE settings (
    key     TEXT PRIMARY KEY,
    value   TEXT NOT NULL,
    set_by  TEXT NOT NULL,
    changed BIGINT NOT NULL
);

-- One row. Its version grows with every change of pools and settings, which take turns by it.
CREATE TABLE config (version BIGINT NOT NULL);
INSERT INTO config (version) VALUES (1);

CREATE TABLE jobs (
    id        {id},
    image     TEXT NOT NULL,
    platform  TEXT NOT NULL,
    digest    TEXT NOT NULL,
    size      BIGINT NOT NULL,
    layers    BIGINT NOT NULL,
    subject   TEXT NOT NULL,        -- what quarantine and retries go by: the digest, or the reference where there is none
    shared    TEXT UNIQUE,          -- what other requests for the same find it by; NULL where they must not
    status    TEXT NOT NULL,
    reason    TEXT NOT NULL,
    message   TEXT NOT NULL,
    pool      TEXT NOT NULL,
    attempts  BIGINT NOT NULL,
    forgiven  BIGINT NOT NULL,      -- attempts before somebody asked to try again, which no longer count
    requests  BIGINT NOT NULL,
    timeout   BIGINT NOT NULL,      -- nanoseconds
    attach    BIGINT NOT NULL,      -- 0 or 1
    local     BIGINT NOT NULL,      -- 0 or 1: who asked for it could read the server's files anyway
    cancelled TEXT NOT NULL,        -- who cancelled it while it ran
    due       BIGINT NOT NULL,      -- not before; 0 is at once
    queued    BIGINT NOT NULL,      -- since when it waits
    submitted BIGINT NOT NULL,
    started   BIGINT NOT NULL,
    ended     BIGINT NOT NULL,
    -- of the result, where it has succeeded
    inventory  TEXT NOT NULL,
    bytes      BIGINT NOT NULL,
    components BIGINT NOT NULL,
    problems   BIGINT NOT NULL,
    attached   TEXT NOT NULL
);
-- What can be claimed at once, and what waits for its time. By id alone, PostgreSQL would
-- take the primary key, and read all jobs that have ended on the way.
CREATE INDEX jobs_ready ON jobs (pool, (id + 0), queued) WHERE status = 'pending' AND due = 0;
CREATE INDEX jobs_delayed ON jobs (pool, due, queued) WHERE status = 'pending' AND due > 0;
CREATE INDEX jobs_subject ON jobs (subject, id);
CREATE INDEX jobs_ended ON jobs (ended) WHERE ended > 0;

CREATE TABLE attempts (
    job          BIGINT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number       BIGINT NOT NULL,
    pool         TEXT NOT NULL,
    worker       TEXT NOT NULL,
    instance     TEXT NOT NULL,
    memory_limit BIGINT NOT NULL,
    started      BIGINT NOT NULL,
    ended        BIGINT NOT NULL,
    outcome      TEXT NOT NULL,     -- empty while it runs
    exit_code    BIGINT,
    kills        BIGINT NOT NULL,
    peak         BIGINT NOT NULL,
    rss          BIGINT NOT NULL,
    progress     TEXT NOT NULL,     -- JSON, or empty
    message      TEXT NOT NULL,
    PRIMARY KEY (job, number)
);
CREATE INDEX attempts_running ON attempts (instance, job) WHERE outcome = '';
CREATE INDEX attempts_ended ON attempts (ended) WHERE ended > 0;

CREATE TABLE incidents (
    id      {id},
    job     BIGINT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number  BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    action  TEXT NOT NULL
);
CREATE INDEX incidents_job ON incidents (job);
CREATE INDEX incidents_at ON incidents (at);

CREATE TABLE quarantine (
    subject      TEXT PRIMARY KEY,
    memory_limit BIGINT NOT NULL,
    mode         TEXT NOT NULL,
    incident     BIGINT NOT NULL,
    at           BIGINT NOT NULL
);

CREATE TABLE events (
    id      {id},
    job     BIGINT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    at      BIGINT NOT NULL,
    kind    TEXT NOT NULL,
    message TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    status  TEXT NOT NULL
);
CREATE INDEX events_job ON events (job, id);

-- Inventories by their digest, in chunks. One that no result names is removed by Prune.
CREATE TABLE blobs (
    id     {id},
    digest TEXT NOT NULL UNIQUE,
    size   BIGINT NOT NULL
);
CREATE TABLE chunks (
    blob   BIGINT NOT NULL REFERENCES blobs (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    data   {bytes} NOT NULL,
    PRIMARY KEY (blob, number)
);
CREATE TABLE results (
    job      BIGINT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    blob     BIGINT NOT NULL REFERENCES blobs (id),
    document {bytes} NOT NULL -- of the image, as the SBOM states it
);
CREATE INDEX results_blob ON results (blob);
