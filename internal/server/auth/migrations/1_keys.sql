CREATE TABLE api_keys (
	name    TEXT PRIMARY KEY,
	id      TEXT NOT NULL UNIQUE,
	hash    {bytes} NOT NULL,
	scope   TEXT NOT NULL,
	made_by TEXT NOT NULL,
	created BIGINT NOT NULL,
	expires BIGINT NOT NULL,
	used    BIGINT NOT NULL
)
