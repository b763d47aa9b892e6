package cgroup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxProcesses is the file of the pids controller that bounds a cgroup, on v1 and on v2.
const maxProcesses = "pids.max"

// LimitProcesses bounds how many processes and threads the group has at once: further forks fail with EAGAIN. It
// is to be called before anything is started. The error matches [ErrNoProcessLimit] where there is no pids
// controller that this process may use.
//
// On v2 the group's own directory has the file, if the one above hands the controller on. On v1 the controller has a
// hierarchy of its own, so the group gets a directory there too, of the same name.
func (g *Group) LimitProcesses(n int64) error {
	if n <= 0 {
		return fmt.Errorf("bound the processes of a cgroup: %d is not positive", n)
	}
	value := strconv.FormatInt(n, 10)
	if g.version == 2 {
		if _, err := os.Stat(filepath.Join(g.dir, maxProcesses)); err != nil {
			if err := write(filepath.Dir(g.dir), "cgroup.subtree_control", "+pids"); err != nil {
				return fmt.Errorf("%w: %w", ErrNoProcessLimit, err)
			}
		}
		if err := write(g.dir, maxProcesses, value); err != nil {
			return fmt.Errorf("%w: %w", ErrNoProcessLimit, err)
		}
		return nil
	}
	own, err := ownProcesses("/proc")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoProcessLimit, err)
	}
	dir := filepath.Join(own, filepath.Base(g.dir))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("%w: %w", ErrNoProcessLimit, err)
	}
	if err := write(dir, maxProcesses, value); err != nil {
		return errors.Join(fmt.Errorf("%w: %w", ErrNoProcessLimit, err), os.Remove(dir))
	}
	g.processes = dir
	return nil
}

// ownProcesses is the cgroup of this process in the hierarchy of the pids controller on v1.
func ownProcesses(procRoot string) (string, error) {
	parse := func(r io.Reader) ([]hierarchy, error) { return parseMountsOf(r, "pids") }
	mounts, err := parseFile(filepath.Join(procRoot, "self/mountinfo"), parse)
	if err != nil {
		return "", err
	}
	own, err := parseFile(filepath.Join(procRoot, "self/cgroup"), func(r io.Reader) (string, error) {
		v1, _, err := parseMembershipOf(r, "pids")
		return v1, err
	})
	if err != nil {
		return "", err
	}
	for _, h := range mounts {
		if h.version == 1 && own != "" {
			return h.directory(own), nil
		}
	}
	return "", errors.New("it is not mounted")
}

// PIDs are the processes that are in the group itself now, not those of groups that they made below it.
func (g *Group) PIDs() ([]int, error) {
	text, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
	if err != nil {
		return nil, fmt.Errorf("read the processes of a cgroup: %w", err)
	}
	var pids []int
	for field := range strings.FieldsSeq(string(text)) {
		// Not ourselves: a thread on its way home (see Start) shows up here under the pid of this process.
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Kill kills all processes of the group, and of groups that they made below it, and returns when they have ended. Unlike
// Close it leaves the group, and so its counters. It gives up after five seconds.
func (g *Group) Kill() error {
	g.stopForks()
	if g.version == 2 {
		_ = write(g.dir, "cgroup.kill", "1") // since Linux 5.14; before that, as below
	}
	for deadline := time.Now().Add(closeTimeout); ; time.Sleep(closePause) {
		left, err := killBelow(g.dir)
		if err != nil || left == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("kill the %d processes of cgroup %s: they would not end in %v", left, g.dir, closeTimeout)
		}
	}
}

// stopForks makes forks fail, so that processes cannot be born faster than they are killed.
func (g *Group) stopForks() {
	dir := g.dir
	if g.version == 1 {
		dir = g.processes
	}
	if dir != "" {
		_ = write(dir, maxProcesses, "0") // without the controller, it is several rounds
	}
}

// killBelow kills what is in a cgroup and below it, and says how many processes it found.
func killBelow(dir string) (int, error) {
	pids, err := (&Group{dir: dir}).PIDs()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) { // removed in the meantime
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL) // already ended is what is wanted
	}
	found := len(pids)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return found, fmt.Errorf("find the cgroups below %s: %w", dir, err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		n, err := killBelow(filepath.Join(dir, e.Name()))
		if err != nil {
			return found, err
		}
		found += n
	}
	return found, nil
}
