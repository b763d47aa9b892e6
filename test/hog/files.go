//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

const (
	// fileName is the file of hog in the directory that it was given.
	fileName = "hog.data"
	// fileStep is how much is written before it is stored and a line says so.
	fileStep = 8 << 20
	// tmpfsMagic is the type of a tmpfs in statfs(2).
	tmpfsMagic = 0x01021994
)

var fileModes = []mode{
	{"tmpfs", "write a file of SIZE in DIRECTORY, which must be in a tmpfs, and stay",
		`It counts as shared memory of the cgroup of whoever wrote it, and cannot be reclaimed without
swap. hog removes it when it ends, but not when it is killed: then the file still counts.`, declareTmpfs},
	{"page-cache", "write a file of SIZE in DIRECTORY, which must be on a disk, read it, and stay",
		"It fills the page cache, which the kernel takes back before it kills: this is no leak.", declarePageCache},
}

func declareTmpfs(p *parameters) runner {
	dir, n := p.file()
	return func(h *hog) error { return h.file(dir, int64(*n), true) }
}

func declarePageCache(p *parameters) runner {
	dir, n := p.file()
	return func(h *hog) error { return h.file(dir, int64(*n), false) }
}

func (p *parameters) file() (*word, *size) {
	var dir word
	p.argument("DIRECTORY", &dir)
	return &dir, p.size()
}

// file writes n bytes, stays, and removes the file.
func (h *hog) file(dir *word, n int64, tmpfs bool) (err error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(string(*dir), &fs); err != nil {
		return fmt.Errorf("look at %s: %w", *dir, err)
	}
	switch is := fs.Type == tmpfsMagic; {
	case tmpfs && !is:
		return fmt.Errorf("%s is not in a tmpfs; page-cache is for disks", *dir)
	case !tmpfs && is:
		return fmt.Errorf("%s is in a tmpfs, whose files are memory; tmpfs is for those", *dir)
	}
	f, err := os.Create(filepath.Join(string(*dir), fileName))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if err := h.fill(f, n); err != nil {
		return err
	}
	if !tmpfs {
		if err := h.read(f); err != nil {
			return err
		}
	}
	return h.wait(forever)
}

// fill writes n bytes. Every step is on the disk before the next begins: so the
// cache is clean, and the kernel can take it back without waiting for a disk.
func (h *hog) fill(f *os.File, n int64) error {
	for written := int64(0); written < n; {
		k, err := io.CopyN(f, zeros{}, min(fileStep, n-written))
		written += k
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", written, err)
		}
		h.say("wrote %d bytes", written)
		if err := h.wait(0); err != nil { // told to end in the meantime
			return err
		}
	}
	return nil
}

// zeros is an endless file of zeros.
type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// read reads all of the file.
func (h *hog) read(f *os.File) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, f)
	if err != nil {
		return err
	}
	h.say("read %d bytes", n)
	return nil
}
