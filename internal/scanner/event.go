package scanner

import "time"

// EventKind says what an event tells.
type EventKind string

// The kinds of events. All but the last are kept with the job; progress is of
// the moment and has no ID.
const (
	EventSubmitted EventKind = "submitted"
	EventStarted   EventKind = "started"  // an attempt began
	EventOOM       EventKind = "oom"      // an attempt was OOM-killed
	EventRequeued  EventKind = "requeued" // the job waits again
	EventEnded     EventKind = "ended"    // the job has a final status; no event comes after it
	EventProgress  EventKind = "progress"
)

// Event is something that happened to a job.
type Event struct {
	ID      int64     `json:"id,omitempty"` // ascending over all jobs; 0 for progress
	Job     int64     `json:"job"`
	At      time.Time `json:"at"`
	Kind    EventKind `json:"kind"`
	Message string    `json:"message,omitempty"`
	// Attempt is the one it is about, 0 for none.
	Attempt int    `json:"attempt,omitempty"`
	Status  Status `json:"status"`
	// Progress is there for progress alone.
	Progress *Progress `json:"progress,omitempty"`
}
