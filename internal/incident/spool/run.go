package spool

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"time"

	"stella/internal/incident"
)

const (
	// batchBytes is the most bytes of events that are sent together, but for one that is longer alone.
	batchBytes = 256 << 10
	// firstPause is after the first failure; it doubles with each, up to maxPause: a stellad that comes back after a day is told within this.
	firstPause = time.Second
	maxPause   = 2 * time.Minute
	// shownRefusals is how many refusals of one batch are logged.
	shownRefusals = 3
)

// batch is what is sent together.
type batch struct {
	lane    *lane
	segment uint64
	records int64 // of the lane, those that cannot be read included
	events  []incident.Event
}

// Run sends what waits until ctx ends; what is not sent then waits for the next process.
func (s *Spool) Run(ctx context.Context) {
	failures := 0
	for {
		sent, err := s.sendSome(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err != nil:
			if failures == 0 {
				s.o.Log.Warn("events of incidents cannot be sent; they wait on disk and are tried again", "error", err, "queued", s.Stats().Queued)
			}
			failures++
			if !sleep(ctx, pause(failures)) {
				return
			}
		case sent:
			if failures > 0 {
				s.o.Log.Info("events of incidents are sent again", "queued", s.Stats().Queued, "failures", failures)
			}
			failures = 0
		default:
			select {
			case <-ctx.Done():
				return
			case <-s.wake:
			}
		}
	}
}

// sendSome sends the batch that waits longest, and reports whether there was one.
func (s *Spool) sendSome(ctx context.Context) (bool, error) {
	b, err := s.next()
	if err != nil || b.records == 0 {
		return false, err
	}
	var receipt incident.Receipt
	if len(b.events) > 0 {
		if receipt, err = s.o.Send(ctx, b.events); err != nil {
			return false, err
		}
	}
	for _, r := range receipt.Refused[:min(len(receipt.Refused), shownRefusals)] {
		s.o.Log.Error("stellad refused an event of an incident", "incident", r.Incident, "event", r.ID, "reason", r.Reason)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Refused += int64(len(receipt.Refused))
	s.stats.Sent += int64(len(b.events) - len(receipt.Refused))
	s.stats.Dropped += b.records - int64(len(b.events))
	return true, b.lane.take(b.segment, b.records)
}

// next is the batch that waits longest, of events before samples.
func (s *Spool) next() (b batch, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range []*lane{s.events, s.samples} {
		b = batch{lane: l}
		size := 0
		b.segment, err = l.first(func(record []byte) bool {
			if b.records > 0 && size+len(record) > batchBytes {
				return false
			}
			size += len(record)
			b.records++
			var e incident.Event
			if json.Unmarshal(record, &e) == nil { // else another version wrote it
				b.events = append(b.events, e)
			}
			return len(b.events) < incident.MaxBatch
		})
		if err != nil || b.records > 0 {
			return b, err
		}
	}
	return b, nil
}

// pause is before the next try, after so many failures one after the other. It is up to a fifth longer or shorter, so that those that failed
// together do not come back together.
func pause(failures int) time.Duration {
	d := min(firstPause<<min(failures-1, 16), maxPause)
	return d - d/5 + rand.N(2*d/5)
}

// sleep reports whether the time passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
