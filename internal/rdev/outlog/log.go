package outlog

import (
	"fmt"
	"os"
	"sync"
	"time"

	"stella/internal/rdev"
)

// Log is the log of one command. It is safe for concurrent use, and needs no closing: its file is open
// only while it is written or read.
type Log struct {
	id    string
	store *Store
	layout

	ending sync.Mutex // held while the log ends, which is once
	w      *writer    // nil where this process does not write it

	mu      sync.Mutex // held for moments, never while the disk is waited for
	kept    kept
	resume  []place // where readers stopped, by a part of their cursor; nil before the first
	failure string  // why the last write failed
	ended   time.Time
	end     *rdev.End
	// announced is up to where readers were woken, with wake, which is nil where none waits.
	announced uint64
	wake      chan struct{}
}

// kept is what the file has, for readers.
type kept struct {
	blocks []block // by their slot; nil before the first
	heads  uint64  // blocks of the head that are in use
	oldest uint64  // number of the oldest block of the ring
	newest uint64  // number of the newest block, if there is one
	used   int64   // bytes of the newest block
	totals
}

// totals are counts since the log began.
type totals struct {
	last     uint64 // number of the last record
	lines    int64  // that ended with a line feed
	bytes    int64  // what the program wrote
	lost     int64  // records that could not be written
	headLast uint64 // number of the last record before the ring
	open     bool   // the last record did not end its line
}

// block is what is known of a block: its header has the rest.
type block struct {
	first uint64 // number of its first record; 0 is none
	lines int64  // before it
	time  int64  // that its records' times are counted from, in milliseconds since 1970
}

// ID is the name that the log was created with.
func (l *Log) ID() string { return l.id }

// State says how much was written, and what became of it.
func (l *Log) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := &l.kept
	s := State{Lost: k.lost, Failure: l.failure, Ended: l.ended}
	s.Lines, s.Bytes, s.Last = k.lines, k.bytes, k.last
	if k.ring(l.layout) {
		s.Dropped = int64(l.block(k.oldest).first - 1 - k.headLast)
	}
	return s
}

// ring says whether the ring is in use.
func (k *kept) ring(y layout) bool { return len(k.blocks) > 0 && k.newest >= y.Head }

// block is one of the blocks that are kept. The caller holds mu.
func (l *Log) block(number uint64) *block { return &l.kept.blocks[l.slot(number)] }

// has says whether a block is kept. The caller holds mu.
func (l *Log) has(number uint64) bool {
	k := &l.kept
	if len(k.blocks) == 0 {
		return false
	}
	return number < k.heads || number >= max(k.oldest, l.Head) && number <= k.newest
}

// End makes end the last of the log: all that writers were given comes before it. When End returns nil, the log
// and its end are on the disk. A log that an earlier process left unfinished can be ended too.
// A second End is [ErrEnded]; after another error, readers see the end nevertheless, but it may not outlast a power cut.
func (l *Log) End(end rdev.End) error {
	l.ending.Lock()
	defer l.ending.Unlock()
	if l.hasEnd() {
		return fmt.Errorf("end the log of %s: %w", l.id, ErrEnded)
	}
	f, err := l.store.files.open(l.id)
	if err == nil {
		defer l.store.files.release(f)
	}
	if l.w != nil {
		l.w.finish()
	}
	end = cutEnd(end)
	now := time.Now()
	if err == nil {
		err = l.writeEnd(f.File, end, now)
	}
	l.mu.Lock()
	l.end, l.ended = &end, now
	l.announce()
	l.mu.Unlock()
	l.store.hasEnded(l)
	if err != nil {
		return fmt.Errorf("end the log of %s: %w", l.id, err)
	}
	return nil
}

func (l *Log) hasEnd() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end != nil
}

func (l *Log) writeEnd(f *os.File, end rdev.End, now time.Time) error {
	l.mu.Lock()
	k := &l.kept
	page := endPage{
		Time: now, End: end, Last: k.last, Lines: k.lines, Bytes: k.bytes, Lost: k.lost, Open: k.open,
		Oldest: k.oldest, Used: k.used,
	}
	l.mu.Unlock()
	// In this order, so that an end is never there without what came before it.
	if err := f.Sync(); err != nil {
		return err
	}
	if err := writePage(f, endAt, endSize, page); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return l.store.files.sync()
}

// announce wakes who waits for more. The caller holds mu.
func (l *Log) announce() {
	l.announced = l.kept.last
	if l.wake != nil {
		close(l.wake)
		l.wake = nil
	}
}

// closed is what [Log.More] returns where there is more already.
var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// More returns a channel that is closed when there may be a record behind last, or the end. All who
// wait share it, and are woken together, at most every [Batch].
func (l *Log) More(last uint64) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end != nil || l.announced > last {
		return closed
	}
	if l.wake == nil {
		l.wake = make(chan struct{})
	}
	return l.wake
}
