package service

import (
	"context"
	"errors"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
	"stella/internal/store"
)

// ended ends a command's log, if it has one, writes down the end, and gives back what the command had.
func (s *Service) ended(a *active, c rdev.Command, end rdev.End, log *outlog.Log, webhook string) {
	if log != nil {
		if err := log.End(end); err != nil {
			s.log.Error("the end of a command's log may not outlast a power cut", "command", c.ID, "error", err)
		}
		c.Output = log.State().Output
	} else {
		a.log.close(end)
	}
	c.Status, c.End, c.Place = rdev.Ended, &end, 0
	c.Finished = s.now()
	if end.OOM != nil {
		s.o.Killed(c)
	}
	err := s.persist(func(ctx context.Context) error {
		return s.write(ctx, func(tx *store.Tx) error { return s.record(ctx, tx, c, webhook) })
	})
	s.mu.Lock()
	s.full = false
	s.replaced = s.replaced || errors.Is(err, ErrReplaced)
	s.mu.Unlock()
	if err != nil {
		s.log.Error("the end of a command is not written down; the next process will read it from its log", "command", c.ID, "error", err)
	}
	s.leave(a, false)
	s.announce(c)
}

// record writes down an end, and that its webhook is to be called.
func (s *Service) record(ctx context.Context, tx *store.Tx, c rdev.Command, webhook string) error {
	changed, err := finish(ctx, tx, c)
	if err != nil || !changed || webhook == "" || s.o.Hooks == nil {
		return err
	}
	return s.o.Hooks.Add(ctx, tx, webhook, c)
}

// announce counts and logs an end that is written down.
func (s *Service) announce(c rdev.Command) {
	if s.o.Hooks != nil {
		s.o.Hooks.Wake()
	}
	var took time.Duration
	if !c.Started.IsZero() {
		took = c.Finished.Sub(c.Started)
	}
	s.o.Metrics.CommandEnded(c.End.Reason, took)
	s.log.Info("command ended", "command", c.ID, "project", c.Project, "by", c.By, "reason", c.End.Reason, "exit code", c.End.ExitCode,
		"took", took, "lines", c.Output.Lines, "bytes", c.Output.Bytes)
}

// persist does f until the database takes it: a database that is full or gone costs time, not ends. Once the service
// stops it is tried for stopTime in all, which Run does not wait for.
func (s *Service) persist(f func(context.Context) error) error {
	failing := false
	for {
		err := f(context.Background())
		if !errors.Is(err, rdev.ErrUnavailable) || errors.Is(err, ErrReplaced) {
			return err
		}
		if !failing {
			s.log.Error("the database does not take what happened to a command; trying again", "error", err)
			failing = true
		}
		select {
		case <-s.giveUp:
			return err
		case <-time.After(retry):
		}
	}
}
