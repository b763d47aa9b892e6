package sentinel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// minPeriod keeps an expirer from being busy.
	minPeriod = 100 * time.Millisecond
	// looks is how often the expirer looks in a period. It sees a renewal at most one look late, and removes at most one look late: after 1.75 periods.
	looks = 8
)

// Options say what is to expire.
type Options struct {
	// Gated is the gated file.
	Gated string
	// Period is how often the gate looks, and renews.
	Period time.Duration
	// Log is told of each removal, and of what goes wrong.
	Log *slog.Logger

	now func() (Instant, error)
}

// Expire removes the gated file when it was not renewed for 1.5 periods, or its grant is over: within two periods after whatever became of the gate. It runs until ctx ends, which is no error. What it
// finds at its own start counts from then, unless its grant is over.
//
// It looks from time to time and does not wait for events of the file system: an event that is lost would be a gate that stays open.
func Expire(ctx context.Context, o Options) error {
	if o.Period < minPeriod {
		return fmt.Errorf("a period of %v: it has to be at least %v", o.Period, minPeriod)
	}
	if o.now == nil {
		o.now = Now
	}
	dir := filepath.Dir(o.Gated)
	if info, err := os.Stat(dir); err != nil {
		return fmt.Errorf("the directory of the gated sentinel: %w", advise(err))
	} else if !info.IsDir() {
		return fmt.Errorf("the directory of the gated sentinel: %s is no directory", dir)
	}
	e := expirer{Options: o, file: File{dir: dir, name: filepath.Base(o.Gated), log: o.Log}}
	ticker := time.NewTicker(o.Period / looks)
	defer ticker.Stop()
	for {
		e.tell(e.look())
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// expirer is the state of [Expire].
type expirer struct {
	Options
	file File
	// last is the file as it was last seen, since that was so for the first time.
	last  mark
	since Instant
	// told is the error that was last told.
	told string
}

// mark is what of a file changes when it is renewed.
type mark struct {
	inode            uint64
	size             int64
	modified, status syscall.Timespec
}

// look looks once, and removes what is to go.
func (e *expirer) look() error {
	now, err := e.now()
	if err != nil {
		return err
	}
	info, err := os.Lstat(e.Gated)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("whether the gated sentinel is there: %w", advise(err))
	}
	if m := markOf(info); m != e.last {
		e.last, e.since = m, now
	}
	why := e.over(now)
	if why == "" {
		return nil
	}
	if err := e.file.Remove(); err != nil {
		return err
	}
	e.Log.Warn("the gated sentinel was not renewed, and was removed: look for what became of the gate", "path", e.Gated, "why", why)
	return nil
}

// over says why the file has to go, or "".
func (e *expirer) over(now Instant) string {
	if age := now.Uptime - e.since.Uptime; age > e.Period*3/2 {
		return fmt.Sprintf("it has been the same for %v", age.Round(time.Millisecond))
	}
	// What cannot be read has no end of its own.
	if g, err := read(e.Gated); err == nil {
		if err := g.check(now); errors.Is(err, ErrLapsed) {
			return err.Error()
		}
	}
	return ""
}

func markOf(info fs.FileInfo) mark {
	m := mark{size: info.Size()}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		m.inode, m.modified, m.status = s.Ino, s.Mtim, s.Ctim
	}
	return m
}

// tell logs an error when it is not the one of the last look, and that all is well again.
func (e *expirer) tell(err error) {
	switch {
	case err == nil && e.told != "":
		e.told = ""
		e.Log.Info("the gated sentinel can be looked after again")
	case err != nil && err.Error() != e.told:
		e.told = err.Error()
		e.Log.Error("kured may reboot this node though the gate allows it no more", "why", err)
	}
}
