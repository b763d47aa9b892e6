package samples

import (
	"context"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// layerFiles is how many files a layer may have to be counted.
	layerFiles = 200_000
	// layerPace is how many files are looked at in a second, some 0.1 % of a processor.
	layerPace = 400
	// layerBatch is how many are looked at before the walk rests.
	layerBatch = 40
	// layerDepth bounds the directories that are open at once.
	layerDepth = 64
	// layerAge is the time from one walk of a container's layer to the next.
	layerAge = 2 * time.Minute
	// layerWait is the time from the begin of a container to the first walk: before its runtime has changed the
	// root, its first process sees the machine's.
	layerWait = 5 * time.Second
	// noLayerAge is the time to another look at a container that has no overlay.
	noLayerAge = 20 * time.Minute
	// layerRest is the time between two containers.
	layerRest = 200 * time.Millisecond
)

// disk is what a container wrote into its own layer.
type disk struct {
	upper         string // the layer's directory as the machine has it, "" where it is not known
	bytes, inodes int64
	due           time.Time // for another walk
}

// unknownDisk says that nothing is known until another walk.
func unknownDisk(due time.Time) disk { return disk{bytes: unknown, inodes: unknown, due: due} }

// onMachine is a path of the machine as this process, which can be in a container itself, reaches it.
func (s *Sampler) onMachine(path string) string { return filepath.Join(s.root, path) }

// walkLayers walks the containers' layers, one after the other, until ctx is done.
func (s *Sampler) walkLayers(ctx context.Context) {
	for rest(ctx, layerRest) {
		g, pid, upper := s.eldestLayer(time.Now())
		if g == nil {
			continue
		}
		d := unknownDisk(time.Now().Add(noLayerAge))
		if d.upper = upper; upper == "" {
			d.upper = s.findLayer(pid)
		}
		if d.upper != "" {
			d.due = time.Now().Add(layerAge)
			w := walk{ctx: ctx}
			if w.root(s.onMachine(d.upper)) {
				d.bytes, d.inodes = int64(math.Round(w.bytes)), int64(math.Round(w.inodes))
			}
		}
		s.mu.Lock()
		if d.inodes >= 0 || g.container.gone.IsZero() { // what was known of one that ended meanwhile stays
			g.container.disk = d
		}
		s.mu.Unlock()
	}
}

// eldestLayer is the container whose layer has been due for a walk the longest, with its first process and its
// layer, if that is known. It is nil where none is due.
func (s *Sampler) eldestLayer(now time.Time) (eldest *group, pid int32, upper string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	for _, g := range s.containers {
		c := g.container
		if g.main.pid != 0 && c.disk.due.Before(now) && (eldest == nil || c.disk.due.Before(eldest.container.disk.due)) {
			eldest = g
		}
	}
	if eldest == nil {
		return nil, 0, ""
	}
	return eldest, eldest.main.pid, eldest.container.disk.upper
}

// findLayer is the writable layer of the overlay on which a process sees its files.
func (s *Sampler) findLayer(pid int32) string {
	var buf [scratchBytes]byte
	b, err := readPath(processPath(s.proc, pid, "/mountinfo"), buf[:])
	if err != nil {
		return ""
	}
	dir, _ := upperDirectory(b)
	return dir
}

// walk adds up a tree. Who lives in the tree can change it meanwhile, and may be hostile: no symbolic
// link is followed, and no path but the first is opened.
type walk struct {
	ctx           context.Context
	files         int
	bytes, inodes float64
}

// root adds up what is below a directory, and reports whether all of it was counted.
func (w *walk) root(dir string) bool {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return err == nil && w.directory(fd, 0)
}

// directory adds up what is below an open directory, and closes it.
func (w *walk) directory(fd, depth int) bool {
	dir := os.NewFile(uintptr(fd), "layer")
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(layerBatch)
		if err == io.EOF {
			return true
		}
		if err != nil || !w.pause(len(names)) {
			return false
		}
		for _, name := range names {
			if !w.file(fd, name, depth) {
				return false
			}
		}
	}
}

// file adds one file, and what is below it. A file with several names counts a part under each.
func (w *walk) file(dir int, name string, depth int) bool {
	var st unix.Stat_t
	if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return true // gone meanwhile
	}
	share := 1.0
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if !isDir {
		share = 1 / float64(max(st.Nlink, 1))
	}
	w.bytes += share * float64(st.Blocks) * 512 // st_blocks has this unit everywhere
	w.inodes += share
	if !isDir {
		return true
	}
	if depth == layerDepth {
		return false
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	return err != nil || w.directory(fd, depth+1)
}

// pause keeps the pace, and reports whether the walk may go on.
func (w *walk) pause(files int) bool {
	w.files += files
	return w.files <= layerFiles && rest(w.ctx, time.Second*time.Duration(files)/layerPace)
}

// rest waits, and reports whether to go on.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
