package images

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"stella/bench/ociwrite"
)

// addTree writes what is below root as entries below prefix ("" or "a/b/"), in
// path order. Devices, sockets and pipes are left out, as image builders do.
// skip, if not nil, leaves out a path and what is below it.
func addTree(l *ociwrite.Layer, root, prefix string, skip func(rel string) bool) error {
	return walk(root, func(rel string, d fs.DirEntry, links map[inode]string) error {
		if skip != nil && skip(rel) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return addFile(l, filepath.Join(root, rel), prefix+rel, d, links)
	})
}

// addDiff writes what turns the tree old into the tree now: new and changed
// entries, and whiteouts for deleted ones, as an image builder records a step.
func addDiff(l *ociwrite.Layer, old, now string) error {
	err := walk(now, func(rel string, d fs.DirEntry, links map[inode]string) error {
		same, err := unchanged(filepath.Join(old, rel), filepath.Join(now, rel))
		if err != nil || same {
			return err
		}
		return addFile(l, filepath.Join(now, rel), rel, d, links)
	})
	if err != nil {
		return err
	}
	return walk(old, func(rel string, d fs.DirEntry, _ map[inode]string) error {
		if _, err := os.Lstat(filepath.Join(now, rel)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		dir, base := splitName(rel)
		if err := l.Entry(tar.Header{Name: dir + ".wh." + base, Mode: 0o644}, nil); err != nil {
			return err
		}
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
}

type inode struct{ dev, ino uint64 }

// walk calls visit for everything below root in lexical order, with a path
// relative to root. links is for addFile.
func walk(root string, visit func(rel string, d fs.DirEntry, links map[inode]string) error) error {
	links := map[inode]string{}
	return filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == root {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		return visit(filepath.ToSlash(rel), d, links)
	})
}

// addFile writes one file of this machine as an entry. A second name of a file
// becomes a hard link to the first, which links remembers.
func addFile(l *ociwrite.Layer, source, name string, d fs.DirEntry, links map[inode]string) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	h := tar.Header{Name: name, Mode: int64(info.Mode().Perm())}
	stat, _ := info.Sys().(*syscall.Stat_t)
	if stat != nil {
		h.Uid, h.Gid = int(stat.Uid), int(stat.Gid)
		h.Mode = int64(stat.Mode & 0o7777)
	}
	switch {
	case info.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
		return l.Entry(h, nil)
	case info.Mode()&fs.ModeSymlink != 0:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = os.Readlink(source); err != nil {
			return err
		}
		return l.Entry(h, nil)
	case !info.Mode().IsRegular():
		return nil
	}
	if stat != nil && stat.Nlink > 1 {
		key := inode{uint64(stat.Dev), stat.Ino}
		if first, ok := links[key]; ok {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return l.Entry(h, nil)
		}
		links[key] = name
	}
	f, err := os.Open(source)
	if err != nil {
		return err
	}
	defer f.Close()
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	return l.Entry(h, f)
}

// unchanged reports whether two names are the same file as a layer sees it. Like
// image builders it goes by metadata: content that changed changed its time.
func unchanged(old, now string) (bool, error) {
	a, err := os.Lstat(old)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	b, err := os.Lstat(now)
	if err != nil {
		return false, err
	}
	if a.Mode() != b.Mode() || !a.ModTime().Equal(b.ModTime()) {
		return false, nil
	}
	if a.Mode().IsDir() {
		return true, nil
	}
	return a.Size() == b.Size(), nil
}
