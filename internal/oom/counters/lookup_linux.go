package counters

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"stella/internal/oom"
)

// Lookup returns the cgroup that a process was in, and what it used, as noted at an alarm within the last minute. Of
// a process that was not noted it asks the kernel, which still knows as long as the process
// has not begun to end (v1) or has not been waited for (v2). It may be called from any
// goroutine; it is meant for when the kernel log says that the process was killed.
func (c *Counters) Lookup(pid int) (cgroup string, p oom.Process, ok bool) {
	if pid <= 0 || pid > math.MaxInt32 {
		return "", oom.Process{}, false
	}
	if n, ok := c.table.lookup(int32(pid), time.Now()); ok {
		return n.cgroup, n.process, true
	}
	// At once, and without waiting for Run, because the process is about to be gone.
	dir := filepath.Join(c.o.Proc, strconv.Itoa(pid))
	text, err := os.ReadFile(filepath.Join(dir, "cgroup"))
	p = oom.Process{PID: pid, UID: -1}
	if status, err := os.ReadFile(filepath.Join(dir, "status")); err == nil {
		parseStatus(status, &p)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n, ok := c.table.lookup(int32(pid), time.Now()); ok {
		return n.cgroup, n.process, true // it was being noted
	}
	if err != nil {
		return "", oom.Process{}, false
	}
	cgroup, ok = c.plausible(memoryCgroup(text, c.o.Hierarchy.Version))
	if !ok {
		return "", oom.Process{}, false
	}
	return cgroup, p, true
}

// plausible returns the cgroup where the memory of a process was counted of which /proc/PID/cgroup has that
// path. On v1 a process that ends is shown in the root. From within a cgroup namespace paths are
// relative to it, so only those that are known here count; or, on v2, those that are no more.
func (c *Counters) plausible(path string, ok bool) (string, bool) {
	if !ok {
		return "", false
	}
	if g := c.byPath[path]; g != nil {
		if g = counted(g); g == nil || g.Version == 1 && g.Path == "/" {
			return "", false
		}
		return g.Path, true
	}
	path, deleted := strings.CutSuffix(path, " (deleted)")
	return path, deleted && !strings.HasPrefix(path, "/..")
}
