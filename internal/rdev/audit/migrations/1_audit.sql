CREATE TABLE rdev_audit (
	id      {id},
	at      BIGINT NOT NULL,
	caller  TEXT NOT NULL,
	action  TEXT NOT NULL,
	origin  TEXT NOT NULL,
	project TEXT NOT NULL,
	command TEXT NOT NULL,
	api_key TEXT NOT NULL,
	detail  TEXT NOT NULL
);
