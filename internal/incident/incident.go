// Package incident is the record of what people deal with when memory ran out: kills that belong together, why they were, what was done, and whether it helped.
//
// Words: an [Incident] is about one [Subject], a workload, a scan or a command, and one limit. Everything that happens to it is an [Event] of its timeline: a kill, an
// explanation, a remedy, a note of a person. Events are only ever added; what an incident is now follows from them ([Fold]), in whatever order they came. The same event can be sent
// twice, as by a sender that did not hear the answer: it has an ID, and counts once. A source opens incidents: the agent of a node, the scanner, the service of commands.
//
// A remedy that was applied has to hold: an incident ends when it was verified, or when a person closes it. A kill after that is another incident.
//
// This package runs and stores nothing and knows no other one: stellad keeps the incidents of all in its database, an agent those of its node in files.
//
// Hazards:
//
//   - Sources have different clocks. Events are in the order of their times, so one that a clock put wrong is in a wrong place; nothing is lost by it.
//   - Texts and data come from kernels, registries and workloads. Whoever shows them makes them printable.
//   - The JSON of these types is the HTTP API of stellad and of the agent, and the form on disk.
package incident

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
)

// Source is who opened an incident.
type Source string

// The sources.
const (
	SourceNode    Source = "node"    // stella-agent: a kill on its node
	SourceWorker  Source = "worker"  // stellad: a worker of the scanner
	SourceCommand Source = "command" // rdev-api: a command in a project
	SourceDaemon  Source = "daemon"  // stella-agent: one of this product's own daemons
)

// Sources are all of them.
var Sources = []Source{SourceNode, SourceWorker, SourceCommand, SourceDaemon}

// State is how far an incident is.
type State string

// The states. The last two are ends.
const (
	Open    State = "open"     // nothing was done yet
	Applied State = "applied"  // a remedy was applied, and whether it holds is not known yet
	NotHeld State = "not_held" // a remedy was applied, and did not hold
	Held    State = "held"     // a remedy was applied, and held
	Closed  State = "closed"   // a person ended it
)

// States are all of them, in the order in which an incident goes through them.
var States = []State{Open, Applied, NotHeld, Held, Closed}

// Ended reports whether nothing more is to be done.
func (s State) Ended() bool { return s == Held || s == Closed }

// Kind is what an event tells.
type Kind string

// The kinds of events.
const (
	Opened     Kind = "opened"      // Subject and Limit
	Killed     Kind = "killed"      // Kills; Data is the kill as its source knows it
	Warned     Kind = "warned"      // it will be at its limit, and when
	Explained  Kind = "explained"   // Cause, Confidence; Data is the report
	Sampled    Kind = "sampled"     // Data are samples of its memory before a kill
	Profiled   Kind = "profiled"    // a heap profile was taken; Data says which sites grew
	Changed    Kind = "changed"     // somebody else changed it: a deployment, a configuration, a limit
	Planned    Kind = "planned"     // a remedy was proposed; Data is the plan
	Approved   Kind = "approved"    // Actor approved a step; Text has the reason
	Remedied   Kind = "remedied"    // a step was applied; Data has what was changed, and how to change it back
	ReadBack   Kind = "read_back"   // what the API and the cgroups say after a step
	Verified   Kind = "verified"    // the remedy held: the incident ends
	Failed     Kind = "failed"      // the remedy did not hold, or could not be applied
	RolledBack Kind = "rolled_back" // a step was taken back
	Noted      Kind = "noted"       // a person wrote something down
	Ended      Kind = "closed"      // a person ended it; Text has the reason
)

// Kinds are all of them.
var Kinds = []Kind{Opened, Killed, Warned, Explained, Sampled, Profiled, Changed, Planned, Approved, Remedied, ReadBack, Verified, Failed, RolledBack, Noted, Ended}

// Subject is whom an incident is about, as far as it is known.
type Subject struct {
	// Name is how people call it: shop/web, "debian:12 (job 7)".
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
	Workload  string `json:"workload,omitempty"` // the owner furthest up, such as Deployment/web
	Pod       string `json:"pod,omitempty"`
	Container string `json:"container,omitempty"`
	Image     string `json:"image,omitempty"`
	Node      string `json:"node,omitempty"`
	Cgroup    string `json:"cgroup,omitempty"`
}

// Limit is the limit that fired, or that somebody set.
type Limit struct {
	// Scope is whose it is: container, pod, parent, cgroup, node, unknown.
	Scope string `json:"scope"`
	// Bytes is 0 where it is not known.
	Bytes int64 `json:"bytes,omitempty"`
}

// Event is one thing that happened, or was found out.
type Event struct {
	Incident string `json:"incident"`
	// ID is the event's own in its incident: one that is sent again has the same.
	ID   string    `json:"id"`
	Time time.Time `json:"time"`
	Kind Kind      `json:"kind"`
	// Actor is who did it or told it: "stella-agent on n1", "key ci", "uid 0".
	Actor string `json:"actor"`
	// Text says it in a sentence.
	Text string `json:"text"`

	// Source, Subject and Limit are of [Opened]. A later one that knows more replaces them; Limit is also of [Remedied], where that changed it.
	Source  Source   `json:"source,omitempty"`
	Subject *Subject `json:"subject,omitempty"`
	Limit   *Limit   `json:"limit,omitempty"`
	// Kills is how many processes a [Killed] is about; 0 is one, or none in one that replaces another.
	Kills int64 `json:"kills,omitempty"`
	// Replaces is of a [Killed]: the ID of an earlier one of the same incident that this one corrects, and that counts no more. What a source knows of a kill can
	// change for minutes, as when the kernel's line comes after the counter.
	Replaces string `json:"replaces,omitempty"`
	// Peak is the most memory in bytes that the event tells of; 0 is none.
	Peak int64 `json:"peak,omitempty"`
	// Cause and Confidence are of [Explained].
	Cause      string  `json:"cause,omitempty"`
	Confidence float64 `json:"confidence,omitempty"`
	// Data is what the event was taken from, as the program has it that told of it.
	Data json.RawMessage `json:"data,omitempty"`
}

// Sample is the memory of the subject at one moment, in bytes; what is not known is 0. The data of a [Sampled] are some of them, in the order of their times.
type Sample struct {
	Time       time.Time `json:"t"`
	Usage      int64     `json:"usage,omitempty"`
	WorkingSet int64     `json:"ws,omitempty"`
	// Limit is the least that holds; 0 is none.
	Limit  int64 `json:"limit,omitempty"`
	Anon   int64 `json:"anon,omitempty"`
	File   int64 `json:"file,omitempty"`
	Shmem  int64 `json:"shmem,omitempty"`
	Kernel int64 `json:"kernel,omitempty"` // with what connections use
}

// Incident is what the events make of it.
type Incident struct {
	ID      string  `json:"id"`
	Source  Source  `json:"source"`
	Subject Subject `json:"subject"`
	// Limit is the one in force: the one that fired, or what a remedy set.
	Limit  Limit     `json:"limit"`
	State  State     `json:"state"`
	Opened time.Time `json:"opened"`
	// Ended is zero where it has not.
	Ended time.Time `json:"ended,omitzero"`
	// Kills is how many processes were killed, and First and Last when.
	Kills int64     `json:"kills"`
	First time.Time `json:"first_kill,omitzero"`
	Last  time.Time `json:"last_kill,omitzero"`
	Peak  int64     `json:"peak,omitempty"`
	// Cause and Confidence are of the newest explanation; empty where there is none.
	Cause      string  `json:"cause,omitempty"`
	Confidence float64 `json:"confidence,omitempty"`
	// Updated is the time of the newest event, and Events how many there are.
	Updated time.Time `json:"updated"`
	Events  int       `json:"events"`
}

// Details are an incident with its timeline, in order.
type Details struct {
	Incident
	Timeline []Event `json:"timeline"`
}

// NewID makes the ID of an incident, or of an event, from what tells it from others, such as the node and its first kill: who makes it again gets the same. It has 12 hexadecimal digits.
func NewID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:6])
}
