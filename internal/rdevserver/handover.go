package rdevserver

import (
	"context"
	"errors"
	"time"

	"stella/internal/store"
)

// lookAgain is how often the database is tried while another process has it: a lock tells nobody that it is free.
const lookAgain = 100 * time.Millisecond

// openStore opens the database. Kubernetes starts a pod in place of one that somebody deletes while that one still writes down
// how its commands ended: the new one waits for it, at most Options.Handover.
func (p *parts) openStore(ctx context.Context) (err error) {
	until := time.Now().Add(p.o.Handover)
	for said := false; ; {
		p.db, err = store.Open(ctx, store.Options{URL: p.o.Store, Log: p.o.Log})
		if !errors.Is(err, store.ErrLocked) || !time.Now().Before(until) {
			return err
		}
		if !said {
			p.o.Log.Info("waiting for another process to end", "at_most", p.o.Handover, "because", err)
			said = true
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(lookAgain):
		}
	}
}
