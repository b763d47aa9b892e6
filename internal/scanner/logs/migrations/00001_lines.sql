CREATE TABLE log_lines (
	id {id},
	at BIGINT NOT NULL,
	level BIGINT NOT NULL, -- 0 debug, 1 info, 2 warn, 3 error
	instance TEXT NOT NULL,
	source TEXT NOT NULL,
	job BIGINT NOT NULL, -- 0 for none, and so for attempt and worker
	attempt BIGINT NOT NULL,
	worker TEXT NOT NULL,
	message TEXT NOT NULL,
	written BIGINT NOT NULL -- bytes of all lines ever written, up to and with this one
);

CREATE INDEX log_lines_at ON log_lines (at);

CREATE INDEX log_lines_job ON log_lines (job, id) WHERE job <> 0;

-- One row. Who writes lines holds it, so that lines become visible in the order of their ids.
CREATE TABLE log_total (written BIGINT NOT NULL);

INSERT INTO log_total (written) VALUES (0);
