package service

import (
	"context"
	"fmt"

	"stella/internal/rdev"
	"stella/internal/store"
)

// Cancel ends a command on behalf of a caller, and returns it as it is then: one that was queued has ended, one that
// runs is being ended, and one that had ended stays as it was.
func (s *Service) Cancel(ctx context.Context, caller rdev.Caller, project, id string) (c rdev.Command, err error) {
	cause := fmt.Errorf("by %s", caller.Name)
	queued := false
	err = s.write(ctx, func(tx *store.Tx) error {
		queued = false
		c, err = find(ctx, tx, project, id, " {lock}")
		if err != nil || c.Status != rdev.Queued {
			return err
		}
		queued = true
		request, err := whole(ctx, tx, id)
		if err != nil {
			return err
		}
		c.Status, c.Finished = rdev.Ended, s.now()
		c.End = &rdev.End{Reason: rdev.ReasonCancelled, ExitCode: -1, Detail: fmt.Sprintf("cancelled %v, while it was queued", cause)}
		return s.record(ctx, tx, c, request.Webhook)
	})
	if err != nil {
		return c, err
	}
	s.mu.Lock()
	if queued {
		// Where it has just been taken out, claim finds that it has ended.
		s.queue.remove(id)
		if b := s.logs[id]; b != nil {
			b.close(*c.End)
			delete(s.logs, id)
		}
	}
	if a := s.running[id]; a != nil {
		if queued {
			a.log.close(*c.End)
		}
		a.cancel(cause)
	}
	s.mu.Unlock()
	if queued {
		s.announce(c)
	} else if c.Status == rdev.Running {
		s.log.Info("command cancelled", "command", id, "project", c.Project, "by", caller.Name)
	}
	s.complete(&c)
	return c, nil
}
