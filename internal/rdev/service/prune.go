package service

import (
	"context"
	"time"

	"stella/internal/store"
)

// pruneStep is how many commands one transaction removes, so that others need not wait for long.
const pruneStep = 500

// pruning removes what is too old, or too many, again and again until ctx ends.
func (s *Service) pruning(ctx context.Context) {
	timer := time.NewTicker(pruneEvery)
	defer timer.Stop()
	for {
		n, err := s.prune(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.log.Error("commands that ended long ago cannot be removed; trying again", "error", err)
		case n > 0:
			s.log.Info("removed commands that ended long ago", "commands", n)
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
	}
}

// prune removes ended commands that are too old, and the oldest of those that are too many. Their logs have a
// retention of their own.
func (s *Service) prune(ctx context.Context) (removed int64, err error) {
	for {
		var n int64
		err := s.write(ctx, func(tx *store.Tx) error {
			var ended int64
			if _, err := tx.Get(ctx, `SELECT count(*) FROM rdev_commands WHERE finished > 0`, nil, &ended); err != nil {
				return err
			}
			n, err = tx.Exec(ctx, `DELETE FROM rdev_commands WHERE id IN (SELECT id FROM rdev_commands WHERE finished > 0 AND finished < $1 ORDER BY finished LIMIT $2)
				OR id IN (SELECT id FROM rdev_commands WHERE finished > 0 ORDER BY finished LIMIT $3)`,
				s.now().Add(-s.limits.Keep).UnixMicro(), pruneStep, min(max(ended-int64(s.limits.KeepCommands), 0), pruneStep))
			return err
		})
		removed += n
		if err != nil || n < pruneStep {
			return removed, err
		}
	}
}
