-- The words in braces are explained in package store. Times are microseconds since 1970; 0 is never.

-- One row. Whoever adds events takes their numbers from it and has it until the end of the transaction, so that numbers become
-- visible in their order, and who follows misses none.
CREATE TABLE incident_clock (number BIGINT NOT NULL);
INSERT INTO incident_clock (number) VALUES (0);

CREATE TABLE incident_summaries (
    id        TEXT PRIMARY KEY,
    owner     TEXT NOT NULL,   -- who told of it first
    source    TEXT NOT NULL,
    state     TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name      TEXT NOT NULL,
    workload  TEXT NOT NULL,
    pod       TEXT NOT NULL,
    container TEXT NOT NULL,
    updated   BIGINT NOT NULL,
    ended     BIGINT NOT NULL,
    floor     BIGINT NOT NULL, -- kills and samples up to here were let go, or are there
    events    BIGINT NOT NULL, -- those that are there, also kills that others replace
    bytes     BIGINT NOT NULL,
    summary   TEXT NOT NULL    -- what the events make of it, as JSON
);
CREATE INDEX incident_summaries_updated ON incident_summaries (updated);
CREATE INDEX incident_summaries_ended ON incident_summaries (ended, updated);

CREATE TABLE incident_events (
    incident TEXT NOT NULL REFERENCES incident_summaries (id) ON DELETE CASCADE,
    id       TEXT NOT NULL,
    number   BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    kind     TEXT NOT NULL,
    replaces TEXT NOT NULL,    -- the kill that this one corrects, or empty
    bytes    BIGINT NOT NULL,
    head     TEXT NOT NULL,    -- the event without its data, as JSON
    data     TEXT NOT NULL,    -- its data, or empty
    PRIMARY KEY (incident, id)
);
CREATE UNIQUE INDEX incident_events_number ON incident_events (number);
CREATE INDEX incident_events_at ON incident_events (incident, at);
CREATE INDEX incident_events_replaces ON incident_events (incident, replaces) WHERE replaces <> '';
CREATE INDEX incident_events_kills ON incident_events (at) WHERE kind = 'killed';
