package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// chunk is how many names are read from a directory at once: one of three million files takes no more memory than a small one.
	chunk = 256
	// maxWalkDepth bounds the open directories, two file descriptors each, below the
	// usual limit of 1,024. No package manager nests a tenth as deep.
	maxWalkDepth = 400
)

// Type is the type of an [Entry].
type Type uint8

// The types of entries. Hard links are regular files, each of them.
const (
	TypeRegular Type = iota
	TypeDir
	TypeSymlink
	TypeOther
)

// Entry is one name found by [Image.Walk].
type Entry struct {
	// Path is slash-separated, clean, and relative to the root; "." is the root itself.
	Path string
	Type Type
	// Size is in bytes, for regular files.
	Size int64
	Mode fs.FileMode
	// Linkname is where a symbolic link leads to, as it stands there.
	Linkname string
	// Err says why the entry could not be read. A directory comes with it where
	// it cannot be opened, and comes again where reading it breaks off.
	Err error

	dir  *os.Root
	name string
	info fs.FileInfo
}

// Open opens a regular file, and nothing that took its place in the meantime.
// It works until the callback that was given the entry returns; the file stays open longer.
func (e Entry) Open() (*os.File, error) {
	if e.dir == nil || e.Type != TypeRegular {
		return nil, fmt.Errorf("%s is not a regular file", e.Path)
	}
	f, err := e.dir.OpenFile(e.name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !os.SameFile(info, e.info) {
		err = fmt.Errorf("%s was replaced while it was read", e.Path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Walk calls fn for everything in the directory of a dir: image, a directory before what is in it,
// otherwise in no order. Symbolic links are reported and never followed. What cannot be read is
// reported with [Entry.Err] and does not stop the walk; an error of fn does, except
// fs.SkipDir for a directory. Memory does not grow with the number of files.
//
// Other file systems are entered, but not those that hold no files: proc,
// sysfs, cgroups and their like. If the image is "/", /dev, /proc, /run and /sys are
// not entered either: container runtimes mount the files of running containers below /run.
func (m *Image) Walk(ctx context.Context, fn func(Entry) error) error {
	if m.root == nil {
		return errors.New("the image is not a directory that could be walked; open its layers")
	}
	r, err := m.root.OpenRoot(".") // walk closes it
	if err != nil {
		return err
	}
	info, err := r.Stat(".")
	if err != nil {
		r.Close()
		return err
	}
	w := &walker{fn: fn}
	if slash, err := os.Stat("/"); err == nil && os.SameFile(slash, info) {
		w.skip = map[string]bool{"dev": true, "proc": true, "run": true, "sys": true}
	}
	return w.walk(ctx, r, info, ".", 0)
}

type walker struct {
	fn   func(Entry) error
	skip map[string]bool
}

// walk reports what is in the directory dir, and closes it.
func (w *walker) walk(ctx context.Context, dir *os.Root, info fs.FileInfo, at string, depth int) error {
	defer dir.Close()
	f, err := dir.Open(".")
	if err != nil {
		return w.fn(Entry{Path: at, Type: TypeDir, Mode: info.Mode(), Err: err})
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(chunk)
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := w.entry(ctx, dir, info, at, name, depth); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return w.fn(Entry{Path: at, Type: TypeDir, Mode: info.Mode(), Err: err})
		}
	}
}

// entry reports one name, and walks it if it is a directory.
func (w *walker) entry(ctx context.Context, dir *os.Root, parent fs.FileInfo, at, name string, depth int) error {
	e := Entry{Path: path.Join(at, name), Type: TypeOther, dir: dir, name: name}
	if e.info, e.Err = dir.Lstat(name); e.Err != nil {
		return w.fn(e)
	}
	e.Mode = e.info.Mode()
	switch {
	case e.Mode.IsRegular():
		e.Type, e.Size = TypeRegular, e.info.Size()
	case e.Mode&fs.ModeSymlink != 0:
		e.Type = TypeSymlink
		e.Linkname, e.Err = dir.Readlink(name)
	case e.Mode.IsDir():
		e.Type = TypeDir
		return w.descend(ctx, e, parent, depth)
	}
	return w.fn(e)
}

func (w *walker) descend(ctx context.Context, e Entry, parent fs.FileInfo, depth int) error {
	if w.skip[e.Path] {
		return skipped(w.fn(e))
	}
	var sub *os.Root
	if depth >= maxWalkDepth {
		e.Err = fmt.Errorf("more than %d directories deep", maxWalkDepth)
	} else {
		sub, e.Err = openSame(e.dir, e.name, e.info)
	}
	if err := w.fn(e); err != nil || e.Err != nil {
		if sub != nil {
			sub.Close()
		}
		return skipped(err)
	}
	if device(e.info) != device(parent) && isPseudo(sub) {
		return sub.Close()
	}
	return w.walk(ctx, sub, e.info, e.Path, depth+1)
}

func skipped(err error) error {
	if errors.Is(err, fs.SkipDir) {
		return nil
	}
	return err
}

// openSame opens a directory, unless something else took its place since it was looked at.
func openSame(dir *os.Root, name string, info fs.FileInfo) (*os.Root, error) {
	sub, err := dir.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	now, err := sub.Stat(".")
	if err == nil && !os.SameFile(now, info) {
		err = fmt.Errorf("%s was replaced while it was read", name)
	}
	if err != nil {
		sub.Close()
		return nil, err
	}
	return sub, nil
}

func device(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Dev
	}
	return 0
}

// isPseudo reports whether a directory is of a file system that shows the kernel and holds no files.
func isPseudo(dir *os.Root) bool {
	f, err := dir.Open(".")
	if err != nil {
		return false
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return false
	}
	switch st.Type {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEBUGFS_MAGIC,
		unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.DEVPTS_SUPER_MAGIC, unix.BPF_FS_MAGIC, unix.PSTOREFS_MAGIC, unix.BINFMTFS_MAGIC, unix.SELINUX_MAGIC:
		return true
	}
	return false
}

// openDir makes the image of a directory that is a root file system.
func openDir(r *reference, o *Options) (*Image, error) {
	info, err := o.Paths.stat(r.path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, errors.New("not a directory")
	}
	root, err := o.Paths.dir(r.path)
	if err != nil {
		return nil, err
	}
	return &Image{Dir: r.path, Layers: []Layer{{Size: -1}}, root: root}, nil
}
