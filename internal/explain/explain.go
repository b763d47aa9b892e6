// Package explain says why a container ran, or will run, out of memory: from samples of its memory, the kills, and what else is
// known. It asks nobody anything, and its answer does not depend on the order of what it is given.
//
// Words: what a container needs is its memory that the kernel cannot take back: anonymous memory, shared memory, and the kernel's own. A life is the time from a start
// of its first process, or from a kill, to the next. The scale is what amounts are compared with: the limit, or the most that was needed where there is none. A claim is a
// cause on trial: each fact for or against it changes its odds, by a weight of evidence (Good 1950), and the odds are the confidence of its [Finding].
//
// [Explain] puts its input in order (view), cuts it into lives, lets each cause make its claim, and then lets causes that say more take from those that say less: memory of
// tmpfs that grows also looks like a leak. docs/causes.md has each cause with its facts.
//
// Hazards:
//
//   - A kill is a point of the series: at its time, the container needed its limit. Between the last sample and the kill nobody looked.
//   - After a kill with the first process alive, the same life of the program goes on here as another, with the same start.
//   - A rise in the last part of the time has no end yet. Half a tooth of a garbage collector, a morning of a daily load, and a leak are the same; what
//     tells them apart is more time, the processor time and the application's gauges.
//   - Weights were set by judgement, and confidences are as good as the data on which they were compared (make bench-explain).
package explain

import (
	"time"

	"stella/internal/oom"
)

// Input is what is known of one container, or of one cgroup that is none.
type Input struct {
	Container oom.Container
	// Samples are of its memory, in any order, also of before its restarts.
	Samples []oom.Sample
	// Kills are those in it or below it, and those that the node's own limit made.
	Kills []oom.Kill
	// Starts are when its first process was started, as far as that is known.
	Starts []time.Time
	// Gauges are of the application's own metrics.
	Gauges []Gauge
	// Heap is how the heap of its program grew; nil is not known.
	Heap *Heap
	// Neighbours are the largest others on the node, for a node that ran out.
	Neighbours []Neighbour
	// Now is when this was asked.
	Now time.Time
}

// Gauge is one series of an application's metrics.
type Gauge struct {
	Name   string
	Points []Point
}

// Point is a value at a time.
type Point struct {
	Time  time.Time
	Value float64
}

// Neighbour is another container of the node.
type Neighbour struct {
	Container oom.Container
	// Request and WorkingSet are in bytes; a request of 0 is none.
	Request, WorkingSet int64
	// Growth is how much its working set grew in the ten minutes before, in bytes.
	Growth int64
}

// Cause is why memory ran out. docs/causes.md defines each.
type Cause string

// The causes.
const (
	Leak        Cause = "leak"          // it grows without an end
	Spike       Cause = "spike"         // it was steady, and then much more, at once
	LimitTooLow Cause = "limit_too_low" // a steady working set needs what the limit leaves no room for
	StartUp     Cause = "start_up"      // it needs more while it starts than afterwards
	Children    Cause = "children"      // many short processes, together too large
	PageCache   Cause = "page_cache"    // files that were written or read, and could not be given back in time
	Tmpfs       Cause = "tmpfs"         // files in memory, or shared memory
	KernelUse   Cause = "kernel"        // slab, page tables, stacks
	Sockets     Cause = "sockets"       // buffers of connections
	LargeInput  Cause = "large_input"   // one piece of work that is larger than others
	Gauged      Cause = "gauge"         // it grows with something that the application counts
	AboveLimit  Cause = "above_limit"   // the limit of the pod, or another one above, fired
	NodeFull    Cause = "node_full"     // the node had no memory: another one took it
	NoOOM       Cause = "no_oom"        // nothing was killed for want of memory
	Healthy     Cause = "healthy"       // nothing is wrong with its memory
	CannotTell  Cause = "cannot_tell"   // what is known does not say; Report.Collect says what would
)

// Evidence is one fact, for people and with what it was taken from.
type Evidence struct {
	// Text says it in a sentence, with numbers.
	Text string `json:"text"`
	// From and To are the time that it is about; zero where it is about none.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Kill is the ID of the kill that it is from; empty is none.
	Kill string `json:"kill,omitempty"`
}

// Finding is one cause, and how likely it is.
type Finding struct {
	Cause Cause `json:"cause"`
	// Confidence is from 0 to 1: of findings with 0.8, about 8 of 10 are right (make bench-explain shows how near that is).
	Confidence float64    `json:"confidence"`
	Summary    string     `json:"summary"`
	For        []Evidence `json:"for"`
	Against    []Evidence `json:"against,omitempty"`
	// Gauge is what memory follows, for the cause [Gauged]; nil for others.
	Gauge *Followed `json:"gauge,omitempty"`
}

// Followed is a gauge that memory follows.
type Followed struct {
	Name string `json:"name"`
	// PerUnit is how much memory goes with one of it, in bytes; R2 the share of the variance of memory that it explains.
	PerUnit float64 `json:"per_unit"`
	R2      float64 `json:"r2"`
}

// Report is the answer.
type Report struct {
	Container oom.Container `json:"container"`
	// Findings are the likely causes, the likeliest first. There is always one, if only [CannotTell].
	Findings []Finding `json:"findings"`
	// Collect says in sentences what would tell more.
	Collect []string `json:"collect,omitempty"`
	// Forecast is nil where nothing grows towards a limit.
	Forecast *Forecast `json:"forecast,omitempty"`
	// Limit is nil where there is no reason to change it, or a limit would be no cure.
	Limit *Recommendation `json:"limit,omitempty"`
	// Heap is how the heap of its program grew; nil is not known.
	Heap *Heap `json:"heap,omitempty"`
	// Known is the issue of the software that fits; nil is none.
	Known *Issue `json:"known,omitempty"`
}

// Forecast is when the working set will be at the limit, if it goes on as it does.
type Forecast struct {
	At       time.Time `json:"at"`
	Earliest time.Time `json:"earliest"`
	Latest   time.Time `json:"latest,omitzero"` // zero is that it may be never
	// PerHour is its growth in bytes an hour.
	PerHour int64 `json:"per_hour"`
	Limit   int64 `json:"limit"`
	// Lives is how many earlier lives grew as fast, and were killed.
	Lives int `json:"lives,omitempty"`
	// Due is that the limit is so near, and the growth so sure, that it is time to warn, if the forecast before said so too ([Warner]).
	Due bool `json:"due"`
}

// Recommendation is a limit, and why so much.
type Recommendation struct {
	Bytes int64 `json:"bytes"`
	// Seen is the most that was seen, and Headroom what is added for what was not, both in bytes.
	Seen     int64  `json:"seen"`
	Headroom int64  `json:"headroom"`
	Reason   string `json:"reason"`
}

// Issue is a known one, of some software.
type Issue struct {
	Title  string `json:"title"`
	Match  string `json:"match"` // why it fits
	Remedy string `json:"remedy"`
	Source string `json:"source"`
}
