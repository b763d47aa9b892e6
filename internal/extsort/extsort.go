// Package extsort sorts more records than fit in memory.
//
// A [Sorter] takes records, each a key and a value, in any order, and gives them back in the
// order of their bytes: by key, then by value, so that the result does not
// depend on the order in which they came. What does not fit its memory is written as sorted runs to a
// temporary file without a name, and merged when the records are read.
package extsort

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"stella/internal/spool"
)

const (
	// runBuffer is the read buffer of one run while merging.
	runBuffer = 16 << 10
	// indexSize is what one record costs beside its bytes.
	indexSize = 24
	// MaxRecord is the most bytes of key and value together. A quarter of
	// MinMemory, so that a run always holds several records.
	MaxRecord = 128 << 10
	// MinMemory is the least memory a Sorter works with.
	MinMemory = 512 << 10
)

// ErrTooLarge says that a record is larger than MaxRecord.
var ErrTooLarge = errors.New("record too large to sort")

// Sorter collects records. It is used by one goroutine.
type Sorter struct {
	dir    string
	memory int

	arena   []byte
	index   []record
	file    *os.File
	runs    []run
	end     int64 // where the next run starts in file
	scratch []byte
	// OnDisk, where set, is told how many bytes of disk were taken or given back.
	OnDisk func(int64)
}

// record points into the arena. The first bytes of the key decide most comparisons.
type record struct {
	prefix     uint64
	off        uint32
	klen, vlen uint32
}

type run struct{ off, len int64 }

// New returns an empty Sorter that holds at most memory bytes (but no less than MinMemory) and
// puts the rest into a file in dir, made when it is first needed.
func New(dir string, memory int) *Sorter {
	return &Sorter{dir: dir, memory: max(memory, MinMemory)}
}

// Add takes one record; it copies key and value.
func (s *Sorter) Add(key, value []byte) error {
	n := len(key) + len(value)
	if n > MaxRecord {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, n, MaxRecord)
	}
	if len(s.arena)+n+(len(s.index)+1)*indexSize > s.memory {
		if err := s.spill(); err != nil {
			return err
		}
	}
	off := len(s.arena)
	s.arena = append(append(grow(s.arena, n, s.memory), key...), value...)
	s.index = append(s.index, record{prefix(key), uint32(off), uint32(len(key)), uint32(len(value))})
	return nil
}

// grow makes room as append does, but never beyond the limit: doubling a full
// arena would hold half as much again as was allowed.
func grow(b []byte, n, limit int) []byte {
	if len(b)+n <= cap(b) {
		return b
	}
	c := min(max(2*cap(b), len(b)+n, 4<<10), max(limit, len(b)+n))
	return append(make([]byte, 0, c), b...)
}

func prefix(key []byte) uint64 {
	var p [8]byte
	copy(p[:], key)
	return binary.BigEndian.Uint64(p[:])
}

func (s *Sorter) at(r record) (key, value []byte) {
	k := r.off + r.klen
	return s.arena[r.off:k], s.arena[k : k+r.vlen]
}

func (s *Sorter) sortIndex() {
	slices.SortFunc(s.index, func(a, b record) int {
		if a.prefix != b.prefix {
			if a.prefix < b.prefix {
				return -1
			}
			return 1
		}
		ak, av := s.at(a)
		bk, bv := s.at(b)
		if c := bytes.Compare(ak, bk); c != 0 {
			return c
		}
		return bytes.Compare(av, bv)
	})
}

// spill writes what is in memory as one sorted run.
func (s *Sorter) spill() error {
	if len(s.index) == 0 {
		return nil
	}
	s.sortIndex()
	w, err := s.newRun()
	if err != nil {
		return err
	}
	for _, r := range s.index {
		k, v := s.at(r)
		if err := w.add(k, v); err != nil {
			return err
		}
	}
	s.arena, s.index = s.arena[:0], s.index[:0]
	return w.close()
}

// Each sorts and gives every record to fn, whose arguments are valid during
// the call only. It may be called again and gives the same records; Add must not come after it.
func (s *Sorter) Each(fn func(key, value []byte) error) error {
	if len(s.runs) == 0 {
		s.sortIndex()
		for _, r := range s.index {
			if err := fn(s.at(r)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := s.spill(); err != nil {
		return err
	}
	s.arena, s.index = nil, nil // merging needs the memory
	fan := max(s.memory/runBuffer, 4)
	for len(s.runs) > fan {
		if err := s.mergeFirst(fan); err != nil {
			return err
		}
	}
	return s.merge(s.runs, fn)
}

// mergeFirst replaces the first n runs by one. The space of the old ones is
// not used again: it is given back when the Sorter is closed.
func (s *Sorter) mergeFirst(n int) error {
	w, err := s.newRun()
	if err != nil {
		return err
	}
	if err := s.merge(s.runs[:n], w.add); err != nil {
		return err
	}
	if err := w.close(); err != nil {
		return err
	}
	s.runs = slices.Delete(s.runs, 0, n)
	return nil
}

// Close gives the disk space back. It may be called again.
func (s *Sorter) Close() error {
	s.arena, s.index, s.runs = nil, nil, nil
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	s.disk(-s.end)
	return err
}

func (s *Sorter) disk(n int64) {
	if s.OnDisk != nil {
		s.OnDisk(n)
	}
}

func (s *Sorter) open() error {
	if s.file != nil {
		return nil
	}
	f, err := spool.TempFile(s.dir)
	if err != nil {
		return fmt.Errorf("sort on disk: %w", err)
	}
	s.file = f
	return nil
}
