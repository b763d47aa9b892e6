package queue

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"stella/internal/incident"
	"stella/internal/scanner"
	"stella/internal/store"
)

// moveBatch is how many incidents of the first version are in memory at a time.
const moveBatch = 100

// old is an incident of the first version, in a table of its own.
type old struct {
	scanner.WorkerKill
	row int64
	job row
}

// move makes events of the incidents that were in a table of their own, with all that is known of what became of their jobs, and removes the table.
func (q *Queue) move(ctx context.Context, tx *store.Tx) error {
	for _, text := range []string{
		`ALTER TABLE attempts ADD COLUMN incident TEXT NOT NULL DEFAULT ''`, // that its kill is told in; empty where it was not killed
		`ALTER TABLE quarantine ADD COLUMN incident_id TEXT NOT NULL DEFAULT ''`,
		`UPDATE quarantine SET incident_id = coalesce((SELECT 'job-' || CAST(job AS TEXT) FROM incidents WHERE id = quarantine.incident), '')`,
		`ALTER TABLE quarantine DROP COLUMN incident`,
	} {
		if _, err := tx.Exec(ctx, text); err != nil {
			return err
		}
	}
	for last := int64(0); ; {
		some, err := olds(ctx, tx, last)
		if err != nil {
			return err
		}
		if len(some) == 0 {
			break
		}
		for _, o := range some {
			if err := q.moveOne(ctx, tx, o); err != nil {
				return fmt.Errorf("move incident %d: %w", o.row, err)
			}
		}
		last = some[len(some)-1].row
	}
	_, err := tx.Exec(ctx, `DROP TABLE incidents`)
	return err
}

// olds are the next incidents behind a row.
func olds(ctx context.Context, tx *store.Tx, last int64) (all []old, err error) {
	text := fmt.Sprintf(`SELECT i.id, i.at, i.action, j.image, j.digest, j.status, j.pool, j.attempts, j.cancelled, j.message, j.ended, a.%s
		FROM incidents i JOIN attempts a ON a.job = i.job AND a.number = i.number JOIN jobs j ON j.id = i.job WHERE i.id > $1 ORDER BY i.id LIMIT %d`,
		strings.ReplaceAll(attemptColumns, ", ", ", a."), moveBatch)
	err = tx.Each(ctx, text, []any{last}, func(rows *sql.Rows) error {
		var o old
		var at int64
		var r attemptRow
		if err := rows.Scan(append([]any{&o.row, &at, &o.Action, &o.Image, &o.Digest,
			&o.job.Status, &o.job.Pool, &o.job.Attempts, &o.job.cancelled, &o.job.Message, &o.job.ended}, r.fields()...)...); err != nil {
			return err
		}
		a, err := r.attempt()
		o.ID, o.At, o.Job, o.Number, o.Pool, o.Worker, o.Limit, o.End = newID(a.Job, 0, false), fromMicros(at), a.Job, a.Number, a.Pool, a.Worker, a.Limit, a.End
		o.job.ID = a.Job
		all = append(all, o)
		return err
	})
	return all, err
}

// moveOne tells an incident's events. Those that the incident has already, of an earlier attempt, count once.
func (q *Queue) moveOne(ctx context.Context, tx *store.Tx, o old) error {
	_, err := tx.Exec(ctx, `UPDATE attempts SET incident = $3 WHERE job = $1 AND number = $2`, o.Job, o.Number, o.ID)
	if err != nil {
		return err
	}
	var events []incident.Event
	if _, found, err := q.incidents.Incident(ctx, tx, o.ID); err != nil {
		return err
	} else if !found {
		events = append(events, opened(o.WorkerKill, q.actor(), ""))
	}
	if err := q.incidents.Append(ctx, tx, append(events, told(o.WorkerKill, q.actor())...)...); err != nil {
		return err
	}
	var later int64
	if _, err := tx.Get(ctx, `SELECT count(*) FROM incidents WHERE job = $1 AND id > $2`, []any{o.Job, o.row}, &later); err != nil {
		return err
	}
	if !o.job.Status.Final() || later > 0 {
		return nil
	}
	quarantined := o.job.Status == scanner.StatusFailed && o.Number == o.job.Attempts
	return q.settle(ctx, tx, &o.job, scanner.Decision{Quarantine: quarantined, Action: o.Action, Message: o.job.Message}, o.job.Attempts)
}
