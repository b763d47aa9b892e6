// Package tree finds the cgroups of the machine that carry memory limits, and tells
// of new and removed ones at once.
//
// Words: the [Hierarchy] is the mounted tree that has the memory controller, of
// cgroup v1 or v2. A [Cgroup] is one directory of it. Its path is as the kernel log
// has it, from the hierarchy's root, also where only a part is mounted here.
//
// Hazards:
//
//   - A cgroup can be gone by the time that its [Event] is handled, and can have
//     been there for some microseconds before. One that is made and removed faster than
//     this process is scheduled is never told.
//   - Paths are used again: a container that restarts can get the path of the one
//     before. The ID tells them apart.
//   - Names hold whatever their maker chose: spaces, newlines, bytes that are no UTF-8.
//   - Inotify tells only of what was made below a watched directory, and its
//     watches are limited per user. What is beyond is polled, which is late by seconds.
package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Cgroup is one cgroup of the machine.
type Cgroup struct {
	// Path is from the root of the hierarchy: "/", "/kubepods/burstable/pod…/…".
	Path string
	// Dir is its directory in the file system.
	Dir string
	// ID is the inode of the directory. It stays the same for the life of the
	// cgroup, and no other cgroup has it until the next boot (except on 32-bit kernels).
	ID uint64
	// Version is 1 or 2.
	Version int
	// Existed says that it was there before the watch began, so that its counters may
	// hold what happened before.
	Existed bool
	// Born is a time before which it was not there; zero is not known. It is up to two seconds early, never late by this clock.
	Born time.Time
}

// Event tells that a cgroup is there, or is there no longer.
type Event struct {
	Added bool
	// Complete is of no cgroup: all that were there when the watch began have been told.
	Complete bool
	Cgroup
}

// Hierarchy is the mounted hierarchy with the memory controller.
type Hierarchy struct {
	// Version is 1 or 2.
	Version int
	// Mount is the directory where it is mounted.
	Mount string
	// Root is the path of the cgroup that is mounted there: "/" where the whole hierarchy is.
	Root string
	// LocalEvents says that v2 is mounted with memory_localevents: then memory.events is of a
	// cgroup alone, and not of all below it.
	LocalEvents bool
}

// ErrNoHierarchy is matched by the errors that say that the memory controller is not within reach.
var ErrNoHierarchy = errors.New("no memory controller of cgroups")

// Find looks for the hierarchy with the memory controller among what is mounted at
// or below sys ("/sys/fs/cgroup"), as the proc file system at proc ("/proc") tells.
// On a machine with both versions the controller is on one only. Where a cgroup namespace shows a part of it, as on
// a node that is a container itself, that part is found with its path outside. The error says
// what to mount; it matches [ErrNoHierarchy] where nothing was found.
func Find(proc, sys string) (Hierarchy, error) {
	name := filepath.Join(proc, "self/mountinfo")
	text, err := os.ReadFile(name)
	if err != nil {
		return Hierarchy{}, fmt.Errorf("find the cgroups: %w; mount the machine's /proc", err)
	}
	sys = filepath.Clean(sys)
	var best Hierarchy
	for m := range mounts(text) {
		if m.point != sys && !strings.HasPrefix(m.point, strings.TrimSuffix(sys, "/")+"/") {
			continue
		}
		h := Hierarchy{Version: m.version, Mount: m.point, Root: m.root, LocalEvents: m.local}
		if h.Version == 2 && !hasMemory(h.Mount) {
			continue // a hybrid machine: its controllers are on v1
		}
		// The whole is better than a part, the first better than a later one: containers mount some twice.
		if best.Version == 0 || best.Root != "/" && h.Root == "/" {
			best = h
		}
	}
	if best.Version == 0 {
		return Hierarchy{}, fmt.Errorf("find the cgroups: %w is mounted below %s; mount the machine's /sys/fs/cgroup there "+
			"(in a container: with what is mounted below it), or boot with cgroup_enable=memory", ErrNoHierarchy, sys)
	}
	// A cgroup namespace shows its own root as "/" (v2) and what is above it as "/..".
	whole := isWhole(best)
	switch {
	case whole:
		best.Root = "/"
	case best.Root == "/" || strings.HasPrefix(best.Root, "/.."):
		if best.Root, err = realPath(best.Mount); err != nil {
			return Hierarchy{}, fmt.Errorf("find the cgroups: %s shows only the part of a cgroup namespace, so that nothing there has the path "+
				"that the kernel logs (%w); mount the machine's own /sys/fs/cgroup, or give the capability DAC_READ_SEARCH: %w", best.Mount, err, ErrNoHierarchy)
		}
	}
	return best, nil
}

// hasMemory reports whether a v2 cgroup has the memory controller.
func hasMemory(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	return err == nil && strings.Contains(" "+strings.TrimSpace(string(text))+" ", " memory ")
}

// isWhole reports whether the hierarchy's root is mounted: it alone has release_agent
// on v1, and it alone lacks cgroup.type on v2 (kernel/cgroup/cgroup.c).
func isWhole(h Hierarchy) bool {
	if h.Version == 1 {
		_, err := os.Lstat(filepath.Join(h.Mount, "release_agent"))
		return err == nil
	}
	_, err := os.Lstat(filepath.Join(h.Mount, "cgroup.type"))
	return errors.Is(err, fs.ErrNotExist)
}

// Dir is the directory of the cgroup with that path; "" where it is not mounted here.
func (h Hierarchy) Dir(cgroup string) string {
	rel, ok := strings.CutPrefix(cgroup, strings.TrimSuffix(h.Root, "/"))
	if !ok || rel != "" && rel[0] != '/' {
		return ""
	}
	return filepath.Join(h.Mount, rel)
}

// Lookup returns the cgroup with that path as it is now.
func (h Hierarchy) Lookup(cgroup string) (Cgroup, error) {
	dir := h.Dir(cgroup)
	if dir == "" {
		return Cgroup{}, fmt.Errorf("cgroup %q is not below %s, which is what is mounted here", cgroup, h.Root)
	}
	id, err := inode(dir)
	if err != nil {
		return Cgroup{}, fmt.Errorf("cgroup %q: %w", cgroup, err)
	}
	return Cgroup{Path: path.Clean(cgroup), Dir: dir, ID: id, Version: h.Version, Existed: true}, nil
}

// inode returns the inode of a directory, and an error where there is none of that name.
func inode(dir string) (uint64, error) {
	var st syscall.Stat_t
	if err := syscall.Lstat(dir, &st); err != nil {
		return 0, &fs.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFDIR {
		return 0, &fs.PathError{Op: "lstat", Path: dir, Err: syscall.ENOTDIR}
	}
	return st.Ino, nil
}
