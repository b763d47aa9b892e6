package tree

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxCgroups bounds the cgroups that are known, at some 300 bytes each. Nodes of
	// Kubernetes have at most some hundreds of pods, and five cgroups a pod.
	maxCgroups = 16384
	// maxWatches bounds the inotify watches, each of which holds about 1 KiB of the kernel's memory.
	maxWatches = 8192
	// netEvery is how often the tree is compared with what inotify told.
	netEvery = time.Second
	// netLists bounds the directories that are listed again each time, and netChecks those without a
	// watch of which the number of children is compared.
	netLists, netChecks = 8, 1024
)

// largestEvent is the most bytes of one event: a reading with so many left over had all events that there were.
const largestEvent = unix.SizeofInotifyEvent + unix.NAME_MAX + 1

// watchFor is what is asked of inotify for each directory.
const watchFor = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_ONLYDIR | unix.IN_DONT_FOLLOW

// node is a cgroup that is known.
type node struct {
	Cgroup
	parent   *node
	name     string
	children map[string]*node
	wd       int32 // of inotify; unwatched
	place    int   // in watcher.all
}

// unwatched is the watch descriptor of a node that has none.
const unwatched = -1

// watcher is the state of one Watch, of one goroutine.
type watcher struct {
	h       Hierarchy
	log     *slog.Logger
	each    func(Event)
	file    *os.File // the inotify instance; nil where there is none
	fd      int
	root    *node
	all     []*node // in no order
	watches map[int32]*node
	limits  limits
	list    lister
	rescan  bool
	// drained is a time at which the kernel had no event that was not read: what an event tells of now happened later.
	drained time.Time
	// nextList and nextCheck are where in all the next comparison begins.
	nextList, nextCheck int
	// What is said once.
	saidFull, saidUnwatched bool
}

// limits are the bounds, which tests make small.
type limits struct{ cgroups, watches int }

// Watch tells of all cgroups that there are, those above before those below, that these were all, and then
// of each new and each removed one as it happens, until ctx ends; that is no error.
// It calls each from one goroutine and waits for it, so each must be quick.
//
// It sets a watch on a directory before it reads it, and reads all of them again when
// the kernel says that events were lost, so that none is missed. Once a second it
// also compares the tree with what it knows, in slices: that finds what is made below
// directories without a watch. Those are the ones beyond the bound on watches, named
// here or the user's, or all where inotify cannot be had; log says so.
func (h Hierarchy) Watch(ctx context.Context, log *slog.Logger, each func(Event)) error {
	return h.watch(ctx, log, each, limits{maxCgroups, maxWatches})
}

func (h Hierarchy) watch(ctx context.Context, log *slog.Logger, each func(Event), l limits) error {
	w := &watcher{h: h, log: log, each: each, watches: map[int32]*node{}, limits: l}
	if err := w.open(); err != nil {
		log.Warn("new cgroups are found by polling, up to some seconds late", "why", err)
	} else {
		defer w.file.Close()
	}
	id, err := inode(h.Mount)
	if err != nil {
		return fmt.Errorf("watch the cgroups: %w", err)
	}
	w.root = &node{wd: unwatched, Cgroup: Cgroup{Path: h.Root, Dir: h.Mount, ID: id, Version: h.Version, Existed: true}}
	w.insert(w.root)
	w.scan(w.root, true)
	each(Event{Complete: true})
	if err := w.run(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("watch the cgroups below %s: %w", h.Mount, err)
	}
	return nil
}

// open makes the inotify instance.
func (w *watcher) open() error {
	if w.limits.watches == 0 {
		return errors.New("no inotify watches are allowed")
	}
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if errors.Is(err, unix.EMFILE) {
		return fmt.Errorf("%w: this user has as many inotify instances as fs.inotify.max_user_instances allows; raise it", err)
	}
	if err != nil {
		return fmt.Errorf("make an inotify instance: %w", err)
	}
	w.fd, w.file = fd, os.NewFile(uintptr(fd), "inotify")
	return nil
}

// run handles events until ctx ends.
func (w *watcher) run(ctx context.Context) error {
	tick := time.NewTicker(netEvery)
	defer tick.Stop()
	if w.file == nil {
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
				w.compare()
			}
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = w.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 64<<10)
	due := time.Now().Add(netEvery)
	for ctx.Err() == nil {
		if err := w.file.SetReadDeadline(due); err != nil {
			return err
		}
		if ctx.Err() != nil {
			break // it ended before the deadline was set anew
		}
		before := time.Now()
		n, err := w.file.Read(buf)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if err := w.events(buf[:n]); err != nil {
			return err
		}
		if len(buf)-n > largestEvent {
			w.drained = before
		}
		if w.rescan {
			w.rescan = false
			w.log.Warn("the kernel dropped inotify events: all cgroups are read again")
			w.scanAll(w.root)
		}
		if now := time.Now(); !now.Before(due) {
			w.compare()
			due = now.Add(netEvery)
		}
	}
	return ctx.Err()
}

// events handles what one read of inotify gave.
func (w *watcher) events(buf []byte) error {
	for e := range inotifyEvents(buf) {
		if e.mask&unix.IN_Q_OVERFLOW != 0 {
			w.rescan = true
			continue
		}
		n := w.watches[e.wd]
		if n == nil {
			continue // removed meanwhile
		}
		switch dir := e.mask&unix.IN_ISDIR != 0; {
		case e.mask&unix.IN_IGNORED != 0:
			if n == w.root {
				return errors.New("it was unmounted or removed")
			}
			w.ignored(n)
		case dir && e.mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0:
			// What was moved has a history, which was told under its old name.
			w.found(n, string(e.name), e.mask&unix.IN_MOVED_TO != 0, w.drained)
		case dir && e.mask&(unix.IN_DELETE|unix.IN_MOVED_FROM) != 0:
			w.missing(n, string(e.name))
		}
	}
	return nil
}

// ignored handles that the kernel dropped the watch of a directory, because that
// is gone. Where one of the same name came at once, the watch could have been set on the old one.
func (w *watcher) ignored(n *node) {
	delete(w.watches, n.wd)
	n.wd = unwatched
	w.missing(n.parent, n.name)
	if n.parent.children[n.name] == n {
		w.watch(n)
		w.scan(n, false)
	}
}

// found handles that parent has a child of that name. Existed says that it was there before, and since is a time after which it was made, zero for any.
func (w *watcher) found(parent *node, name string, existed bool, since time.Time) {
	dir := parent.Dir + "/" + name
	id, err := inode(dir)
	known := parent.children[name]
	if known != nil && (err != nil || known.ID != id) {
		w.remove(known)
		known = nil
	}
	if err != nil {
		if !gone(err) {
			w.log.Warn("a cgroup cannot be watched", "cgroup", dir, "why", err)
		}
		return
	}
	if known != nil {
		return
	}
	if now, err := inode(parent.Dir); err != nil || now != parent.ID {
		return // the path leads through a newer parent, of which an event is still to come
	}
	if len(w.all) >= w.limits.cgroups {
		if !w.saidFull {
			w.saidFull = true
			w.log.Error("there are more cgroups than are watched: kills in the others are only in the kernel log and in the node's counter", "watched", len(w.all))
		}
		return
	}
	n := &node{parent: parent, name: name, wd: unwatched}
	n.Cgroup = Cgroup{Path: w.path(dir), Dir: dir, ID: id, Version: w.h.Version, Existed: existed}
	if !existed {
		n.Born = parent.Born // which was there first
		if since.After(n.Born) {
			n.Born = since
		}
	}
	if parent.children == nil {
		parent.children = map[string]*node{}
	}
	parent.children[name] = n
	w.insert(n)
	w.scan(n, existed)
}
