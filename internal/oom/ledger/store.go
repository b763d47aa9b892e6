package ledger

import (
	"fmt"
	"slices"
	"time"

	"stella/internal/journal"
)

const (
	// A segment is a sixteenth of the journal, so that little goes at once, but not so small
	// that checkpoints make the most of it, nor so large that reading it takes much memory.
	minSegment = 256 << 10
	maxSegment = 2 << 20
	// maxPending bounds what is kept in memory while the journal cannot be written: some 3,000 kills.
	maxPending = 4 << 20
)

// store is where records are kept: in the journal, or in memory while that cannot be written.
type store struct {
	dir     string
	journal *journal.Journal
	tag     string
	most    int64 // bytes
	segment int64 // bytes
	// begins says what each segment of the journal begins with, in its order.
	begins []begin
	number uint64 // of the last record
	// untold says that the tag is not in the journal.
	untold bool

	// pending are the records that are not in the journal.
	pending []pending
	waiting int64 // bytes of pending
	fault   error
	// hole says that records were dropped, so that what follows does not stand on what is written.
	hole    bool
	unsaved bool // something was written since it was synced
	// kills is how many there were ever, and dropped how many of them were never written.
	kills, dropped int64
	aged           uint64 // the last segment that was found to be too old
}

// begin is where a segment begins.
type begin struct {
	segment uint64
	time    time.Time
	// kill is the number of the first kill in it, and kills how many there were before.
	kill  uint64
	kills int64
	// dropped is how many of those were never written.
	dropped int64
}

// pending is a record in memory.
type pending struct {
	record []byte
	kills  int64  // that are new
	first  uint64 // number of the first of them; 0 is none
}

func newStore(dir string, j *journal.Journal, most int64) store {
	return store{dir: dir, journal: j, most: most, segment: min(max(most/16, minSegment), maxSegment), tag: newTag()}
}

// next is the number of the next record.
func (s *store) next() uint64 {
	s.number++
	return s.number
}

// put keeps a record. Its error says that it is in memory only.
func (s *store) put(record []byte, first uint64, kills int64) error {
	if s.fault == nil {
		err := s.journal.Append(record)
		if err == nil {
			s.unsaved = true
			return nil
		}
		s.fault = err
	}
	s.pending = append(s.pending, pending{record: record, kills: kills, first: first})
	s.waiting += int64(len(record))
	for s.waiting > maxPending && len(s.pending) > 1 {
		s.waiting -= int64(len(s.pending[0].record))
		s.dropped += s.pending[0].kills
		s.pending[0] = pending{}
		s.pending, s.hole = s.pending[1:], true
	}
	return s.fault
}

// full reports whether the last segment is.
func (s *store) full() bool {
	segments := s.journal.Segments()
	return len(segments) > 0 && segments[len(segments)-1].Size >= s.segment
}

// catchUp writes what is pending, if it can be written now: at the end of the journal, or, where something is missing
// before it, in a segment of its own.
func (s *store) catchUp(begin func(records ...[]byte) error) error {
	if s.fault == nil {
		return nil
	}
	if s.hole || len(s.journal.Segments()) == 0 || !s.journal.Writable() {
		records := make([][]byte, len(s.pending))
		for i := range s.pending {
			records[i] = s.pending[i].record
		}
		if err := begin(records...); err != nil {
			return err
		}
		s.pending, s.waiting = nil, 0
	}
	for len(s.pending) > 0 {
		if err := s.journal.Append(s.pending[0].record); err != nil {
			return err
		}
		s.waiting -= int64(len(s.pending[0].record))
		s.pending[0] = pending{}
		s.pending, s.unsaved = s.pending[1:], true
	}
	s.pending, s.fault, s.hole = nil, nil, false
	return nil
}

// waits is how many kills are pending, and the number of the first, or next if there are none.
func (s *store) waits(next uint64) (kills int64, first uint64) {
	for _, p := range slices.Backward(s.pending) {
		kills += p.kills
		if p.first > 0 {
			next = p.first
		}
	}
	return kills, next
}

// unwritten is an error if kills are in memory only.
func (s *store) unwritten() error {
	if n, _ := s.waits(0); n > 0 {
		return fmt.Errorf("%d kills are lost, as they could not be written: %w", n, s.fault)
	}
	return nil
}

// syncer returns what makes sure that what was written is on disk for good.
func (s *store) syncer() func() error {
	if !s.unsaved {
		return func() error { return nil }
	}
	s.unsaved = false
	return s.journal.Syncer()
}

// began notes what a segment begins with.
func (s *store) began(segment uint64, c *checkpoint) {
	s.begins = append(s.begins, begin{segment: segment, time: c.Time, kill: c.First, kills: c.Before, dropped: c.Dropped})
}

// drop removes the oldest segments as long as they are too old, or too much with so many bytes more.
func (s *store) drop(more int64, old func(oldest begin) bool) error {
	return s.journal.Drop(func(_ journal.Segment, bytes int64) bool {
		if bytes+more <= s.most && !old(s.begins[0]) {
			return false
		}
		s.begins = s.begins[1:]
		return true
	})
}
