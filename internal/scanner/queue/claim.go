package queue

import (
	"context"
	"fmt"
	"time"

	"stella/internal/bytesize"
	"stella/internal/scanner"
	"stella/internal/store"
)

// Claim is an attempt that a worker has from now on.
type Claim struct {
	Job     scanner.Job
	Attempt scanner.Attempt
	// Failures is how many earlier attempts ended as error, killed, oom or memory,
	// since somebody last asked to try again.
	Failures int
}

// claimJob takes what has waited for its time first: it is older than most that
// need not wait. Both selects are by index, one row each.
const claimJob = `UPDATE jobs SET status = 'running', due = 0, attempts = attempts + 1, started = CASE started WHEN 0 THEN {now} ELSE started END
	WHERE id = coalesce(
		(SELECT id FROM jobs WHERE pool = $1 AND status = 'pending' AND due > 0 AND due <= {now} ORDER BY due LIMIT 1 {skip}),
		(SELECT id FROM jobs WHERE pool = $1 AND status = 'pending' AND due = 0 ORDER BY id + 0 LIMIT 1 {skip}))
	RETURNING ` + columns

// Claim begins an attempt of the oldest job of the pool that may begin now, in a
// worker of this instance with so many bytes of memory. It returns nil where there is none.
func (q *Queue) Claim(ctx context.Context, pool, worker string, limit int64) (*Claim, error) {
	var c *Claim
	err := q.write(ctx, func(tx *store.Tx) error {
		c = nil
		r := &row{}
		found, err := tx.Get(ctx, claimJob, []any{pool}, r.fields()...)
		if err != nil || !found {
			return err
		}
		a := scanner.Attempt{Job: r.ID, Number: r.Attempts, Pool: pool, Worker: worker, Instance: q.instance.Name, Limit: limit}
		var started int64
		_, err = tx.Get(ctx, `INSERT INTO attempts (job, number, pool, worker, instance, memory_limit, started, ended, outcome, kills, peak, rss, progress, message)
			VALUES ($1, $2, $3, $4, $5, $6, {now}, 0, '', 0, 0, 0, '', '') RETURNING started`,
			[]any{a.Job, a.Number, a.Pool, a.Worker, a.Instance, a.Limit}, &started)
		if err != nil {
			return err
		}
		a.Started = fromMicros(started)
		failures, err := failures(ctx, tx, r)
		if err != nil {
			return err
		}
		c = &Claim{Job: r.job(), Attempt: a, Failures: failures}
		return event(ctx, tx, r.ID, r.Status, scanner.EventStarted, a.Number,
			fmt.Sprintf("attempt %d in worker %s of %s, pool %s (%s)", a.Number, worker, q.instance.Name, pool, bytesize.Text(limit)))
	})
	return c, err
}

// failures counts the attempts before this one that the image itself may have ended.
func failures(ctx context.Context, tx *store.Tx, r *row) (n int, err error) {
	if r.Attempts-r.forgiven < 2 {
		return 0, nil
	}
	_, err = tx.Get(ctx, `SELECT count(*) FROM attempts WHERE job = $1 AND number > $2 AND outcome IN ('error', 'killed', 'oom', 'memory')`,
		[]any{r.ID, r.forgiven}, &n)
	return n, err
}

// NextDue is when the next job of the pool that waits for its time may begin, by
// the caller's clock (which need not be the database's); zero where none does.
func (q *Queue) NextDue(ctx context.Context, pool string) (at time.Time, err error) {
	err = q.read(ctx, func(tx *store.Tx) error {
		var wait int64
		found, err := tx.Get(ctx, `SELECT due - {now} FROM jobs WHERE pool = $1 AND status = 'pending' AND due > 0 ORDER BY due LIMIT 1`,
			[]any{pool}, &wait)
		if found {
			at = time.Now().Add(time.Duration(wait) * time.Microsecond)
		}
		return err
	})
	return at, err
}
