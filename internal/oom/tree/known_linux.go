package tree

import (
	"errors"
	"io/fs"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// path is the cgroup's path of a directory. It shares the directory's memory where it can.
func (w *watcher) path(dir string) string {
	below := dir[len(w.h.Mount):]
	if w.h.Root == "/" {
		return below
	}
	return w.h.Root + below
}

// gone reports whether an error says that a cgroup was removed: by its path, or while it was read.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENOTDIR)
}

// insert watches a node that was found, and tells of it.
func (w *watcher) insert(n *node) {
	n.place = len(w.all)
	w.all = append(w.all, n)
	w.watch(n)
	w.each(Event{Added: true, Cgroup: n.Cgroup})
}

// watch sets the inotify watch of a node, if it may have one.
func (w *watcher) watch(n *node) {
	if w.file == nil {
		return
	}
	var err error
	if len(w.watches) < w.limits.watches {
		var wd int
		if wd, err = unix.InotifyAddWatch(w.fd, n.Dir, watchFor); err == nil {
			n.wd = int32(wd)
			w.watches[n.wd] = n
			return
		}
		if gone(err) {
			return // its removal is told
		}
	}
	if !w.saidUnwatched {
		w.saidUnwatched = true
		w.log.Warn("not all cgroups can have an inotify watch: those made below the others are found by polling, "+
			"up to some seconds late; raise fs.inotify.max_user_watches if that is the reason", "watches", len(w.watches), "why", err)
	}
}

// missing handles that parent may have a child of that name no longer. What is told
// of here may be long past: then one of the same name and ID is there.
func (w *watcher) missing(parent *node, name string) {
	if parent.children[name] != nil {
		w.found(parent, name, false, time.Time{})
	}
}

// remove forgets a node and those below it, and tells so, the lowest first.
func (w *watcher) remove(n *node) {
	for _, child := range n.children {
		w.remove(child)
	}
	if n.wd != unwatched {
		delete(w.watches, n.wd)
		_, _ = unix.InotifyRmWatch(w.fd, uint32(n.wd)) // the kernel did it already, unless it was renamed
	}
	last := w.all[len(w.all)-1]
	w.all[n.place], last.place = last, n.place
	w.all = w.all[:len(w.all)-1]
	delete(n.parent.children, n.name)
	w.each(Event{Cgroup: n.Cgroup})
}

// scan compares the children of a node with what is known of them.
func (w *watcher) scan(n *node, existed bool) {
	names, err := w.list.directories(n.Dir)
	if err != nil && !gone(err) {
		w.log.Warn("a cgroup cannot be read", "cgroup", n.Dir, "why", err)
	}
	if err != nil {
		return
	}
	for _, name := range names {
		w.found(n, name, existed, time.Time{})
	}
	if len(n.children) == len(names) {
		return
	}
	for name := range n.children {
		w.missing(n, name)
	}
}

// scanAll compares a node and all below it.
func (w *watcher) scanAll(n *node) {
	w.scan(n, false)
	for _, child := range n.children {
		w.scanAll(child)
	}
}

// compare is the net below inotify. It compares some directories with what is known of them, all of
// them in turn. Those without a watch it asks more often for the number of links, which tells the number of
// directories in one (kernfs) and is quick to ask.
func (w *watcher) compare() {
	for range min(netLists, len(w.all)) {
		if n := w.turn(&w.nextList); w.there(n) != nil {
			w.scan(n, false)
		}
	}
	if len(w.watches) == len(w.all) {
		return
	}
	for range min(netChecks, len(w.all)) {
		n := w.turn(&w.nextCheck)
		if n.wd != unwatched {
			continue
		}
		if st := w.there(n); st != nil && uint64(st.Nlink) != uint64(len(n.children))+2 {
			w.scan(n, false)
		}
	}
}

// turn is the node whose turn it is. The root is always there, so there is one.
func (w *watcher) turn(next *int) *node {
	*next = (*next + 1) % len(w.all)
	return w.all[*next]
}

// there returns what is where a node was, or nil where it is no longer.
func (w *watcher) there(n *node) *syscall.Stat_t {
	var st syscall.Stat_t
	if syscall.Lstat(n.Dir, &st) == nil && st.Ino == n.ID {
		return &st
	}
	if n.parent != nil {
		w.missing(n.parent, n.name)
	}
	return nil
}

// lister lists directories, with one buffer for all.
type lister struct {
	buf [16 << 10]byte
}

// directories returns the names of the directories in dir.
func (l *lister) directories(dir string) ([]string, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	var names []string
	for {
		n, err := unix.Getdents(fd, l.buf[:])
		if err != nil {
			return nil, &fs.PathError{Op: "getdents", Path: dir, Err: err}
		}
		if n <= 0 {
			return names, nil
		}
		for e := range directoryEntries(l.buf[:n]) {
			if e.kind == unix.DT_DIR && string(e.name) != "." && string(e.name) != ".." {
				names = append(names, string(e.name))
			}
		}
	}
}
