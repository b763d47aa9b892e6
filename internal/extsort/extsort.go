// Package extsort sorts more records than fit in memory.
//
// A [Sorter] takes records, each a key and a value, in any order, and gives them back in the
// order of their bytes: by key, then by value, so that the result does not
// depend on the order in which they came. What does not fit its memory is written as sorted runs to a
// temporary file without a name, and merged when the records are read.
package extsort

import (
	"bytes"
	"cmp"
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

	batch // being filled
	spare batch
	// spilling yields the result of the batch that is being written; nil when none is.
	// Until then the goroutine behind it owns that batch and what follows.
	spilling chan error
	err      error // the first of spilling: records are lost

	file    *os.File
	runs    []run
	end     int64 // where the next run starts in file
	scratch []byte
	// OnDisk, where set, is told how many bytes of disk were taken or given back. It must be safe for concurrent use.
	OnDisk func(int64)
}

// batch is records in memory.
type batch struct {
	arena []byte
	index []record
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
	if len(s.arena)+n+(len(s.index)+1)*indexSize > s.memory/2 {
		if err := s.spill(); err != nil {
			return err
		}
	}
	off := len(s.arena)
	s.arena = append(append(grow(s.arena, n, s.memory/2), key...), value...)
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

func (b *batch) at(r record) (key, value []byte) {
	k := r.off + r.klen
	return b.arena[r.off:k], b.arena[k : k+r.vlen]
}

func (b *batch) sort() {
	slices.SortFunc(b.index, func(x, y record) int {
		if x.prefix != y.prefix {
			return cmp.Compare(x.prefix, y.prefix)
		}
		xk, xv := b.at(x)
		yk, yv := b.at(y)
		if c := bytes.Compare(xk, yk); c != 0 {
			return c
		}
		return bytes.Compare(xv, yv)
	})
}

// spill begins to write the batch as one sorted run, and goes on with the
// spare one. It waits for the run before.
func (s *Sorter) spill() error {
	if err := s.wait(); err != nil {
		return err
	}
	full := s.batch
	s.batch = batch{s.spare.arena[:0], s.spare.index[:0]}
	s.spare = full
	s.spilling = make(chan error, 1)
	go func() { s.spilling <- s.write(&full) }()
	return nil
}

// wait ends the spilling that is under way, and returns the first error of any.
func (s *Sorter) wait() error {
	if s.spilling != nil {
		s.err = cmp.Or(s.err, <-s.spilling)
		s.spilling = nil
	}
	return s.err
}

func (s *Sorter) write(b *batch) error {
	b.sort()
	w, err := s.newRun()
	if err != nil {
		return err
	}
	for _, r := range b.index {
		k, v := b.at(r)
		if err := w.add(k, v); err != nil {
			return err
		}
	}
	return w.close()
}

// Each sorts and gives every record to fn, whose arguments are valid during
// the call only. It may be called again and gives the same records; Add must not come after it.
func (s *Sorter) Each(fn func(key, value []byte) error) error {
	if err := s.wait(); err != nil {
		return err
	}
	if len(s.runs) == 0 {
		s.sort()
		for _, r := range s.index {
			if err := fn(s.at(r)); err != nil {
				return err
			}
		}
		return nil
	}
	if len(s.index) > 0 {
		if err := s.write(&s.batch); err != nil {
			return err
		}
	}
	s.batch, s.spare = batch{}, batch{} // merging needs the memory
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
	_ = s.wait() // what it could not write is not wanted any more
	s.batch, s.spare, s.runs = batch{}, batch{}, nil
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
