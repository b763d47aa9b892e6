// Package analyze finds the OOM kills in logs that somebody kept: files, directories and
// archives from any machine, without an agent.
//
// Words: a source is one log: a file, or an entry of an archive. A bundle is a directory or an
// archive of sources. An invocation is a header of the kernel's ("invoked oom-killer") without a
// line "Killed process"; that line may have been cut out. A notice is what a runtime, systemd, the kubelet or the
// status of a pod tells, without a count. A finding is what all sources together tell of one kill.
//
//	a := analyze.New(analyze.Options{Location: time.Local})
//	for _, path := range paths {
//		err := a.Path(ctx, path)
//		…
//	}
//	result := a.Result()
//
// The same kill is found once, however many sources tell of it: dmesg, syslog and journal of one machine
// have the same pid, name and sizes for it. What the kernel tells is joined with notices by container and time, and
// with lists of pods (kubectl get pods -o json) by the container's ID. A notice that nothing explains is a weak kill.
//
// Hazards:
//
//   - Logs without a year or a zone have a time only by [Options]. Where a line has both such a time and one
//     of its own with a zone (containerd's have), the whole source is moved to that.
//   - What dmesg prints has no wall clock at all: such kills have a time only if another source has one of them too.
//   - A list of pods shows the last end of each container alone, and only of pods that are still there.
//   - Everything in a bundle was written by others. It is read in constant memory: a line, a file or a list of pods of any size.
package analyze

import (
	"time"

	"stella/internal/oom"
)

const (
	// MaxKills bounds the kills of a result, in memory about 1.5 KiB each. It is a year of one an hour.
	MaxKills = oom.MaxKills
	// maxTasks bounds the rows of task tables that are kept for all kills together: 3 MiB. Further kills keep none.
	maxTasks = 24 << 10
	// maxNotices bounds the notices, at about 400 bytes each.
	maxNotices = 10_000
	// maxSources bounds the names that a result lists; the totals count all.
	maxSources = 1000
	// maxName bounds the name of a source. It can come from an archive.
	maxName = 512
)

// Options say how to read what a log does not tell. The zero value is usable.
type Options struct {
	// Location is the zone of times without one; nil is UTC.
	Location *time.Location
	// Year is the year of times without one; 0 is found from when the file was last written.
	Year int
	// PageSize is that of the machine in bytes; 0 is what the log shows, and else 4096.
	PageSize int64
}

// Result is what was found.
type Result struct {
	// Kills are all kills in the order of their time; those without a time come last.
	Kills []oom.Kill `json:"kills"`
	// Containers are those of the lists of pods in which there was a kill, as their status has them.
	Containers []Container `json:"containers,omitempty"`
	// Others tell of kills that were not the kernel's: systemd-oomd's.
	Others []oom.Notice `json:"others,omitempty"`
	// Sources are those that told anything, at most 1000.
	Sources []Source `json:"sources"`
	// Unread is what could not be read, and why.
	Unread []Unread `json:"unread,omitempty"`
	// Missing says in sentences what would tell more.
	Missing []string `json:"missing,omitempty"`
	Totals  Totals   `json:"totals"`
}

// Source is one log, or one list of pods.
type Source struct {
	Name string `json:"name"`
	// Kills, Invocations and Notices are what this one tells, also where others tell it too.
	Kills       int `json:"kills"`
	Invocations int `json:"invocations"`
	Notices     int `json:"notices"`
	// Pods are those of a list.
	Pods int `json:"pods,omitempty"`
	// Cut counts lines that were longer than any of the kernel's, of which the rest was not read.
	Cut int64 `json:"cut,omitempty"`
	// Moved is by how much the times of this source were moved, because its lines show another zone or year than was assumed.
	Moved time.Duration `json:"moved_ns,omitempty"`
	// First and Last are the times of the first and last line that have one.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
}

// Container is what a list of pods says of a container beside what was found in it.
type Container struct {
	Container oom.Container `json:"container"`
	// Restarts is what the status counts. State is running, waiting or terminated; Reason and ExitCode are of the last end, if there was one.
	Restarts int    `json:"restarts"`
	State    string `json:"state"`
	Reason   string `json:"reason,omitempty"`
	ExitCode int    `json:"exit_code"`
	// Kills is how many were found, and Hidden how many of them the status does not show.
	Kills  int `json:"kills"`
	Hidden int `json:"hidden"`
}

// Unread is a source, or the rest of one, that could not be read.
type Unread struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Totals counts what was read and found.
type Totals struct {
	Sources int   `json:"sources"`
	Bytes   int64 `json:"bytes"`
	Lines   int64 `json:"lines"`
	Pods    int   `json:"pods"`
	// Certain, Strong and Weak count kills by how sure they are.
	Certain int64 `json:"certain"`
	Strong  int64 `json:"strong"`
	Weak    int64 `json:"weak"`
	// Invocations counts those that stand for a kill each, because no line says who was killed.
	Invocations int `json:"invocations"`
	// Told is how many lines told of kills: the same kill can be in several sources.
	Told int `json:"told"`
	// LeftOut counts kills, and notices, beyond what a result holds.
	LeftOut int `json:"left_out,omitempty"`
}

// Analysis reads sources one after another. It is used by one goroutine.
type Analysis struct {
	options Options

	findings []*finding
	byPID    map[int][]*finding
	invoked  []*finding // invocations
	notices  []*heard
	heard    map[string][]*heard // by heard.key
	pods     pods
	tasks    int // rows kept

	source int // number of the one that is read
	boot   int // number of the boot that it is in
	booted map[int]time.Time
	result Result
}

// New returns an empty analysis.
func New(o Options) *Analysis {
	if o.Location == nil {
		o.Location = time.UTC
	}
	return &Analysis{options: o, byPID: map[int][]*finding{}, booted: map[int]time.Time{}, heard: map[string][]*heard{}, pods: newPods()}
}

// finding is what the sources tell of one kill.
type finding struct {
	oom.Report
	// source is the last one that told of it, boot the number of the boot in the log that told of it first.
	source, boot int
	// whose is the container, as far as the cgroup or, where the log has none, a notice tells. It is set when all sources were read.
	whose     oom.Container
	witnesses []oom.Witness
	weak      bool
	doubt     string
}

// heard is a notice and where it was.
type heard struct {
	oom.Notice
	source int
	node   string
	// late says that Time is when a container ended, and not when it hit its limit.
	late    bool
	started time.Time
	// lineTime says that Time is that of the line, in the zone of its source.
	lineTime bool
	// by is the kill that explains it.
	by *finding
}

func (f *finding) saw(w oom.Witness) bool {
	for _, have := range f.witnesses {
		if have == w {
			return true
		}
	}
	return false
}

func (f *finding) witness(w oom.Witness) {
	if !f.saw(w) {
		f.witnesses = append(f.witnesses, w)
	}
}
