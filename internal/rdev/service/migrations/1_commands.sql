-- The words in braces are explained in package store. Times are microseconds since 1970; 0 is never.

-- One row. number is the highest that any command ever had, so that none repeats, whatever the clock does; owner grows
-- with each process that opens the database, and what an earlier one still writes is refused.
CREATE TABLE rdev_state (number BIGINT NOT NULL, owner BIGINT NOT NULL);
INSERT INTO rdev_state (number, owner) VALUES (0, 0);

CREATE TABLE rdev_commands (
    id       TEXT PRIMARY KEY,
    project  TEXT NOT NULL,
    asked_by TEXT NOT NULL,
    status   TEXT NOT NULL,
    shown    TEXT NOT NULL,         -- the request as it is told, as JSON
    size     BIGINT NOT NULL,       -- of shown, in bytes
    request  TEXT NOT NULL,         -- the whole request, as JSON; empty after the end, for it may have secrets
    memory   BIGINT NOT NULL,       -- bytes that it may use
    same_key TEXT UNIQUE,           -- what a repetition of the request finds it by; NULL where no key was given
    digest   {bytes} NOT NULL,      -- of the request, to tell a repetition from another request with its key
    created  BIGINT NOT NULL,
    started  BIGINT NOT NULL,
    finished BIGINT NOT NULL,
    ending   TEXT NOT NULL,         -- rdev.End, as JSON; empty before
    output   TEXT NOT NULL          -- rdev.Output, as JSON; empty before the end
);
CREATE INDEX rdev_commands_status ON rdev_commands (status, id);
CREATE INDEX rdev_commands_project ON rdev_commands (project, id);
CREATE INDEX rdev_commands_asked_by ON rdev_commands (asked_by, id);
CREATE INDEX rdev_commands_finished ON rdev_commands (finished) WHERE finished > 0;
