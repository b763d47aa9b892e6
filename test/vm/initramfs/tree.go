// Package initramfs packs the files of a guest into the archive that its kernel
// unpacks as the first root file system.
//
// Vocabulary: the host is the machine that packs, the guest the one that boots. A
// [Tree] is what the guest's root will hold. It keeps names and sizes; the
// content is read from the host when the archive is written.
//
// Hazards:
//
//   - The guest keeps its files in memory, and the archive beside them while it
//     unpacks: it needs twice [Tree.Size].
//   - A path of the host can lead over symbolic links (/bin, alternatives). The
//     guest gets the links as well as what they lead to, so that every spelling
//     of the path works there. Links inside a directory are packed as they
//     are, wherever they lead.
//   - A file that shrinks between being added and being written is an error; of
//     one that grows the first bytes are packed.
//   - Everything belongs to root in the guest.
package initramfs

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	// maxEntries bounds the memory of a tree: some 300 bytes an entry. A whole
	// Debian userland has 10,000 to 100,000 files.
	maxEntries = 200_000
	// maxLinks is how many symbolic links one path may lead over, as in the kernel (path_resolution(7)).
	maxLinks = 40
)

// Tree is the root directory of a guest. It is used by one goroutine at a time.
type Tree struct {
	entries map[string]*entry // by absolute path in the guest
	inodes  map[hostInode]*inode
	size    int64
}

// entry is one name.
type entry struct {
	mode   fs.FileMode
	mtime  int64
	target string // of a symbolic link
	file   *inode // of a regular file
}

// inode is one regular file, which can have several names.
type inode struct {
	source string // on the host; empty where data is the content
	data   string
	size   int64
	links  uint32
	number uint32 // in the archive; 0 until it is written there
}

type hostInode struct{ device, number uint64 }

// NewTree returns a tree with nothing in it.
func NewTree() *Tree {
	return &Tree{entries: map[string]*entry{}, inodes: map[hostInode]*inode{}}
}

// Size is the content of all files in bytes.
func (t *Tree) Size() int64 { return t.size }

// AddDir adds an empty directory and its parents.
func (t *Tree) AddDir(guest string) error {
	_, err := t.walk(guest, t.makeDir)
	return err
}

// AddData adds a file with this content, and its parents.
func (t *Tree) AddData(guest string, mode fs.FileMode, content string) error {
	name, err := t.place(guest)
	if err != nil {
		return err
	}
	t.size += int64(len(content))
	return t.set(name, &entry{mode: mode, file: &inode{data: content, size: int64(len(content)), links: 1}})
}

// AddHost adds what the host has at this absolute path, at the same path: a file,
// or a directory with all that is in it; and the links and directories on the way.
func (t *Tree) AddHost(host string) error {
	final, err := t.walk(host, func(name string) error { return t.take(name, name) })
	if err != nil {
		return err
	}
	return t.fill(final, final)
}

// AddAs adds a file or directory of the host at another absolute path. If host
// is a symbolic link, what it leads to is added.
func (t *Tree) AddAs(host, guest string) error {
	source, err := filepath.EvalSymlinks(host)
	if err != nil {
		return fmt.Errorf("pack %s: %w", host, err)
	}
	name, err := t.place(guest)
	if err != nil {
		return err
	}
	if err := t.take(source, name); err != nil {
		return err
	}
	return t.fill(source, name)
}

// place makes the parents of a guest path and returns the path without links.
func (t *Tree) place(guest string) (string, error) {
	dir, err := t.walk(path.Dir(guest), t.makeDir)
	return path.Join(dir, path.Base(guest)), err
}

// walk goes along a path of the guest, over links, and lets grow add each name
// that is not there yet. It returns the path without links.
func (t *Tree) walk(name string, grow func(string) error) (string, error) {
	at, links := "/", 0
	rest := strings.Split(name, "/")
	for len(rest) > 0 {
		next := path.Join(at, rest[0]) // also for "", "." and ".."
		rest = rest[1:]
		if next == "/" {
			at = next
			continue
		}
		if t.entries[next] == nil {
			if err := grow(next); err != nil {
				return "", err
			}
		}
		e := t.entries[next]
		switch {
		case e.target != "":
			if links++; links > maxLinks {
				return "", fmt.Errorf("pack %s: it leads over more than %d symbolic links", name, maxLinks)
			}
			if path.IsAbs(e.target) {
				at = "/"
			}
			rest = append(strings.Split(e.target, "/"), rest...)
		case len(rest) > 0 && !e.mode.IsDir():
			return "", fmt.Errorf("pack %s: %s is not a directory", name, next)
		default:
			at = next
		}
	}
	return at, nil
}

func (t *Tree) makeDir(name string) error {
	return t.set(name, &entry{mode: fs.ModeDir | 0o755})
}

// fill adds all that is in a directory of the host; it does nothing for a file.
func (t *Tree) fill(host, guest string) error {
	return filepath.WalkDir(host, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("pack: %w", err)
		}
		to := path.Join(guest, strings.TrimPrefix(name, host))
		if t.entries[to] != nil {
			return nil
		}
		return t.take(name, to)
	})
}

// take adds one name of the host, without following it.
func (t *Tree) take(host, guest string) error {
	info, err := os.Lstat(host)
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	e := &entry{mode: info.Mode(), mtime: info.ModTime().Unix()}
	switch info.Mode().Type() {
	case fs.ModeDir:
	case fs.ModeSymlink:
		if e.target, err = os.Readlink(host); err != nil {
			return fmt.Errorf("pack: %w", err)
		}
	case 0:
		e.file = t.inode(host, info)
	default:
		return fmt.Errorf("pack %s: it is neither a file, a directory nor a symbolic link", host)
	}
	return t.set(guest, e)
}

// inode returns the file that a name of the host stands for, new or known.
func (t *Tree) inode(host string, info fs.FileInfo) *inode {
	var key hostInode
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		key = hostInode{uint64(stat.Dev), stat.Ino}
	}
	file := t.inodes[key]
	if file == nil {
		file = &inode{source: host, size: info.Size()}
		t.inodes[key] = file
		t.size += file.size
	}
	file.links++
	return file
}

func (t *Tree) set(name string, e *entry) error {
	if old := t.entries[name]; old != nil && !(old.mode.IsDir() && e.mode.IsDir()) {
		return fmt.Errorf("pack %s: it is there already", name)
	}
	if len(t.entries) >= maxEntries {
		return fmt.Errorf("pack %s: there are more than %d files", name, maxEntries)
	}
	t.entries[name] = e
	return nil
}
