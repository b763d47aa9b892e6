package incident

import (
	"cmp"
	"slices"
	"time"
)

// Sort puts events in their order: by time, and at the same time in the order of [Kinds], as what is opened was opened before it was ended.
func Sort(events []Event) {
	slices.SortFunc(events, func(a, b Event) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(slices.Index(Kinds, a.Kind), slices.Index(Kinds, b.Kind)), cmp.Compare(a.ID, b.ID))
	})
}

// Timeline is a sorted copy of events that came in any order and any of them more than once: each once, without the kills that others replace.
func Timeline(events []Event) []Event {
	events = slices.Clone(events)
	Sort(events)
	seen := replaced(events)
	return slices.DeleteFunc(events, func(e Event) bool {
		known := seen[e.ID]
		seen[e.ID] = true
		return known
	})
}

// Fold makes an incident of its events, in any order and any of them more than once. Of no events there is none: ok is false.
func Fold(events []Event) (in Incident, ok bool) {
	for _, e := range Timeline(events) {
		in = in.With(e)
	}
	return in, in.Events > 0
}

// replaced are the IDs of kills that others correct.
func replaced(events []Event) map[string]bool {
	gone, kills := map[string]bool{}, map[string]bool{}
	for _, e := range events {
		kills[e.ID] = kills[e.ID] || e.Kind == Killed
	}
	for _, e := range events {
		if e.Kind == Killed && e.Replaces != e.ID && kills[e.Replaces] {
			gone[e.Replaces] = true
		}
	}
	return gone
}

// With is the incident after one more event, which it does not have yet, which is its newest, and which replaces none.
func (in Incident) With(e Event) Incident {
	if in.Events == 0 {
		in = Incident{ID: e.Incident, State: Open, Opened: e.Time, Limit: Limit{Scope: "unknown"}}
	}
	in.Events++
	in.Updated = later(in.Updated, e.Time)
	in.Peak = max(in.Peak, e.Peak)
	if e.Kind == Opened {
		if in.Source == "" {
			in.Opened = e.Time // what was before it, such as a warning, was told later
		}
		in.Source = cmp.Or(e.Source, in.Source)
		if e.Subject != nil {
			in.Subject = *e.Subject
		}
	}
	if e.Limit != nil {
		in.Limit = *e.Limit
	}
	switch e.Kind {
	case Killed:
		in = in.killed(e)
	case Explained:
		in.Cause, in.Confidence = e.Cause, e.Confidence
	case Remedied:
		in.to(Applied, time.Time{})
	case Failed:
		in.to(NotHeld, time.Time{})
	case RolledBack:
		in.to(Open, time.Time{})
	case Verified:
		in.to(Held, e.Time)
	case Ended:
		in.to(Closed, e.Time)
	}
	return in
}

// killed counts kills. One after a remedy says that it did not hold.
func (in Incident) killed(e Event) Incident {
	n := e.Kills
	if n == 0 && e.Replaces == "" {
		n = 1
	}
	if n == 0 {
		return in
	}
	in.Kills += n
	if in.First.IsZero() {
		in.First = e.Time
	}
	in.Last = later(in.Last, e.Time)
	if in.State == Applied {
		in.State = NotHeld
	}
	return in
}

// to goes to another state, but not away from an end: what is told late changes nothing.
func (in *Incident) to(s State, ended time.Time) {
	if !in.State.Ended() {
		in.State, in.Ended = s, ended
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
