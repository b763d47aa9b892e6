package service

import (
	"context"
	"errors"
	"io/fs"
	"sync"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
	"stella/internal/store"
)

// begun says when a command that is queued has a log, or has ended without one. All who wait for one command share it.
type begun struct {
	once sync.Once
	done chan struct{} // closed when one of these is set, for good
	log  *outlog.Log
	end  *rdev.End
}

func newBegun() *begun { return &begun{done: make(chan struct{})} }

// open gives it its log; close says that there will be none.
func (b *begun) open(log *outlog.Log) { b.once.Do(func() { b.log = log; close(b.done) }) }
func (b *begun) close(end rdev.End)   { b.once.Do(func() { b.end = &end; close(b.done) }) }

// Log is the output of a command from when it is queued: as [outlog.Log], but a command that has no log yet can be
// waited for, and one that ended without a log has an empty one. It needs no closing.
type Log struct{ begun *begun }

// opened is the log behind it, if there is one, and the end where there will be none.
func (l *Log) opened() (*outlog.Log, *rdev.End) {
	select {
	case <-l.begun.done:
		return l.begun.log, l.begun.end
	default:
		return nil, nil
	}
}

// Read tells records, as [outlog.Log.Read] does.
func (l *Log) Read(after uint64, buf []byte, fn func(outlog.Record) bool) (outlog.Position, error) {
	log, end := l.opened()
	switch {
	case log != nil:
		return log.Read(after, buf, fn)
	case after > 0:
		return outlog.Position{}, outlog.ErrBeyond
	}
	return outlog.Position{End: end}, nil
}

// More is closed when there may be something behind last, or the end.
func (l *Log) More(last uint64) <-chan struct{} {
	if log, _ := l.opened(); log != nil {
		return log.More(last)
	}
	return l.begun.done
}

// Tail is the cursor from which so many lines follow, as [outlog.Log.Tail] has it.
func (l *Log) Tail(lines int64) (after uint64, err error) {
	if log, _ := l.opened(); log != nil {
		return log.Tail(lines)
	}
	return 0, nil
}

// State says how much was written.
func (l *Log) State() outlog.State {
	if log, _ := l.opened(); log != nil {
		return log.State()
	}
	return outlog.State{}
}

// Log finds the output of a command; [rdev.ErrGone] says that it has been removed.
func (s *Service) Log(ctx context.Context, project, id string) (*Log, error) {
	// It may go on from queued to running or ended between two looks, so that it is in neither place: then look again.
	for range 3 {
		var c rdev.Command
		if err := s.read(ctx, func(tx *store.Tx) (err error) {
			c, err = find(ctx, tx, project, id, "")
			return err
		}); err != nil {
			return nil, err
		}
		if c.Status == rdev.Ended {
			return s.kept(c)
		}
		if b := s.awaited(id); b != nil {
			return &Log{b}, nil
		}
	}
	return nil, rdev.Errorf(rdev.ErrUnavailable, "command %s is being taken in: ask again", id).After(retry)
}

// awaited is what has, or will have, the log of a command that has not ended; nil where it is not known here.
func (s *Service) awaited(id string) *begun {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.running[id]; a != nil {
		return a.log
	}
	if _, ok := s.queue.ids[id]; !ok {
		return nil
	}
	b := s.logs[id]
	if b == nil {
		b = newBegun()
		s.logs[id] = b
	}
	return b
}

// kept is the log of a command that has ended.
func (s *Service) kept(c rdev.Command) (*Log, error) {
	b := newBegun()
	log, err := s.o.Logs.Log(c.ID)
	switch {
	case err == nil:
		b.open(log)
	case c.Output.Last == 0: // there was none, or its file was never finished
		b.close(*c.End)
	case errors.Is(err, fs.ErrNotExist):
		return nil, rdev.Errorf(rdev.ErrGone, "the output of command %s has been removed, for its age or for space", c.ID)
	default:
		return nil, rdev.Errorf(rdev.ErrUnavailable, "the output of command %s cannot be read: %w", c.ID, err)
	}
	return &Log{b}, nil
}
