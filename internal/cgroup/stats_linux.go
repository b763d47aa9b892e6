package cgroup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// counters are the files that hold a group's counters, and the key of the page
// cache that the kernel drops first; by cgroup version.
var counters = map[int]struct{ peak, current, limit, kills, inactive string }{
	1: {"memory.max_usage_in_bytes", "memory.usage_in_bytes", "memory.limit_in_bytes", "memory.oom_control", "total_inactive_file"},
	2: {"memory.peak", "memory.current", "memory.max", "memory.events", "inactive_file"},
}

// Stats reads the counters. They stay readable after the processes have ended,
// until Close.
func (g *Group) Stats() (Stats, error) {
	files := counters[g.version]
	var s Stats
	var err error
	if s.Peak, err = g.readPeak(); err != nil {
		return Stats{}, fmt.Errorf("read peak of cgroup: %w", err)
	}
	if s.Current, err = g.number(files.current); err != nil {
		return Stats{}, fmt.Errorf("read usage of cgroup: %w", err)
	}
	inactive, err := g.keyed("memory.stat", files.inactive)
	if err != nil {
		return Stats{}, fmt.Errorf("read page cache of cgroup: %w", err)
	}
	s.WorkingSet = max(s.Current-inactive, 0) // they are read one after the other
	if s.Limit, err = g.number(files.limit); err != nil {
		return Stats{}, fmt.Errorf("read limit of cgroup: %w", err)
	}
	if s.OOMKills, err = g.keyed(files.kills, "oom_kill"); err != nil {
		return Stats{}, fmt.Errorf("read kills of cgroup: %w; it needs Linux 4.13", err)
	}
	return s, nil
}

// ResetPeak begins a new peak at the usage of now. The error matches [ErrNoReset]
// where the kernel cannot.
func (g *Group) ResetPeak() error {
	if g.version == 1 {
		if err := write(g.dir, counters[1].peak, "0"); err != nil {
			return fmt.Errorf("begin a new peak of cgroup: %w", err)
		}
		return nil
	}
	// The new peak belongs to the open file that was written to; others see the old one.
	f, err := os.OpenFile(filepath.Join(g.dir, counters[2].peak), os.O_RDWR, 0)
	if err == nil {
		if _, err = f.WriteString("reset"); err != nil {
			f.Close()
		}
	}
	switch {
	case err == nil:
		g.setPeak(f)
		return nil
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EINVAL):
		return fmt.Errorf("%w: %w", ErrNoReset, err)
	}
	return fmt.Errorf("begin a new peak of cgroup: %w", err)
}

// readPeak is 0 where the kernel keeps no peak.
func (g *Group) readPeak() (int64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.peak == nil {
		n, err := g.number(counters[g.version].peak)
		return n, ignoreMissing(err)
	}
	var text [32]byte // a decimal int64 and a newline
	n, err := g.peak.ReadAt(text[:], 0)
	if err != nil && err != io.EOF {
		return 0, err
	}
	return parseNumber(string(text[:n]))
}

func (g *Group) setPeak(f *os.File) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.peak != nil {
		g.peak.Close()
	}
	g.peak = f
}

func (g *Group) number(file string) (int64, error) {
	text, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		return 0, err
	}
	return parseNumber(string(text))
}

func (g *Group) keyed(file, key string) (int64, error) {
	text, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		return 0, err
	}
	n, ok := parseKeyed(string(text), key)
	if !ok {
		return 0, fmt.Errorf("%s has no counter %s", filepath.Join(g.dir, file), key)
	}
	return n, nil
}

func parseNumber(text string) (int64, error) {
	return strconv.ParseInt(strings.TrimSpace(text), 10, 64)
}
