package book

import (
	"context"
	"fmt"
	"time"

	"stella/internal/store"
)

const (
	// pruneEvery is how often what is too old or too much is removed.
	pruneEvery = 10 * time.Minute
	// pruneBatch is how many incidents one transaction removes, so that others are not kept waiting.
	pruneBatch = 25
)

// Run prunes until ctx ends.
func (b *Book) Run(ctx context.Context) error {
	ticks := time.NewTicker(pruneEvery)
	defer ticks.Stop()
	for {
		if n, err := b.Prune(ctx); err != nil && ctx.Err() == nil {
			b.o.Log.Warn("old incidents were not removed; trying again", "error", err)
		} else if n > 0 {
			b.o.Log.Info("old incidents removed", "incidents", n)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
}

// Prune removes incidents that ended longer ago than is kept, and while all that are left are too large, the one that ended first, or where none has
// ended, the one in which nothing happened for longest. It returns how many it removed; what was done before an error stays done.
func (b *Book) Prune(ctx context.Context) (removed int, err error) {
	before := time.Now().Add(-b.o.KeepEnded)
	for {
		n, err := b.remove(ctx, `ended > 0 AND ended < $1 ORDER BY ended`, pruneBatch, micros(before))
		removed += n
		if err != nil {
			return removed, err
		}
		if n == 0 {
			break
		}
	}
	for {
		var total int64
		err := b.db.Read(ctx, func(tx *store.Tx) error {
			_, err := tx.Get(ctx, `SELECT CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM incident_summaries`, nil, &total)
			return err
		})
		if err != nil || total <= b.o.MaxTotal {
			return removed, err
		}
		n, err := b.remove(ctx, `true ORDER BY CASE WHEN ended = 0 THEN 1 ELSE 0 END, ended, updated`, 1)
		removed += n
		if err != nil || n == 0 {
			return removed, err
		}
		b.o.Log.Warn("an incident was removed to make room", "bytes", total, "at_most", b.o.MaxTotal)
	}
}

// remove removes the first incidents of those that a condition chooses and orders.
func (b *Book) remove(ctx context.Context, condition string, limit int, args ...any) (n int, err error) {
	err = b.db.Write(ctx, func(tx *store.Tx) error {
		removed, err := tx.Exec(ctx, fmt.Sprintf(`DELETE FROM incident_summaries WHERE id IN (SELECT id FROM incident_summaries WHERE %s LIMIT %d {skip})`, condition, limit), args...)
		n = int(removed)
		return err
	})
	return n, err
}
