-- The words in braces are explained in package store. Times are microseconds since 1970; 0 is never.

CREATE TABLE webhook_deliveries (
    id      {id},
    url     TEXT NOT NULL,
    host    TEXT NOT NULL,      -- of url, with its port: what fails together
    body    TEXT NOT NULL,      -- the same in every try
    created BIGINT NOT NULL,
    due     BIGINT NOT NULL,    -- not before
    tries   BIGINT NOT NULL
);
CREATE INDEX webhook_deliveries_host ON webhook_deliveries (host, due, id);

-- Hosts that failed, while there is something for them.
CREATE TABLE webhook_hosts (
    host     TEXT PRIMARY KEY,
    failures BIGINT NOT NULL,   -- one after the other
    closed   BIGINT NOT NULL    -- until when nothing is sent to it
);
