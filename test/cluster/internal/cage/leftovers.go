package cage

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// namespaceKinds are the namespaces that a node has for itself.
var namespaceKinds = []string{"mnt", "net", "cgroup", "uts"}

// Watch remembers the namespaces of a process of this cage, so that Close can
// look for them. It holds them open until then: the kernel gives the number of a
// namespace that is gone to the next one, which may be another cluster's.
func (c *Cage) Watch(pid int) error {
	for _, kind := range namespaceKinds {
		file := fmt.Sprintf("/proc/%d/ns/%s", pid, kind)
		held, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("hold a namespace of process %d: %w", pid, err)
		}
		c.held = append(c.held, held)
		ns, err := os.Readlink(file)
		if err != nil {
			return fmt.Errorf("read a namespace of process %d: %w", pid, err)
		}
		c.namespaces[ns] = true
	}
	return nil
}

// leftovers looks for what a removed cage must not leave: processes in its
// cgroups or namespaces, mounts, cgroups, its directory.
func (c *Cage) leftovers() error {
	defer func() {
		for _, held := range c.held {
			held.Close()
		}
	}()
	name := filepath.Base(c.Dir)
	var found []string
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("look for mounts that the cluster left: %w", err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, name) {
			found = append(found, "mount "+strings.TrimSpace(line))
		}
	}
	for _, dir := range append(c.groupDirs(), c.Dir) {
		if _, err := os.Lstat(dir); err == nil {
			found = append(found, "directory "+dir)
		}
	}
	inside, err := c.processesInside(name)
	if err != nil {
		return err
	}
	if found = append(found, inside...); len(found) > 0 {
		return fmt.Errorf("the cluster %s left behind: %s", name, strings.Join(found, "; "))
	}
	return nil
}

func (c *Cage) groupDirs() []string {
	var dirs []string
	for _, g := range c.groups {
		dirs = append(dirs, g.dir)
	}
	return dirs
}

// processesInside names the processes with a cgroup or namespace of the cage.
func (c *Cage) processesInside(name string) ([]string, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for processes that the cluster left: %w", err)
	}
	var found []string
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() || isZombie(pid) {
			continue
		}
		groups, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid)) // gone: not left
		inside := bytes.Contains(groups, []byte("/"+name))
		inside = inside || slices.ContainsFunc(namespaceKinds, func(kind string) bool {
			ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
			return err == nil && c.namespaces[ns]
		})
		if inside {
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			found = append(found, fmt.Sprintf("process %d (%s)", pid, bytes.TrimSpace(comm)))
		}
	}
	return found, nil
}

// isZombie says whether a process has ended and waits for its parent to ask. One
// whose first thread alone has ended has not, though it has the same state.
func isZombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// The state follows the last parenthesis: a name may hold any other.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const state, threads = 0, 17 // fields 3 and 20 of proc(5)
	return len(fields) > threads && strings.Contains("ZX", fields[state]) && (fields[threads] == "0" || fields[threads] == "1")
}
