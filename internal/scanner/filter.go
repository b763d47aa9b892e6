package scanner

import "time"

// JobFilter chooses jobs. Empty fields choose all.
type JobFilter struct {
	Status []Status
	Pool   string
	// Image is a part of the reference, or the whole digest.
	Image string
	// Since chooses jobs that were submitted, or ended, after it.
	Since time.Time
	// Before chooses jobs with a lower ID: the last of one page begins the next.
	Before int64
	// Limit is the most jobs, newest first; 1 to MaxPage.
	Limit int
}

// MaxPage is the most rows of one answer: 500 jobs with long references and
// messages are under a MiB of JSON.
const MaxPage = 500

// QueueStatus is what waits.
type QueueStatus struct {
	Pools []QueuePool `json:"pools"`
	// Pending and Running are over all pools.
	Pending int64 `json:"pending"`
	Running int64 `json:"running"`
	// Oldest is the age of the job that waits longest, in seconds.
	Oldest float64 `json:"oldestSeconds"`
}

// QueuePool is what waits for one pool.
type QueuePool struct {
	Pool    string  `json:"pool"`
	Pending int64   `json:"pending"`
	Delayed int64   `json:"delayed"` // of pending: not before a moment that has not come
	Running int64   `json:"running"`
	Oldest  float64 `json:"oldestSeconds"`
}

// Stats are totals over the jobs and attempts that are kept.
type Stats struct {
	Since    time.Time         `json:"since"`
	Jobs     map[Status]int64  `json:"jobs"`
	Attempts map[Outcome]int64 `json:"attempts"`
	// Incidents are OOM kills of workers.
	Incidents   int64   `json:"incidents"`
	Quarantined int64   `json:"quarantined"`
	Results     int64   `json:"results"`
	ResultBytes int64   `json:"resultBytes"`
	MeanSeconds float64 `json:"meanSeconds"` // of succeeded attempts
	MaxSeconds  float64 `json:"maxSeconds"`
	MaxPeak     int64   `json:"maxPeak"` // highest memory of any attempt, in bytes
}

// LogLine is one line of the service's log, of the server or of a worker.
type LogLine struct {
	ID       int64     `json:"id"`
	At       time.Time `json:"at"`
	Level    string    `json:"level"` // debug, info, warn, error
	Instance string    `json:"instance"`
	// Source is "server", "worker", or "stderr" for a line that a worker's process wrote there.
	Source  string `json:"source"`
	Job     int64  `json:"job,omitempty"`
	Attempt int    `json:"attempt,omitempty"`
	Worker  string `json:"worker,omitempty"`
	// Message is the text, with attributes behind it as key=value.
	Message string `json:"message"`
}

// LogFilter chooses lines of the log.
type LogFilter struct {
	// Text is a part of the message, without regard to upper and lower case.
	Text string
	// Level is the least, "" is info.
	Level string
	Job   int64
	Since time.Time
	// After chooses lines with a higher ID.
	After int64
	// Tail is the most lines, the newest of those chosen, in ascending order; 1 to MaxLogPage.
	Tail int
}

// MaxLogPage is the most lines of one answer: with MaxLogLine, 20 MiB at the
// very worst, and 1 MiB as a rule.
const MaxLogPage = 5000

// MaxLogLine is the most bytes of a message; what is longer is cut, and says so.
const MaxLogLine = 4096
