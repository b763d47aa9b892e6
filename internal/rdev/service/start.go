package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
	"stella/internal/rdev/run"
	"stella/internal/store"
)

// active is a command that runs, or is about to.
type active struct {
	waiting
	ctx    context.Context // of its program; its cause says who cancelled it
	cancel context.CancelCauseFunc
	log    *begun
}

// schedule starts commands as there is room for them, until ctx ends or another process has the database.
func (s *Service) schedule(ctx context.Context) error {
	timer := time.NewTicker(retry) // memory that is free again wakes nobody
	defer timer.Stop()
	for {
		for a := s.pick(); a != nil; a = s.pick() {
			s.work.Go(func() { s.execute(a) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-timer.C:
		}
		if s.isReplaced() {
			return ErrReplaced
		}
	}
}

func (s *Service) isReplaced() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replaced
}

// pick takes the next command that may start out of the queue.
func (s *Service) pick() *active {
	refuse, _ := s.o.Pressure()
	s.mu.Lock()
	defer s.mu.Unlock()
	// Where nothing runs, nothing will make room either: then one may.
	if s.stopping || s.replaced || len(s.running) > 0 && (refuse || s.full) {
		return nil
	}
	w, ok := s.queue.next(s.may)
	if !ok {
		return nil
	}
	a := &active{waiting: w, log: s.logs[w.id]}
	delete(s.logs, w.id)
	if a.log == nil {
		a.log = newBegun()
	}
	a.ctx, a.cancel = context.WithCancelCause(context.Background())
	s.running[w.id] = a
	s.ledger.reserved += w.memory
	return a
}

// may says whether a command may start beside those that run.
func (s *Service) may(w waiting) verdict {
	ofCaller, inProject := 0, 0
	for _, a := range s.running {
		if a.caller == w.caller {
			ofCaller++
		}
		if a.project == w.project {
			inProject++
		}
	}
	switch {
	case len(s.running) >= s.limits.Running:
		return stop
	case ofCaller >= s.limits.PerCaller || inProject >= s.limits.PerProject:
		return skip
	case !s.ledger.fits(w.memory):
		return stop // smaller ones behind it wait, or it would for ever
	}
	return take
}

// execute runs a command to its end, and writes that down.
func (s *Service) execute(a *active) {
	defer a.cancel(nil)
	c, request, err := s.claim(a)
	if err != nil {
		s.putBack(a, err)
		return
	}
	log, err := s.o.Logs.Create(a.id, outlog.Limits{Bytes: request.Output})
	if errors.Is(err, outlog.ErrNoRoom) && s.others() {
		s.unclaim(a)
		return
	}
	var end rdev.End
	if err != nil {
		end = rdev.End{Reason: rdev.ReasonFailed, ExitCode: -1, Detail: fmt.Sprintf("it was not started, because its output could not be kept: %v", err)}
	} else {
		a.log.open(log)
		s.o.Metrics.CommandStarted(c.Started.Sub(c.Created))
		end = s.run(a, c, request, log)
	}
	s.ended(a, c, end, log, request.Webhook)
}

// claim writes down that a command runs, before anything of it does.
func (s *Service) claim(a *active) (c rdev.Command, request rdev.Request, err error) {
	ctx := context.Background() // also while the service is stopping: the transaction is bounded
	err = s.write(ctx, func(tx *store.Tx) error {
		if request, err = whole(ctx, tx, a.id); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE rdev_commands SET status = 'running', started = $2 WHERE id = $1`, a.id, s.now().UnixMicro())
		if err != nil {
			return err
		}
		c, err = find(ctx, tx, "", a.id, "")
		return err
	})
	return c, request, err
}

// putBack undoes pick for a command that could not be claimed: it waits again, unless it was cancelled meanwhile.
func (s *Service) putBack(a *active, err error) {
	cancelled := errors.Is(err, rdev.ErrConflict)
	if !cancelled {
		s.log.Error("a command cannot be started; trying again", "command", a.id, "error", err)
	}
	s.mu.Lock()
	s.replaced = s.replaced || errors.Is(err, ErrReplaced)
	s.mu.Unlock()
	s.leave(a, !cancelled)
}

// unclaim lets a command wait until others have given back room for its log.
func (s *Service) unclaim(a *active) {
	err := s.persist(func(ctx context.Context) error {
		return s.write(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE rdev_commands SET status = 'queued', started = 0 WHERE id = $1`, a.id)
			return err
		})
	})
	if err != nil {
		s.log.Error("a command that was not started is not written down as queued again, and will be recorded as lost", "command", a.id, "error", err)
	}
	s.mu.Lock()
	s.full = true
	s.mu.Unlock()
	s.leave(a, err == nil)
}

// others reports whether other commands run.
func (s *Service) others() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.running) > 1
}

// leave gives back what a command had while it ran. queued says that it waits again.
func (s *Service) leave(a *active, queued bool) {
	s.mu.Lock()
	delete(s.running, a.id)
	s.ledger.reserved -= a.memory
	if queued {
		s.queue.add(a.waiting)
		s.logs[a.id] = a.log
	}
	s.mu.Unlock()
	if !queued {
		s.nudge()
	}
}

// run runs the program.
func (s *Service) run(a *active, c rdev.Command, r rdev.Request, log *outlog.Log) rdev.End {
	p, dir, err := s.place(a.ctx, c.Project, r.Directory)
	if err != nil && a.ctx.Err() == nil {
		return rdev.End{Reason: rdev.ReasonFailed, ExitCode: -1, Detail: fmt.Sprintf("it was not started: %v", err)}
	}
	stdout, restOfStdout := s.told(c.ID, rdev.Stdout, log.Writer(rdev.Stdout))
	stderr, restOfStderr := s.told(c.ID, rdev.Stderr, log.Writer(rdev.Stderr))
	defer restOfStdout()
	defer restOfStderr()
	spec := run.Spec{
		ID: c.ID, Argv: r.Argv, Shell: r.Shell, Dir: dir, Env: environment(r.Env),
		Memory: r.Memory, Timeout: r.Timeout,
		Stdout: stdout, Stderr: stderr,
	}
	if len(r.Stdin) > 0 {
		spec.Stdin = bytes.NewReader(r.Stdin)
	}
	return s.o.Runner.Run(a.ctx, p, spec, func() {
		s.log.Info("command started", "command", c.ID, "project", c.Project, "by", c.By, "waited", c.Started.Sub(c.Created))
	})
}

func environment(env map[string]string) []string {
	all := make([]string, 0, len(env))
	for name, value := range env {
		all = append(all, name+"="+value)
	}
	slices.Sort(all)
	return all
}
