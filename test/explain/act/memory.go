//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	// reserved is the address space of one kind of memory: more than any cgroup of these tests has.
	reserved = 1 << 30
	page     = 4096
	// hugePage is how much address space one page table covers.
	hugePage = 2 << 20
)

// span is address space of which the first part is in use.
type span struct {
	bytes []byte
	used  int64
}

// reach touches, or gives back, so that n bytes are in use, of a mapping made with these flags of that file.
func (s *span) reach(n int64, flags, fd int) error {
	n = n / page * page
	if n > reserved {
		return fmt.Errorf("%d bytes are more than the %d that there can be", n, reserved)
	}
	if s.bytes == nil {
		bytes, err := unix.Mmap(fd, 0, reserved, unix.PROT_READ|unix.PROT_WRITE, flags|unix.MAP_NORESERVE)
		if err != nil {
			return err
		}
		// A huge page would take 2 MiB where a page is touched. EINVAL: a kernel without huge pages.
		if err := unix.Madvise(bytes, unix.MADV_NOHUGEPAGE); err != nil && !errors.Is(err, unix.EINVAL) {
			return err
		}
		s.bytes = bytes
	}
	for at := s.used; at < n; at += page {
		s.bytes[at] = 1
	}
	if n < s.used {
		advice := unix.MADV_DONTNEED
		if flags&unix.MAP_SHARED != 0 {
			advice = unix.MADV_REMOVE // shared memory stays otherwise
		}
		if err := unix.Madvise(s.bytes[n:s.used], advice); err != nil {
			return err
		}
	}
	s.used = n
	return nil
}

// private is anonymous memory.
type private struct{ span }

func (p *private) hold(n int64) error { return p.reach(n, unix.MAP_ANON|unix.MAP_PRIVATE, -1) }

// shared is shared memory.
type shared struct{ span }

func (s *shared) hold(n int64) error { return s.reach(n, unix.MAP_ANON|unix.MAP_SHARED, -1) }

// tables are page tables: reading a page that was never written maps the one page of zeros, which is nobody's, and needs a table.
type tables struct {
	regions [][]byte
	touched int64
	zeros   byte // what was read; so that it is read
}

func (t *tables) hold(n int64) error {
	const region = 1 << 30 / hugePage // tables in each
	for ; t.touched < n/page; t.touched++ {
		if t.touched == int64(len(t.regions)*region) {
			bytes, err := unix.Mmap(-1, 0, region*hugePage, unix.PROT_READ, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
			if err != nil {
				return err
			}
			if err := unix.Madvise(bytes, unix.MADV_NOHUGEPAGE); err != nil && !errors.Is(err, unix.EINVAL) {
				return err
			}
			t.regions = append(t.regions, bytes)
		}
		t.zeros |= t.regions[t.touched/region][t.touched%region*hugePage]
	}
	return nil
}

// stored is a file in a tmpfs.
type stored struct {
	dir  string
	file *os.File
	size int64
}

func (s *stored) hold(n int64) error {
	if s.file == nil {
		f, err := os.Create(filepath.Join(s.dir, "stored"))
		if err != nil {
			return err
		}
		s.file = f
	}
	if n < s.size {
		s.size = n
		return s.file.Truncate(n)
	}
	for s.size < n {
		chunk := zeros[:min(int64(len(zeros)), n-s.size)]
		if _, err := s.file.WriteAt(chunk, s.size); err != nil {
			return err
		}
		s.size += int64(len(chunk))
	}
	return nil
}

// zeros is what is written.
var zeros [64 << 10]byte
