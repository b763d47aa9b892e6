package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// closeTimeout bounds how long Close waits for killed processes to leave. A
	// process in uninterruptible sleep leaves when its I/O ends.
	closeTimeout = 5 * time.Second
	// closePause is the time between two attempts to remove the directory.
	closePause = 10 * time.Millisecond
)

// Group is one memory cgroup. Its methods may be called from several goroutines.
type Group struct {
	dir     string
	version int
	home    string // v1: the cgroup that this process's threads return to
}

// New makes a group with a limit. The name is a prefix for people who look at
// the cgroup file system: one path element; a random suffix makes it unique.
// The error matches [ErrUnsupported] where [Probe] says no. The caller must
// Close the group.
func New(name string, limit Limit) (*Group, error) {
	if name == "" || strings.ContainsAny(name, "/*\n") || strings.HasPrefix(name, ".") {
		return nil, fmt.Errorf("make cgroup: name %q is not one plain path element", name)
	}
	if limit.Memory <= 0 {
		return nil, fmt.Errorf("make cgroup %s: limit of %d bytes is not positive", name, limit.Memory)
	}
	support, err := Probe()
	if err != nil {
		return nil, fmt.Errorf("make cgroup %s: %w", name, err)
	}
	if support.Verdict != Yes {
		return nil, fmt.Errorf("make cgroup %s: %w", name, &UnsupportedError{support})
	}
	dir, err := os.MkdirTemp(support.Parent, "stella-"+name+"-*")
	if err != nil {
		return nil, fmt.Errorf("make cgroup %s: %w", name, err)
	}
	g := &Group{dir: dir, version: support.Version}
	if err := g.configure(limit); err != nil {
		return nil, errors.Join(fmt.Errorf("make cgroup %s: %w", name, err), g.Close())
	}
	return g, nil
}

func (g *Group) configure(limit Limit) error {
	value := strconv.FormatInt(limit.Memory, 10)
	if err := write(g.dir, limitFile(g.version), value); err != nil {
		return fmt.Errorf("set limit of %s bytes: %w", value, err)
	}
	if g.version == 2 {
		return ignoreMissing(write(g.dir, "memory.swap.max", "0"))
	}
	home, err := ownV1Directory()
	if err != nil {
		return err
	}
	g.home = home
	// memory and swap together may never be below memory: set it second.
	if err := ignoreMissing(write(g.dir, "memory.memsw.limit_in_bytes", value)); err != nil {
		return fmt.Errorf("deny swap: %w", err)
	}
	return ignoreMissing(write(g.dir, "memory.swappiness", "0"))
}

// Dir returns the group's directory in the cgroup file system.
func (g *Group) Dir() string { return g.dir }

// Stats reads the counters. They stay readable after the processes have ended,
// until Close.
func (g *Group) Stats() (Stats, error) {
	files := struct{ peak, current, limit, kills string }{"memory.peak", "memory.current", "memory.max", "memory.events"}
	if g.version == 1 {
		files.peak, files.current = "memory.max_usage_in_bytes", "memory.usage_in_bytes"
		files.limit, files.kills = "memory.limit_in_bytes", "memory.oom_control"
	}
	var s Stats
	var err error
	if s.Peak, err = g.number(files.peak); ignoreMissing(err) != nil {
		return Stats{}, fmt.Errorf("read peak of cgroup: %w", err)
	}
	if s.Current, err = g.number(files.current); err != nil {
		return Stats{}, fmt.Errorf("read usage of cgroup: %w", err)
	}
	if s.Limit, err = g.number(files.limit); err != nil {
		return Stats{}, fmt.Errorf("read limit of cgroup: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(g.dir, files.kills))
	if err != nil {
		return Stats{}, fmt.Errorf("read kills of cgroup: %w", err)
	}
	kills, ok := parseKeyed(string(text), "oom_kill")
	if !ok {
		return Stats{}, fmt.Errorf("read kills of cgroup: %s has no oom_kill counter; it needs Linux 4.13",
			filepath.Join(g.dir, files.kills))
	}
	s.OOMKills = kills
	return s, nil
}

// Close kills what is left in the group, and in groups that its processes made
// below it, and removes all of them. It gives up after five seconds with an error
// that names the directory. A second Close does nothing.
func (g *Group) Close() error {
	for deadline := time.Now().Add(closeTimeout); ; time.Sleep(closePause) {
		err := remove(g.dir)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup: %w; its processes would not end in %v: remove the directory when they have",
				err, closeTimeout)
		}
	}
}

// remove removes a cgroup and those below it. Where processes prevent it, it kills
// them and returns an error: it is to be called again.
func remove(dir string) error {
	err := os.Remove(dir)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	entries, _ := os.ReadDir(dir) // gone in the meantime is found out the next time
	for _, e := range entries {
		if e.IsDir() {
			_ = remove(filepath.Join(dir, e.Name())) // its parent cannot be removed either, and that is reported
		}
	}
	pids, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	for field := range strings.FieldsSeq(string(pids)) {
		// Never ourselves: a thread on its way home (see Start) shows up
		// here under the pid of this process.
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL) // already ended is what is wanted
		}
	}
	return err
}

func (g *Group) number(file string) (int64, error) {
	text, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
