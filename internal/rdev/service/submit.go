package service

import (
	"bytes"
	"context"
	"errors"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/projects"
	"stella/internal/store"
)

// maxKey bounds an idempotency key, in bytes; people use UUIDs.
const maxKey = 255

// When to ask again after a refusal, as far as anybody can tell: a queue moves in seconds, memory is given back in tens of them.
const (
	retryQueue    = 5 * time.Second
	retryPressure = 15 * time.Second
)

// Submit takes in a command for a caller, and reports whether it existed: the same request of the same
// caller with the same key, while the command is known, is the same command; another request with that key is a
// conflict. An empty key asks for a new command. What it returns without error is on disk.
func (s *Service) Submit(ctx context.Context, caller rdev.Caller, project string, r rdev.Request, key string) (c rdev.Command, existed bool, err error) {
	c, existed, err = s.submit(ctx, caller, project, r, key)
	if e, ok := errors.AsType[*rdev.Error](err); ok {
		s.o.Metrics.CommandRefused(e.Kind)
	}
	return c, existed, err
}

func (s *Service) submit(ctx context.Context, caller rdev.Caller, project string, r rdev.Request, key string) (c rdev.Command, existed bool, err error) {
	sum, err := s.check(project, r, key)
	if err != nil {
		return c, false, err
	}
	if key != "" { // first, so that a repetition is answered in every state of the service
		if c, existed, err = s.repeated(ctx, caller, key, sum); existed || err != nil {
			return c, existed, err
		}
	}
	r, err = s.limits.apply(r)
	if err != nil {
		return c, false, err
	}
	if refuse, why := s.o.Pressure(); refuse {
		return c, false, rdev.Errorf(rdev.ErrUnavailable, "no new commands now: %s", why).After(retryPressure)
	}
	if _, _, err := s.place(ctx, project, r.Directory); err != nil {
		return c, false, err
	}
	if err := s.enter(caller.Name); err != nil {
		return c, false, err
	}
	c, existed, err = s.insert(ctx, caller, project, r, key, sum)
	s.entered(caller.Name, c, r.Memory, err == nil && !existed)
	if err != nil || existed {
		return c, existed, err
	}
	s.log.Info("command accepted", "command", c.ID, "project", project, "by", caller.Name, "program", program(r))
	s.nudge()
	s.complete(&c)
	return c, false, nil
}

// program is what is logged of a request: arguments may be secret.
func program(r rdev.Request) string {
	if len(r.Argv) > 0 {
		return r.Argv[0]
	}
	return "sh"
}

// check finds what is wrong with a request as it stands, and returns its digest.
func (s *Service) check(project string, r rdev.Request, key string) ([]byte, error) {
	if err := rdev.CheckProject(project); err != nil {
		return nil, err
	}
	if err := r.Check(); err != nil {
		return nil, err
	}
	if len(key) > maxKey {
		return nil, rdev.Errorf(rdev.ErrInvalid, "the idempotency key has %d bytes; at most %d", len(key), maxKey)
	}
	if r.Webhook != "" {
		if s.o.Hooks == nil {
			return nil, rdev.Errorf(rdev.ErrInvalid, "this service calls no webhooks: it was started without a secret to sign them with")
		}
		if err := s.o.Hooks.Check(r.Webhook); err != nil {
			return nil, err
		}
	}
	return digest(project, r)
}

// repeated finds the command that was asked for with the same key.
func (s *Service) repeated(ctx context.Context, caller rdev.Caller, key string, sum []byte) (c rdev.Command, found bool, err error) {
	err = s.read(ctx, func(tx *store.Tx) error {
		c, found, err = sameRequest(ctx, tx, caller, key, sum)
		return err
	})
	if found && err == nil {
		s.complete(&c)
	}
	return c, found, err
}

func sameRequest(ctx context.Context, tx *store.Tx, caller rdev.Caller, key string, sum []byte) (c rdev.Command, found bool, err error) {
	var id string
	var have []byte
	found, err = tx.Get(ctx, `SELECT id, digest FROM rdev_commands WHERE same_key = $1`, []any{sameKey(caller.Name, key)}, &id, &have)
	if err != nil || !found {
		return c, false, err
	}
	if !bytes.Equal(have, sum) {
		return c, false, rdev.Errorf(rdev.ErrConflict, "the idempotency key was used for another request, which is command %s: use a new key", id)
	}
	c, err = find(ctx, tx, "", id, "")
	return c, err == nil, err
}

// place is the project, and the directory in it where a command begins.
func (s *Service) place(ctx context.Context, project, below string) (p rdev.Project, dir string, err error) {
	p, err = s.o.Projects.Get(ctx, project)
	switch {
	case errors.Is(err, projects.ErrNotFound):
		return p, "", rdev.Errorf(rdev.ErrNotFound, "there is no project %s", project)
	case err != nil:
		return p, "", rdev.Errorf(rdev.ErrUnavailable, "project %s: %w", project, err).After(retryQueue)
	case !p.Ready:
		return p, "", rdev.Errorf(rdev.ErrUnavailable, "project %s cannot run commands now: %s", project, p.Reason).After(retryQueue)
	}
	dir, err = s.o.Projects.Directory(p, below)
	if err != nil {
		return p, "", rdev.Errorf(rdev.ErrInvalid, "%w", err)
	}
	return p, dir, nil
}

// enter reserves a place in the queue, or says why there is none.
func (s *Service) enter(caller string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.replaced:
		return ErrReplaced
	case s.stopping:
		return rdev.Errorf(rdev.ErrUnavailable, "no new commands now: the service is being stopped").After(retryPressure)
	case s.queue.len()+total(s.entering) >= s.limits.Queued:
		return rdev.Errorf(rdev.ErrUnavailable, "%d commands wait already, as many as may", s.limits.Queued).After(retryQueue)
	case s.queue.of(caller)+s.entering[caller] >= s.limits.QueuedPerCaller:
		return rdev.Errorf(rdev.ErrTooMany, "%d of your commands wait already, as many as may: wait for some, or cancel them", s.limits.QueuedPerCaller).After(retryQueue)
	}
	s.entering[caller]++
	return nil
}

// total is how many commands are being written down; they are as few as requests that run.
func total(entering map[string]int) (n int) {
	for _, of := range entering {
		n += of
	}
	return n
}

// entered gives the place that a caller reserved to c, or back.
func (s *Service) entered(caller string, c rdev.Command, memory int64, queued bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entering[caller]--; s.entering[caller] == 0 {
		delete(s.entering, caller)
	}
	if queued {
		s.queue.add(waiting{c.ID, c.By, c.Project, memory})
	}
}

// insert writes the command down, unless it was by somebody else meanwhile.
func (s *Service) insert(ctx context.Context, caller rdev.Caller, project string, r rdev.Request, key string, sum []byte) (c rdev.Command, existed bool, err error) {
	err = s.write(ctx, func(tx *store.Tx) (err error) {
		if key != "" {
			if c, existed, err = sameRequest(ctx, tx, caller, key, sum); existed || err != nil {
				return err
			}
		}
		now := s.now()
		id, err := newID(ctx, tx, now)
		if err != nil {
			return err
		}
		c = rdev.Command{ID: id, Project: project, Request: r.Shown(), Status: rdev.Queued, By: caller.Name, Created: now}
		return insert(ctx, tx, c, r, sameKey(caller.Name, key), sum)
	})
	return c, existed, err
}
