package lifecycle_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"stella/test/cluster"
)

// traces are what one living cluster has on this machine, found by other means
// than those that clean up after it: its name in /proc and in file names.
type traces struct {
	dir, name  string
	processes  map[int]process
	namespaces map[string]bool
}

// pin keeps a namespace's number from being given to another until the test ends.
func pin(t *testing.T, pid int, kind string) {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
	if err != nil {
		return // gone meanwhile
	}
	t.Cleanup(func() { f.Close() })
}

// process tells one from a later one with the same pid.
type process struct {
	command, started string
	parent           int
}

// trace takes stock of a cluster while it lives.
func trace(t *testing.T, c *cluster.Cluster) traces {
	t.Helper()
	tr := traces{dir: c.Dir, name: filepath.Base(c.Dir), processes: map[int]process{}, namespaces: map[string]bool{}}
	for _, pid := range pids(t) {
		groups, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid)) // gone: none
		p, ok := look(pid)
		if !ok || !strings.Contains(string(groups)+p.command, tr.name) {
			continue
		}
		tr.processes[pid] = p
		for ns, kind := range namespaces(pid) {
			pin(t, pid, kind)
			tr.namespaces[ns] = true
		}
	}
	for ns := range namespaces(os.Getpid()) {
		delete(tr.namespaces, ns)
	}
	return tr
}

// node returns the process inside, which is the parent of the daemons.
func (tr traces) node(t *testing.T) int {
	t.Helper()
	for pid, p := range tr.processes {
		if strings.HasPrefix(p.command, "stella-cluster node ") {
			return pid
		}
	}
	t.Fatalf("no node among %v", tr.processes)
	return 0
}

// keeper returns the process outside: the node's parent.
func (tr traces) keeper(t *testing.T) int {
	t.Helper()
	return tr.processes[tr.node(t)].parent
}

// left returns what is still there of the cluster.
func (tr traces) left(t *testing.T) []string {
	t.Helper()
	var found []string
	for pid, was := range tr.processes {
		if now, ok := look(pid); ok && now.started == was.started {
			found = append(found, fmt.Sprintf("process %d: %s", pid, now.command))
		}
	}
	for _, pid := range pids(t) {
		if _, ok := look(pid); !ok {
			continue // ended, and not yet waited for
		}
		for ns := range namespaces(pid) {
			if tr.namespaces[ns] {
				found = append(found, fmt.Sprintf("namespace %s of process %d", ns, pid))
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, tr.name) {
			found = append(found, "mount "+strings.TrimSpace(line))
		}
	}
	err = filepath.WalkDir("/sys/fs/cgroup", func(path string, _ os.DirEntry, _ error) error {
		if filepath.Base(path) == tr.name {
			found = append(found, "cgroup "+path)
		}
		return nil // what vanishes meanwhile is not left
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(tr.dir); err == nil {
		found = append(found, "directory "+tr.dir)
	}
	return found
}

// pids are all processes of this machine.
func pids(t *testing.T) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var all []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// look reads a process; not ok where it is gone, has ended, or is the kernel's.
func look(pid int) (process, bool) {
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(command) == 0 {
		return process{}, false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, false
	}
	// From the third field of proc(5) on: state, ppid, ..., starttime.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const parent, started = 4 - 3, 22 - 3
	ppid, err := strconv.Atoi(fields[parent])
	if err != nil {
		return process{}, false
	}
	return process{command: strings.ReplaceAll(string(command), "\x00", " "), started: fields[started], parent: ppid}, true
}

// namespaces are those of a process that a cluster or a container has for itself, with their kinds.
func namespaces(pid int) map[string]string {
	all := map[string]string{}
	for _, kind := range []string{"mnt", "net", "cgroup", "uts", "pid", "ipc"} {
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind)); err == nil {
			all[ns] = kind
		}
	}
	return all
}
