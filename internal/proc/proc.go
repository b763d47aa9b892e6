// Package proc reads what the kernel says about the memory of this process, and gives back what of it is the program itself.
//
// Vocabulary: the resident set is the memory that the process has mapped and
// that is present: its heap, its stacks, and the pages of its own binary that
// it has touched. The file part of it is backed by files, which for this
// program means the binary; the kernel can drop such pages and read them again.
//
// Hazards: the figures are exact only to a few pages per CPU, because the
// kernel batches its counters (proc_pid_statm(5)). A memory cgroup counts
// something else: page cache as well, and no page that another cgroup touched
// first.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
)

// statmSize is more than statm ever has: seven numbers of at most 20 digits.
const statmSize = 256

// ErrFormat says that the kernel's answer was not understood.
var ErrFormat = errors.New("not in the expected format")

// Memory reads the resident set of one process, again and again, through one
// open file and one buffer: reading it does not allocate. It is used by one
// goroutine at a time.
type Memory struct {
	file *os.File
	page int64
	buf  [statmSize]byte
}

// Usage is the resident set at one moment.
type Usage struct {
	// Resident is all of it, in bytes.
	Resident int64
	// File is the part that is backed by files, in bytes.
	File int64
}

// OpenSelf opens the memory figures of this process below root, which is the
// place where procfs is mounted: "/proc" outside of tests.
func OpenSelf(root string) (*Memory, error) {
	f, err := os.Open(filepath.Join(root, "self", "statm"))
	if err != nil {
		return nil, fmt.Errorf("read this process's memory use: %w", err)
	}
	return &Memory{file: f, page: int64(os.Getpagesize())}, nil
}

// Read asks the kernel once.
func (m *Memory) Read() (Usage, error) {
	n, err := m.file.ReadAt(m.buf[:], 0)
	if err != nil && err != io.EOF {
		return Usage{}, fmt.Errorf("read this process's memory use: %w", err)
	}
	u, err := parseStatm(m.buf[:n], m.page)
	if err != nil {
		return Usage{}, fmt.Errorf("%s: %w", m.file.Name(), err)
	}
	return u, nil
}

// Close closes the file.
func (m *Memory) Close() error { return m.file.Close() }

// parseStatm reads "size resident shared text lib data dt", in pages.
func parseStatm(b []byte, page int64) (Usage, error) {
	var pages [2]int64
	_, rest, ok := bytes.Cut(b, []byte{' '})
	for i := range pages {
		var field []byte
		if !ok {
			return Usage{}, ErrFormat
		}
		field, rest, ok = bytes.Cut(rest, []byte{' '})
		n, err := strconv.ParseInt(string(bytes.TrimSpace(field)), 10, 64)
		if err != nil || n < 0 || n > (1<<62)/page {
			return Usage{}, ErrFormat
		}
		pages[i] = n
	}
	return Usage{Resident: pages[0] * page, File: pages[1] * page}, nil
}
