package queue

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"stella/internal/store"
)

const (
	// pruneBatch is how many jobs one transaction removes, with all that belongs to
	// them, so that others are kept waiting some ms at most.
	pruneBatch = 25
	// forget is when an instance that was not heard of is no longer known.
	forget = 24 * time.Hour
)

// Prune removes jobs that ended before a moment, and inventories that no job has
// then; it returns how many of each. It does so in batches, and what was done before an
// error stays done. It also forgets instances that were not heard of for a day and have no attempts.
func (q *Queue) Prune(ctx context.Context, before time.Time) (jobs, blobs int, err error) {
	for {
		var j, b int
		err := q.write(ctx, func(tx *store.Tx) (err error) {
			j, b, err = prune(ctx, tx, before)
			return err
		})
		if err != nil {
			return jobs, blobs, err
		}
		if j == 0 {
			break
		}
		jobs, blobs = jobs+j, blobs+b
	}
	return jobs, blobs, q.write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM instances WHERE seen < {now} - $1 AND name <> $2
			AND NOT EXISTS (SELECT 1 FROM attempts WHERE outcome = '' AND instance = instances.name)`, forget.Microseconds(), q.instance.Name)
		return err
	})
}

func prune(ctx context.Context, tx *store.Tx, before time.Time) (jobs, blobs int, err error) {
	ids, err := numbers(ctx, tx, fmt.Sprintf(`SELECT id FROM jobs WHERE ended > 0 AND ended < $1 ORDER BY ended LIMIT %d {skip}`, pruneBatch), toMicros(before))
	if err != nil || len(ids) == 0 {
		return 0, 0, err
	}
	these := placeholders(len(ids))
	// Whoever ends a job with the same inventory now waits for this transaction, or this one for it.
	candidates, err := numbers(ctx, tx, `SELECT id FROM blobs WHERE id IN (SELECT blob FROM results WHERE job IN (`+these+`)) ORDER BY id {lock}`, ids...)
	if err != nil {
		return 0, 0, err
	}
	n, err := tx.Exec(ctx, `DELETE FROM jobs WHERE id IN (`+these+`)`, ids...)
	if err != nil || len(candidates) == 0 {
		return int(n), 0, err
	}
	b, err := tx.Exec(ctx, `DELETE FROM blobs WHERE id IN (`+placeholders(len(candidates))+`)
		AND NOT EXISTS (SELECT 1 FROM results WHERE blob = blobs.id)`, candidates...)
	return int(n), int(b), err
}

// numbers reads a column of numbers, as arguments of another statement.
func numbers(ctx context.Context, tx *store.Tx, text string, args ...any) (all []any, err error) {
	err = tx.Each(ctx, text, args, func(rows *sql.Rows) error {
		var n int64
		err := rows.Scan(&n)
		all = append(all, n)
		return err
	})
	return all, err
}

// placeholders are $1, $2 and so on.
func placeholders(n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("$%d", i+1)
	}
	return strings.Join(names, ", ")
}
