package queue

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"stella/internal/scanner"
	"stella/internal/store"
)

const (
	// maxLose bounds the attempts that one transaction ends as lost, so that others are not kept waiting.
	maxLose = 100
	// maxOurs is as many workers as an instance can have.
	maxOurs = scanner.MaxPools * scanner.MaxCount
)

// running is an attempt that has not ended.
type running struct {
	job       int64
	number    int
	worker    string
	instance  string
	started   int64
	cancelled string
}

// Renew says that this instance lives, and what its workers do now. It returns the
// jobs that workers should stop: those that somebody cancelled, and those that are
// no longer this instance's, because it was not heard of for too long.
//
// A worker has its Job in the snapshot from the moment that Claim returns until Finish
// has returned. An attempt that was there at the last Renew, and that no worker has, is
// lost: the claim's answer did not arrive, or the worker was removed.
func (q *Queue) Renew(ctx context.Context, workers []scanner.Worker) (stop []int64, err error) {
	snapshot, err := json.Marshal(workers)
	if err != nil {
		return nil, err
	}
	err = q.write(ctx, func(tx *store.Tx) error {
		var before int64 // when it was heard of last
		known, err := tx.Get(ctx, `SELECT seen FROM instances WHERE name = $1 {lock}`, []any{q.instance.Name}, &before)
		if err == nil && !known { // forgotten: it was stopped for very long
			err = q.register(ctx, tx)
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE instances SET seen = {now}, workers = $2 WHERE name = $1`, q.instance.Name, string(snapshot))
		if err != nil {
			return err
		}
		ours, err := collect(ctx, tx, maxOurs, `a.instance = $1`, q.instance.Name)
		if err != nil {
			return err
		}
		stop = toStop(ours, workers)
		for _, a := range ours {
			if a.started < before && !hasWorker(a, workers) {
				if err := q.lose(ctx, tx, a, "no worker has it"); err != nil {
					return err
				}
			}
		}
		return unfreeze(ctx, tx)
	})
	return stop, err
}

// toStop are the jobs of ours that were cancelled, and those of workers that are not ours.
func toStop(ours []running, workers []scanner.Worker) (stop []int64) {
	for _, a := range ours {
		if a.cancelled != "" {
			stop = append(stop, a.job)
		}
	}
	for _, w := range workers {
		if w.Job != 0 && !slices.ContainsFunc(ours, func(a running) bool { return a.job == w.Job }) {
			stop = append(stop, w.Job)
		}
	}
	return stop
}

func hasWorker(a running, workers []scanner.Worker) bool {
	return slices.ContainsFunc(workers, func(w scanner.Worker) bool { return w.Name == a.worker && w.Job == a.job })
}

// unfreeze lets jobs begin that wait for a moment although the clock was set back
// since: they would wait that much longer. It looks only at jobs that wait for a moment.
func unfreeze(ctx context.Context, tx *store.Tx) error {
	_, err := tx.Exec(ctx, `UPDATE jobs SET due = 0 WHERE status = 'pending' AND due > 0 AND queued > {now}`)
	return err
}

// Recover ends the attempts that this instance had before it was started as lost,
// and returns how many; their jobs wait again. It is called before the first Claim.
func (q *Queue) Recover(ctx context.Context) (int, error) {
	return q.loseAll(ctx, "its instance was ended", `a.instance = $1`, q.instance.Name)
}

// TakeOver does the same with the attempts of other instances that were not heard of
// for so long. One that was heard of in the future, because the database's clock was
// set back since, counts as not heard of: who lives is heard of again in a moment.
func (q *Queue) TakeOver(ctx context.Context, expiry time.Duration) (int, error) {
	return q.loseAll(ctx, fmt.Sprintf("its instance was not heard of for %v", expiry),
		`a.instance <> $1 AND abs({now} - coalesce((SELECT seen FROM instances WHERE name = a.instance), 0)) > $2`,
		q.instance.Name, expiry.Microseconds())
}

// TakeAll does the same with the attempts of all other instances. It is for SQLite,
// whose file one process has alone: they are what it left under another name.
func (q *Queue) TakeAll(ctx context.Context) (int, error) {
	return q.loseAll(ctx, "its instance was ended", `a.instance <> $1`, q.instance.Name)
}

// loseAll ends all attempts that a condition chooses, some at a time.
func (q *Queue) loseAll(ctx context.Context, why, condition string, args ...any) (total int, err error) {
	for {
		var some []running
		err := q.write(ctx, func(tx *store.Tx) (err error) {
			if some, err = collect(ctx, tx, maxLose, condition, args...); err != nil {
				return err
			}
			for _, a := range some {
				if err := q.lose(ctx, tx, a, why); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || len(some) == 0 {
			return total, err
		}
		total += len(some)
	}
}

// collect reads attempts that run, by job, so that nobody locks jobs in another order.
func collect(ctx context.Context, tx *store.Tx, limit int, condition string, args ...any) (all []running, err error) {
	text := fmt.Sprintf(`SELECT a.job, a.number, a.worker, a.instance, a.started, j.cancelled FROM attempts a JOIN jobs j ON j.id = a.job
		WHERE a.outcome = '' AND %s ORDER BY a.job LIMIT %d`, condition, limit)
	err = tx.Each(ctx, text, args, func(rows *sql.Rows) error {
		var a running
		err := rows.Scan(&a.job, &a.number, &a.worker, &a.instance, &a.started, &a.cancelled)
		all = append(all, a)
		return err
	})
	return all, err
}

// lose ends an attempt as lost, unless somebody else has ended it, and makes its job wait again at once.
func (q *Queue) lose(ctx context.Context, tx *store.Tx, a running, why string) error {
	r, err := lock(ctx, tx, a.job)
	if errors.Is(err, scanner.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	n, err := tx.Exec(ctx, `UPDATE attempts SET ended = {now}, outcome = 'lost', message = $3 WHERE job = $1 AND number = $2 AND outcome = ''`,
		a.job, a.number, why)
	if err != nil || n == 0 {
		return err
	}
	text := fmt.Sprintf("attempt %d: lost in %s: %s", a.number, a.instance, why)
	if r.cancelled != "" {
		return q.end(ctx, tx, r, cancellation(r, scanner.Decision{}), a.number, text)
	}
	return requeue(ctx, tx, r, r.Pool, 0, a.number, text)
}
