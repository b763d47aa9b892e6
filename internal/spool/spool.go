// Package spool keeps bytes for random access: the first part in memory, the
// rest in a temporary file that has no name.
//
// A [Space] is the shared allowance of one scan; a [Buffer] is one spooled
// file. The temporary files are unlinked (O_TMPFILE, or removed at once), so
// that a killed process leaves nothing behind. [InMemory] stands in the place of a
// directory where nothing is to be written to disk. Hazard: there, as on a tmpfs, a
// temporary file is memory of the same cgroup; see [OnMemory].
package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

// ErrLimit says that more was to be spooled than the caller allowed.
var ErrLimit = errors.New("more bytes than allowed")

// Space makes buffers in one directory. It is safe for concurrent use.
type Space struct {
	dir       string
	threshold int
	pool      sync.Pool

	disk atomic.Int64 // bytes on disk now
	peak atomic.Int64 // most bytes on disk at once
	err  atomic.Pointer[error]
}

// NewSpace keeps up to threshold bytes of each buffer in memory and the rest
// in files in dir, which must exist or be [InMemory].
func NewSpace(dir string, threshold int) *Space {
	s := &Space{dir: dir, threshold: threshold}
	s.pool.New = func() any { b := make([]byte, 0, threshold); return &b }
	return s
}

// Dir is where temporary files are made.
func (s *Space) Dir() string { return s.dir }

// PeakDisk is the most bytes that this space has had on disk at once.
func (s *Space) PeakDisk() int64 { return s.peak.Load() }

// New returns an empty buffer. It costs nothing until something is written.
func (s *Space) New() *Buffer { return &Buffer{space: s} }

// Err is the first error of writing to the directory, such as a full disk. It
// tells the user's machine from a fault of the content, whatever became of the error on its way.
func (s *Space) Err() error {
	if p := s.err.Load(); p != nil {
		return *p
	}
	return nil
}

func (s *Space) fail(err error) error {
	err = fmt.Errorf("spool to %s: %w", s.dir, err)
	s.err.CompareAndSwap(nil, &err)
	return err
}

// Account counts disk space that others take (n > 0) or give back in the same directory.
func (s *Space) Account(n int64) { s.grow(n) }

func (s *Space) grow(n int64) {
	now := s.disk.Add(n)
	for {
		p := s.peak.Load()
		if now <= p || s.peak.CompareAndSwap(p, now) {
			return
		}
	}
}

// Buffer is one run of bytes: written once, then read at any place. Not safe
// for concurrent writing; ReadAt is safe for concurrent use after the last Write.
type Buffer struct {
	space *Space
	mem   *[]byte
	file  *os.File
	size  int64
}

// Size is how many bytes were written.
func (b *Buffer) Size() int64 { return b.size }

// Write appends p.
func (b *Buffer) Write(p []byte) (int, error) {
	n := len(p)
	if b.mem == nil {
		b.mem = b.space.pool.Get().(*[]byte)
		*b.mem = (*b.mem)[:0]
	}
	if free := cap(*b.mem) - len(*b.mem); free > 0 {
		k := min(free, len(p))
		*b.mem = append(*b.mem, p[:k]...)
		b.size += int64(k)
		p = p[k:]
	}
	if len(p) == 0 {
		return n, nil
	}
	if b.file == nil {
		f, err := TempFile(b.space.dir)
		if err != nil {
			return n - len(p), b.space.fail(err)
		}
		b.file = f
	}
	k, err := b.file.Write(p)
	b.size += int64(k)
	b.space.grow(int64(k))
	if err != nil {
		return n - len(p) + k, b.space.fail(err)
	}
	return n, nil
}

// ReadAll appends everything from r; more than limit bytes in the buffer is ErrLimit.
func (b *Buffer) ReadAll(r io.Reader, limit int64) error {
	if _, err := io.Copy(b, io.LimitReader(r, limit-b.size)); err != nil {
		return err
	}
	if b.size < limit {
		return nil
	}
	var one [1]byte
	switch _, err := io.ReadFull(r, one[:]); err {
	case io.EOF:
		return nil
	case nil:
		return ErrLimit
	default:
		return err
	}
}

// ReadAt implements io.ReaderAt.
func (b *Buffer) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("spool: negative offset")
	}
	if off >= b.size {
		return 0, io.EOF
	}
	n := 0
	if mem := *b.mem; off < int64(len(mem)) {
		n = copy(p, mem[off:])
		off += int64(n)
	}
	switch {
	case n == len(p):
		return n, nil
	case b.file == nil:
		return n, io.EOF
	}
	k, err := b.file.ReadAt(p[n:], off-int64(len(*b.mem)))
	return n + k, err
}

// Close gives the memory and the disk space back. It may be called again.
func (b *Buffer) Close() {
	if b.file != nil {
		b.file.Close()
		b.file = nil
		b.space.grow(int64(len(*b.mem)) - b.size)
	}
	if b.mem != nil {
		b.space.pool.Put(b.mem)
		b.mem = nil
	}
	b.size = 0
}
