package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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
	// processes is the group's directory of the pids controller on v1, "" where it has none.
	processes string

	mu   sync.Mutex
	peak *os.File // v2, after ResetPeak: the open file that the new peak belongs to
}

// New makes a group with a limit. The name is a prefix for people who look at
// the cgroup file system: one path element; a random suffix makes it unique.
// The error matches [ErrUnsupported] where [Probe] says no. The caller must
// Close the group.
func New(name string, limit Limit) (*Group, error) {
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
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
	dir, err := os.MkdirTemp(support.Parent, prefix+name+"-*")
	if err != nil {
		return nil, fmt.Errorf("make cgroup %s: %w", name, err)
	}
	g := &Group{dir: dir, version: support.Version}
	if err := g.configure(limit); err != nil {
		return nil, errors.Join(fmt.Errorf("make cgroup %s: %w", name, err), g.Close())
	}
	return g, nil
}

func checkName(name string) error {
	if name == "" || strings.ContainsAny(name, "/*\n") || strings.HasPrefix(name, ".") {
		return fmt.Errorf("name %q is not one plain path element", name)
	}
	return nil
}

// RemoveLeft removes the groups of that name which an earlier process left behind,
// with what still runs in them, and says how many there were. Only one process at a
// time may use the name. It looks where [New] makes groups now.
func RemoveLeft(name string) (int, error) {
	if err := checkName(name); err != nil {
		return 0, fmt.Errorf("remove cgroups that were left: %w", err)
	}
	support, err := Probe()
	if err != nil || support.Verdict != Yes {
		return 0, err // where none can be made none is left
	}
	entries, err := os.ReadDir(support.Parent)
	if err != nil {
		return 0, fmt.Errorf("remove cgroups %s that were left: %w", name, err)
	}
	pids, _ := ownProcesses("/proc") // without the controller there are none
	n := 0
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || !leftBehind(e.Name(), name) {
			continue
		}
		g := &Group{dir: filepath.Join(support.Parent, e.Name()), version: support.Version}
		if support.Version == 1 && pids != "" {
			g.processes = filepath.Join(pids, e.Name())
		}
		if err := g.Close(); err != nil {
			errs = append(errs, err)
			continue
		}
		n++
	}
	return n, errors.Join(errs...)
}

func (g *Group) configure(limit Limit) error {
	value := strconv.FormatInt(limit.Memory, 10)
	if err := write(g.dir, limitFile(g.version), value); err != nil {
		return fmt.Errorf("set limit of %s bytes: %w", value, err)
	}
	if g.version == 2 {
		return g.configureV2(limit)
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

func (g *Group) configureV2(limit Limit) error {
	if limit.High > 0 {
		if err := write(g.dir, "memory.high", strconv.FormatInt(limit.High, 10)); err != nil {
			return fmt.Errorf("set high mark of %d bytes: %w", limit.High, err)
		}
	}
	if limit.KillGroup {
		if err := write(g.dir, "memory.oom.group", "1"); err != nil { // since Linux 4.19
			return fmt.Errorf("make the kernel kill the whole group: %w", err)
		}
	}
	return ignoreMissing(write(g.dir, "memory.swap.max", "0"))
}

// Version is 1 or 2.
func (g *Group) Version() int { return g.version }

// Dir returns the group's directory in the cgroup file system.
func (g *Group) Dir() string { return g.dir }

// Close kills what is left in the group, and in groups that its processes made
// below it, and removes all of them. It gives up after five seconds with an error
// that names the directory. A second Close does nothing.
func (g *Group) Close() error {
	g.stopForks()
	for deadline := time.Now().Add(closeTimeout); ; time.Sleep(closePause) {
		err := remove(g.dir)
		if err == nil && g.processes != "" {
			err = remove(g.processes)
		}
		if err == nil {
			g.setPeak(nil)
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
	_, _ = killBelow(dir)         // what could not be killed is found out the next time
	entries, _ := os.ReadDir(dir) // and so is what is gone in the meantime
	for _, e := range entries {
		if e.IsDir() {
			_ = remove(filepath.Join(dir, e.Name())) // its parent cannot be removed either, and that is reported
		}
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
