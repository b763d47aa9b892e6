package queue

import (
	"context"
	"fmt"
	"time"

	"stella/internal/scanner"
	"stella/internal/store"
)

// requeue makes a job that r has locked wait again, and reads it into r.
func requeue(ctx context.Context, tx *store.Tx, r *row, pool string, delay time.Duration, attempt int, why string) error {
	pool, err := existing(ctx, tx, pool)
	if err != nil {
		return err
	}
	why = fmt.Sprintf("%s; waits for pool %s", why, pool)
	if delay > 0 {
		why = fmt.Sprintf("%s, %v at least", why, delay)
	}
	_, err = tx.Get(ctx, `UPDATE jobs SET status = 'pending', pool = $2, due = CASE WHEN $3 > 0 THEN {now} + $3 ELSE 0 END, queued = {now}
		WHERE id = $1 RETURNING `+columns, []any{r.ID, pool, delay.Microseconds()}, r.fields()...)
	if err != nil {
		return err
	}
	return event(ctx, tx, r.ID, r.Status, scanner.EventRequeued, attempt, why)
}

// end makes a job that r has locked final, reads it into r, and tells its incident, where it has one.
func (q *Queue) end(ctx context.Context, tx *store.Tx, r *row, d scanner.Decision, attempt int, why string) error {
	_, err := tx.Get(ctx, `UPDATE jobs SET status = $2, pool = $3, reason = $4, message = $5, ended = {now}, shared = NULL, due = 0,
			inventory = $6, bytes = $7, components = $8, problems = $9, attached = $10
		WHERE id = $1 RETURNING `+columns,
		[]any{r.ID, string(d.Status), d.Pool, d.Reason, clean(d.Message),
			r.result.Inventory, r.result.Size, r.result.Components, r.result.Problems, r.result.Attached}, r.fields()...)
	if err != nil {
		return err
	}
	if err := event(ctx, tx, r.ID, r.Status, scanner.EventEnded, attempt, why); err != nil {
		return err
	}
	return q.settle(ctx, tx, r, d, attempt)
}
