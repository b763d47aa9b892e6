// Package spool keeps events of incidents on disk until a stellad has them.
//
// Words: [Spool.Add] writes events down, and [Spool.Run] sends what was written down, some at a time, and forgets what was taken. What
// stellad does not take, and never will, is refused; what had to go to make room is dropped. There are two lanes, one of samples
// and one of everything else, which is sent first and kept longer.
//
// What is promised: an event for which Add returned nil is sent at least once, over the death of this process and of the machine, and
// however long stellad is away, as long as it fits in [Options.MaxBytes]. When it does not, the oldest samples are dropped, and when there are none, the oldest
// events. Of one that is sent twice stellad keeps one, by its ID. Clocks play no part: the order is that in which events were added, and pauses are measured.
//
// Hazards:
//
//   - Add waits for the disk. Nothing that has to be quick calls it.
//   - Events go by whole segments: what is dropped are some hundred at a time, and what is sent again after a crash, too.
//   - Two processes must not have one directory: the second is refused.
package spool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"stella/internal/incident"
)

const (
	// DefaultBytes is for some thousand explained incidents: more than a node has in a day without stellad.
	DefaultBytes = 64 << 20
	// MinBytes is a few segments of each lane.
	MinBytes = 2 << 20
	// segmentBytes is read at a time, and dropped at a time.
	segmentBytes = 256 << 10
	// maxRecord bounds an event as JSON: its data, and texts and names of which every byte is escaped.
	maxRecord = incident.MaxData + 12*6*incident.MaxName
)

// Options say where events go. All fields but MaxBytes are needed.
type Options struct {
	// Send sends at most [incident.MaxBatch] events to stellad, such as (*client.Client).SendEvents. An error says that it is not known what became of
	// them: they are sent again.
	Send func(ctx context.Context, events []incident.Event) (incident.Receipt, error)
	// MaxBytes bounds what is kept on disk; 0 is DefaultBytes.
	MaxBytes int64
	Log      *slog.Logger
}

// Stats are counts since the start, and what there is now.
type Stats struct {
	// Queued is how many events wait, and Bytes what they take on disk.
	Queued, Bytes int64
	// Sent were taken by stellad, Refused were not, and Dropped never got there: they went to make room, could not be written, or were damaged.
	Sent, Refused, Dropped int64
}

// Spool is an open one. It may be used by several goroutines; only one calls Run.
type Spool struct {
	o    Options
	wake chan struct{}

	mu      sync.Mutex
	events  *lane
	samples *lane
	stats   Stats
}

// Open opens the spool in a directory, which it makes if it must.
func Open(dir string, o Options) (*Spool, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultBytes
	}
	if o.MaxBytes < MinBytes {
		return nil, fmt.Errorf("spool %s: %d bytes are too few; at least %d", dir, o.MaxBytes, int64(MinBytes))
	}
	s := &Spool{o: o, wake: make(chan struct{}, 1)}
	var err error
	if s.events, err = openLane(filepath.Join(dir, "events")); err != nil {
		return nil, fmt.Errorf("open the spool of incidents: %w", err)
	}
	if s.samples, err = openLane(filepath.Join(dir, "samples")); err != nil {
		return nil, errors.Join(fmt.Errorf("open the spool of incidents: %w", err), s.events.close())
	}
	if n := s.events.damaged + s.samples.damaged; n > 0 {
		o.Log.Warn("events of incidents on disk are damaged, and left out", "events", n, "dir", dir)
	}
	s.nudge()
	return s, nil
}

// Close ends it. Run must have returned.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.events.close(), s.samples.close())
}

// Stats says how it does.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Queued = s.events.queued() + s.samples.queued()
	stats.Dropped += s.events.damaged + s.samples.damaged
	stats.Bytes = s.events.bytes() + s.samples.bytes()
	return stats
}

// Add writes events down. When it returns nil they are on disk; after an error some of them may be, and all can be added again. An event that is wrong
// (see [incident.Event.Check]) is an error, and then none is written.
func (s *Spool) Add(events ...incident.Event) error {
	records := make([][]byte, len(events))
	for i := range events {
		// The clock may have been set back since: whether the time is right, stellad says.
		if err := events[i].Check(events[i].Time); err != nil {
			return fmt.Errorf("event %.80s of incident %.80s: %w", events[i].ID, events[i].Incident, err)
		}
		record, err := json.Marshal(&events[i])
		if err == nil && len(record) > maxRecord {
			err = fmt.Errorf("%d bytes are too many", len(record))
		}
		if err != nil {
			return fmt.Errorf("event %.80s of incident %.80s: %w", events[i].ID, events[i].Incident, err)
		}
		records[i] = record
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.nudge()
	for i, record := range records {
		l := s.events
		if events[i].Kind == incident.Sampled {
			l = s.samples
		}
		if err := s.add(l, record); err != nil {
			s.stats.Dropped += int64(len(records) - i)
			return errors.Join(fmt.Errorf("spool of incidents: %w", err), s.sync())
		}
	}
	return s.sync()
}

func (s *Spool) sync() error { return errors.Join(s.events.sync(), s.samples.sync()) }

// add appends a record to a lane when there is room. A full disk may have room again without the oldest samples.
func (s *Spool) add(l *lane, record []byte) error {
	if err := s.makeRoom(int64(len(record))); err != nil {
		return err
	}
	err := l.add(record)
	if err == nil {
		return nil
	}
	lost, again := s.samples.dropOldest()
	s.dropped(lost, "the disk cannot be written", again)
	if again != nil || lost == 0 {
		return err
	}
	return l.add(record)
}

// makeRoom drops the oldest samples, and when there are none the oldest events, until some more bytes fit.
func (s *Spool) makeRoom(more int64) error {
	for s.events.bytes()+s.samples.bytes()+more+segmentBytes > s.o.MaxBytes {
		l := s.samples
		if l.queued() == 0 {
			l = s.events
		}
		lost, err := l.dropOldest()
		s.dropped(lost, "too many wait", err)
		if err != nil || lost == 0 {
			return err
		}
	}
	return nil
}

func (s *Spool) dropped(n int64, why string, err error) {
	s.stats.Dropped += n
	if n > 0 || err != nil {
		s.o.Log.Warn("events of incidents were dropped before stellad had them", "events", n, "why", why, "error", err)
	}
}

// nudge says that there is something to send.
func (s *Spool) nudge() {
	select {
	case s.wake <- struct{}{}:
	default: // it is about to look anyway
	}
}
