package initramfs

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"syscall"
)

// Write writes the tree as an archive in the format newc, which the kernel
// takes without decompressing anything.
func (t *Tree) Write(w io.Writer) error {
	a := &newc{w: w}
	var number uint32
	// In this order a directory comes before what is in it, as the kernel needs it.
	for _, name := range slices.Sorted(maps.Keys(t.entries)) {
		e := t.entries[name]
		number++
		h := header{name: strings.TrimPrefix(name, "/"), inode: number, mode: unixMode(e.mode), links: 1, mtime: seconds(e.mtime)}
		if err := e.write(a, h); err != nil {
			return err
		}
	}
	return a.close()
}

func (e *entry) write(a *newc, h header) error {
	switch {
	case e.target != "":
		h.size = int64(len(e.target))
		return a.entry(h, strings.NewReader(e.target))
	case e.file == nil:
		return a.entry(h, strings.NewReader(""))
	}
	f := e.file
	h.links = f.links
	if f.number != 0 { // another name of a file whose content the archive has
		h.inode = f.number
		return a.entry(h, strings.NewReader(""))
	}
	f.number, h.size = h.inode, f.size
	if f.source == "" {
		return a.entry(h, strings.NewReader(f.data))
	}
	content, err := os.Open(f.source)
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	defer content.Close()
	return a.entry(h, content)
}

// unixMode is the st_mode of stat(2).
func unixMode(m fs.FileMode) uint32 {
	mode := uint32(m.Perm())
	for bit, unix := range map[fs.FileMode]uint32{
		fs.ModeSetuid: syscall.S_ISUID, fs.ModeSetgid: syscall.S_ISGID, fs.ModeSticky: syscall.S_ISVTX,
	} {
		if m&bit != 0 {
			mode |= unix
		}
	}
	switch m.Type() {
	case fs.ModeDir:
		return mode | syscall.S_IFDIR
	case fs.ModeSymlink:
		return mode | syscall.S_IFLNK
	}
	return mode | syscall.S_IFREG
}

// seconds fits a time into the 32 bits that the format has for it.
func seconds(t int64) uint32 { return uint32(min(max(t, 0), math.MaxUint32)) }
