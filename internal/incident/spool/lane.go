package spool

import (
	"bytes"
	"errors"
	"io/fs"

	"stella/internal/journal"
)

// checkpoint is the first record of each segment: the form of the others.
var checkpoint = []byte("events 1")

// lane is a queue on disk: records are added to the last segment of a journal and taken from the first. A segment is removed when all
// of it was taken. How far the first one was, a crash forgets.
type lane struct {
	journal *journal.Journal
	// counts are how many records each segment has, and taken is how many of the first one are done with.
	counts  []int64
	taken   int64
	damaged int64
	dirty   bool
}

// openLane opens a lane, and counts what is in it.
func openLane(dir string) (*lane, error) {
	j, err := journal.Open(dir)
	if err != nil {
		return nil, err
	}
	l := &lane{journal: j}
	for _, segment := range j.Segments() {
		n := int64(0)
		damaged, err := l.scan(segment, func([]byte) { n++ })
		if err != nil {
			j.Close()
			return nil, err
		}
		l.counts = append(l.counts, n)
		l.damaged += int64(damaged)
	}
	return l, nil
}

// scan calls fn with each record of a segment that is an event.
func (l *lane) scan(s journal.Segment, fn func(record []byte)) (damaged int, err error) {
	return l.journal.Scan(s, func(record []byte, _ int64) {
		if !bytes.Equal(record, checkpoint) {
			fn(record)
		}
	})
}

func (l *lane) close() error { return l.journal.Close() }

func (l *lane) bytes() int64 { return l.journal.Bytes() }

// queued is how many records are not taken.
func (l *lane) queued() int64 {
	n := -l.taken
	for _, c := range l.counts {
		n += c
	}
	return n
}

// add appends a record, to a new segment where the last one is full.
func (l *lane) add(record []byte) error {
	l.dirty = true
	segments := l.journal.Segments()
	if n := len(segments); n == 0 || !l.journal.Writable() || segments[n-1].Size+int64(len(record)) > segmentBytes && l.counts[n-1] > 0 {
		if err := l.begin(); err != nil {
			return err
		}
	}
	if err := l.journal.Append(record); err != nil {
		return err
	}
	l.counts[len(l.counts)-1]++
	return nil
}

func (l *lane) begin() error {
	if err := l.journal.Begin(checkpoint); err != nil {
		return err
	}
	l.counts = append(l.counts, 0)
	return nil
}

// sync waits until what was added is on disk.
func (l *lane) sync() error {
	if !l.dirty {
		return nil
	}
	l.dirty = false
	return l.journal.Syncer()()
}

// first calls fn with the records that are not taken of the first segment that has any, until fn says no. The segment's number is for take.
func (l *lane) first(fn func(record []byte) bool) (segment uint64, err error) {
	for l.queued() > 0 {
		s := l.journal.Segments()[0]
		var seen, given int64
		more := true
		_, err := l.scan(s, func(record []byte) {
			if seen++; seen > l.taken && more {
				more = fn(record)
				given++
			}
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		if seen < l.counts[0] { // somebody damaged or removed the file
			l.damaged += l.counts[0] - seen
			l.counts[0] = seen
			l.taken = min(l.taken, seen)
		}
		if given > 0 {
			return s.Number, nil
		}
		if err := l.remove(); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// take says that so many more records of a segment are done with, unless it was dropped since.
func (l *lane) take(segment uint64, n int64) error {
	if segments := l.journal.Segments(); len(segments) == 0 || segments[0].Number != segment {
		return nil
	}
	l.taken += n
	if l.taken < l.counts[0] {
		return nil
	}
	if err := l.remove(); err != nil && l.queued() > 0 {
		return err
	}
	return nil // on a full disk it stays until the next time
}

// dropOldest removes the first segment, and returns how many records went that were not taken.
func (l *lane) dropOldest() (int64, error) {
	if l.queued() == 0 {
		return 0, nil
	}
	lost := l.counts[0] - l.taken
	if err := l.remove(); err != nil {
		return 0, err
	}
	return lost, nil
}

// remove removes the first segment. A journal always has a last one, so that it can tell what comes after it.
func (l *lane) remove() error {
	if len(l.counts) == 1 {
		if err := l.begin(); err != nil {
			return err
		}
	}
	gone := false
	err := l.journal.Drop(func(journal.Segment, int64) bool {
		if gone {
			return false
		}
		gone = true
		return true
	})
	l.counts, l.taken = l.counts[1:], 0
	return err
}
