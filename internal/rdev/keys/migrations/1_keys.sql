CREATE TABLE rdev_keys (
	name      TEXT PRIMARY KEY,
	id        TEXT NOT NULL UNIQUE,
	hash      {bytes} NOT NULL,
	scope     TEXT NOT NULL,
	projects  TEXT NOT NULL,
	made_by   TEXT NOT NULL,
	created   BIGINT NOT NULL,
	expires   BIGINT NOT NULL,
	used      BIGINT NOT NULL,
	old_id    TEXT NOT NULL,
	old_hash  {bytes} NOT NULL,
	old_until BIGINT NOT NULL
);
CREATE INDEX rdev_keys_old ON rdev_keys (old_id);
