// Package treetest gives a test a part of the machine's real cgroups, and processes that are killed
// there for want of memory.
//
// Words: a [Part] belongs to one test, which may do with it what it likes; paths are relative to it. A hog is the test
// binary once more, which enters a cgroup and uses memory there: it needs no program on the machine.
//
// Hazards:
//
//   - TestMain has to call [Hog] first, or a hog runs all tests.
//   - A hog enters its cgroup itself, so what it used until then, some MiB, counts where it came from. It is
//     not started in the cgroup, because who starts a process in a full one can be killed in its place (package cgroup).
package treetest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"stella/internal/cgroup"
	"stella/internal/oom/tree"
	"stella/internal/testkit"
)

// Part is a part of the machine's real hierarchy that belongs to one test. It goes with it.
type Part struct {
	tree.Hierarchy
	t testing.TB
}

// Own makes one, or skips the test where there can be none.
func Own(t testing.TB) Part {
	t.Helper()
	testkit.Need(t, testkit.MemoryCgroup)
	support, err := cgroup.Probe()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := tree.Find("/proc", "/sys/fs/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(support.Parent, "stella-test-*")
	if err != nil {
		t.Fatal(err)
	}
	rel, err := filepath.Rel(whole.Mount, dir)
	if err != nil {
		t.Fatal(err)
	}
	p := Part{tree.Hierarchy{Version: whole.Version, Mount: dir, Root: filepath.Join(whole.Root, rel)}, t}
	t.Cleanup(func() { p.RemoveAll("") })
	return p
}

// Delegate gives the memory controller to those below a cgroup, on v2.
func (p Part) Delegate(path string) {
	p.t.Helper()
	if p.Version == 2 {
		p.Write(path, "cgroup.subtree_control", "+memory")
	}
}

// Write writes to a file of a cgroup.
func (p Part) Write(path, file, value string) {
	p.t.Helper()
	f, err := os.OpenFile(p.Mount+path+"/"+file, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(value)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// Make makes a cgroup; with a limit in bytes, or 0 for none.
func (p Part) Make(path string, limit int64) {
	p.t.Helper()
	if err := os.Mkdir(p.Mount+path, 0o755); err != nil {
		p.t.Fatal(err)
	}
	if limit > 0 {
		p.Limit(path, limit)
	}
}

// Limit limits the memory of a cgroup to some bytes, without swap.
func (p Part) Limit(path string, bytes int64) {
	p.t.Helper()
	n := strconv.FormatInt(bytes, 10)
	if p.Version == 2 {
		p.Write(path, "memory.max", n)
		p.Write(path, "memory.swap.max", "0")
		return
	}
	p.Write(path, "memory.limit_in_bytes", n)
}

// Remove removes a cgroup as soon as its processes are gone.
func (p Part) Remove(path string) {
	p.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		err := os.Remove(p.Mount + path)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatal(err)
		}
	}
}

// RemoveAll removes a cgroup and those below it.
func (p Part) RemoveAll(path string) {
	p.t.Helper()
	entries, _ := os.ReadDir(p.Mount + path)
	for _, e := range entries {
		if e.IsDir() {
			p.RemoveAll(path + "/" + e.Name())
		}
	}
	p.Remove(path)
}

// Start starts a hog that uses so many bytes in a cgroup. It ends with the test at the latest.
func (p Part) Start(path string, bytes int64) *exec.Cmd {
	p.t.Helper()
	cmd := NewHog(p.Mount+path, bytes)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { in.Close() })
	return cmd
}

// Kill has a process killed for want of memory in a cgroup whose limit is less than 256 MiB, and returns its pid.
func (p Part) Kill(path string) int {
	p.t.Helper()
	cmd := p.Start(path, 256<<20)
	pid := cmd.Process.Pid
	_ = cmd.Wait()
	if s := cmd.ProcessState.Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGKILL {
		p.t.Errorf("the process in %s ended with %v, want SIGKILL", path, cmd.ProcessState)
	}
	return pid
}
