package checks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/bytesize"
	"stella/internal/doctor"
	"stella/internal/scanner"
	"stella/internal/spool"
)

const (
	// A disk is low with less than a tenth free, and full with less than a fiftieth;
	// on large disks these amounts are enough, whatever part they are: the temporary
	// files of a scan of a 6 GiB image take less than 1 GiB.
	lowShare, fullDiskShare = 0.10, 0.02
	lowBytes, fullBytes     = 5 << 30, 512 << 20
)

// disk looks at the file systems of the service's directories.
type disk struct {
	Service
	dirs   []Directory
	statfs func(path string) (space, error)
}

// space is what a file system has. Without inodes, it has as many as it likes.
type space struct {
	bytes, freeBytes   int64
	inodes, freeInodes int64
	memory             bool // it is kept in memory
}

func (c disk) run(ctx context.Context) (doctor.Finding, error) {
	// What could be kept for less long, or smaller: half of what is set.
	var less []string
	if plan, err := c.Plan(ctx); err == nil { // a full disk may be why there is none
		s := plan.Settings
		less = []string{
			fmt.Sprintf("stella scanner config set cache.max_size %s", bytesize.Size(max(s.CacheSize/2, 1<<20))),
			fmt.Sprintf("stella scanner config set results.retention %v", half(s.ResultRetention)),
			fmt.Sprintf("stella scanner config set logs.retention %v", half(s.LogRetention)),
		}
	}
	f := begin()
	for _, d := range c.dirs {
		s, err := c.statfs(d.Path)
		if err != nil {
			f.say(doctor.Unknown, "the directory is gone, or the server may not look at it", "the space for %s in %s is not known: %v", d.Name, d.Path, err)
			continue
		}
		if f.space(d, s) {
			f.do("df -h "+quote(d.Path), "df -i "+quote(d.Path))
			f.do(less...)
		}
	}
	return f.end("there is room for data, cache and temporary files"), nil
}

func half(d time.Duration) scanner.Duration {
	return scanner.Duration(max(d/2, time.Minute).Round(time.Minute))
}

// space judges one directory, and reports whether it needs room.
func (f *finding) space(d Directory, s space) bool {
	source := "statfs of " + d.Path
	f.show(doctor.Bytes("free for "+d.Name, s.freeBytes, source), doctor.Percent("free for "+d.Name, part(s.freeBytes, s.bytes), source))
	if s.inodes > 0 {
		f.show(doctor.Percent("inodes free for "+d.Name, part(s.freeInodes, s.inodes), source))
	}
	state, what := doctor.OK, ""
	free := part(s.freeBytes, s.bytes)
	switch {
	case free < fullDiskShare && s.freeBytes < fullBytes:
		state, what = doctor.Fail, "is full"
	case s.inodes > 0 && part(s.freeInodes, s.inodes) < fullDiskShare:
		state, what = doctor.Fail, "has no inodes left"
	case free < lowShare && s.freeBytes < lowBytes:
		state, what = doctor.Warn, "is low"
	case s.inodes > 0 && part(s.freeInodes, s.inodes) < lowShare:
		state, what = doctor.Warn, "is low on inodes"
	}
	if state != doctor.OK {
		f.say(state, "results, the cache of layers, or what others keep on that disk",
			"the disk of %s (%s) %s: %s free", d.Name, d.Path, what, bytesize.Text(s.freeBytes))
	}
	if s.memory {
		f.say(doctor.Warn, "the directory is on a tmpfs, whose files take memory of the workers that write them",
			"%s (%s) are kept in memory", d.Name, d.Path)
	}
	return state != doctor.OK
}

func part(free, all int64) float64 {
	if all <= 0 {
		return 1
	}
	return float64(free) / float64(all)
}

// statfs asks for the space that a user who is not root may still take. A
// directory that is made only when it is needed counts as the one that it will be in.
func statfs(path string) (space, error) {
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	for errors.Is(err, fs.ErrNotExist) && path != filepath.Dir(path) {
		path = filepath.Dir(path)
		err = unix.Statfs(path, &st)
	}
	if err != nil {
		return space{}, fmt.Errorf("statfs %s: %w", path, err)
	}
	memory, err := spool.OnMemory(path)
	if err != nil {
		return space{}, err
	}
	return space{
		bytes: int64(st.Blocks) * int64(st.Bsize), freeBytes: int64(st.Bavail) * int64(st.Bsize),
		inodes: int64(st.Files), freeInodes: int64(st.Ffree), memory: memory,
	}, nil
}
