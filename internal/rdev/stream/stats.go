package stream

import "sync/atomic"

// Stats are figures for metrics; all but Active only grow.
type Stats struct {
	Active  int64
	Opened  int64
	Refused int64 // for want of room
	Closed  map[Reason]int64
	// Lagged counts each time that a subscriber did not take what there was, and was left behind the others.
	Lagged int64
	// Bytes is what was sent of events.
	Bytes int64
}

type stats struct {
	opened, refused, lagged, bytes atomic.Int64
	// closed is by the place of a reason in Reasons.
	closed [7]atomic.Int64
}

func (s *stats) close(r Reason) {
	for i, known := range Reasons() {
		if known == r {
			s.closed[i].Add(1)
		}
	}
}

// Stats returns the figures as they are now.
func (h *Hub) Stats() Stats {
	s := Stats{Refused: h.stats.refused.Load(), Lagged: h.stats.lagged.Load(), Bytes: h.stats.bytes.Load(), Closed: map[Reason]int64{}}
	var closed int64
	for i, r := range Reasons() {
		s.Closed[r] = h.stats.closed[i].Load()
		closed += s.Closed[r]
	}
	s.Opened = h.stats.opened.Load()
	s.Active = s.Opened - closed
	return s
}
