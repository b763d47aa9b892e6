// Package join makes one kill of all that is told of it. It is pure: it reads no clock
// and no file, and what it hears and what it decided can be kept and given to another one.
//
// Words: an [Entry] is a kill and what must be remembered of it to know it again. A claim is what a
// counter told and no kill explains yet. A kill that is in the ledger while its counter is still
// awaited is ahead of it. Loose is a kill of which the log named the process and nobody the cgroup;
// counted is one that only a counter told of. To place a kill is to find its cgroup.
//
// The rules, all of which follow from how the kernel kills (mm/oom_kill.c): it counts each
// kill for the node, counts it for the victim's cgroup, then logs the line "Killed process". A group kill can do all
// three twice for its victim. So
//
//   - the line says who, and makes an entry at once;
//   - the cgroup's counter says where, for lines without a cgroup, and tells of lines that were lost;
//   - the node's counter says how many. Where it is known, nothing is counted that it did not count.
//
// What is told late corrects what was decided without it: a line takes the place of a kill
// that was counted in its stead, a counter moves a kill that was placed otherwise. So what
// is in the ledger in the end does not depend on the order in which the witnesses come.
//
// Hazards:
//
//   - Times of different witnesses are compared, so a clock that jumps makes the choice among
//     several cgroups worse. It does not change how many kills there are, nor how many in each cgroup.
//   - A group kill of which the log lost a line cannot always be told from one kill more or less: if its victim was
//     seen once and a kill is missing, that is taken for its second count.
package join

import (
	"time"

	"stella/internal/oom"
)

const (
	// settleTime is how long counters, lines and notices may come after each other before a
	// decision is made without what is missing: counters are read each half second, twice.
	settleTime = 2 * time.Second
	// nodeTime is the same for what the node counted and no cgroup did: they are asked first.
	nodeTime = 3 * time.Second
	// patience is after what time counters that contradict each other are no longer taken for late.
	patience = 6 * time.Second
	// forgetTime is how long a claim waits that the node's counter contradicts.
	forgetTime = time.Minute
	// keepTime is how long a settled kill is kept at hand for what is told of it later.
	keepTime = 30 * time.Second
	// countedTime is the same for counted and loose kills, which a late line or counter may explain.
	countedTime = 10 * time.Minute
	// startTime is after what time the first look at all cgroups is done.
	startTime = 10 * time.Second

	// maxOpen bounds the kills at hand, at some 1.5 KiB each: forty seconds of a storm of a hundred a second.
	maxOpen = 4096
	// maxLate bounds the counted and loose kills that are kept longer.
	maxLate = 256
	// maxDomains bounds the cgroups with kills whose counters are remembered, at some 300 bytes each.
	maxDomains = 1024
	// maxPaths bounds the bytes of their paths, of which a hostile one has 4096.
	maxPaths = 256 << 10
)

// Options say what the joiner asks. None of the functions may call it. Those that are nil tell nothing.
type Options struct {
	// Boot and Node are of every kill.
	Boot, Node string
	// ID makes the name of the nth kill.
	ID func(n uint64) string
	// Owner says whose cgroup it is.
	Owner func(cgroup string) oom.Container
	// Scope says what the limit of one cgroup is to a victim in another.
	Scope func(victim, limit string) oom.Scope
	// Main is the first process of a cgroup's container, and whether it lives.
	Main func(cgroup string) (pid int, alive, ok bool)
	// Victims are those that the kernel noted and no kill has; nil where it notes none.
	Victims func() []oom.Victim
	// Told reports whether a kill in that container at about that time is known from before.
	Told func(c oom.Container, at time.Time) bool
}

// State is what a joiner has to remember over a restart beside the kills.
type State struct {
	Boot string `json:"boot"`
	// Position is the record of the kernel log up to which all is in the ledger.
	Position uint64 `json:"position,omitempty"`
	// Next is the number of the next kill.
	Next uint64   `json:"next"`
	Node Domain   `json:"node"`
	Cgs  []Domain `json:"cgroups,omitempty"`
	// Complete says that every cgroup of this boot that is not in Cgs had no kill when it was looked at last.
	Complete bool `json:"complete,omitempty"`
	// Incomplete says that Complete can never be said again in this boot: cgroups were left out.
	Incomplete bool   `json:"incomplete,omitempty"`
	Lost       uint64 `json:"lost,omitempty"`
}

// Joiner joins. It is used by one goroutine at a time.
type Joiner struct {
	o        Options
	position uint64
	next     uint64
	lost     uint64
	lostAt   time.Time // when records of the log were lost last

	node       domain
	domains    map[string]*domain
	paths      int  // bytes of their paths
	complete   bool // at the start of this run
	watched    bool // State.Complete from now on
	incomplete bool
	started    time.Time
	began      time.Time // when the counters were heard first in this run
	cleaned    bool

	open  []*item // by number
	byPID map[int]*item

	notices []heard
	kernel  bool // something in the kernel was heard in this run

	notes     []oom.Victim // see noteBook
	notesRead bool

	changed []*item
	dirty   bool // position or counters changed
}

// New goes on from a state and the entries that were not settled. Those of another boot are void: what was not
// told of before the machine went down nobody tells now.
func New(now time.Time, o Options, s State, entries []Entry) *Joiner {
	none(&o)
	j := &Joiner{o: o, domains: make(map[string]*domain), byPID: make(map[int]*item), next: max(s.Next, 1), lost: s.Lost, started: now}
	if s.Boot != o.Boot {
		j.dirty = true
		return j
	}
	j.position, j.incomplete = s.Position, s.Incomplete
	j.complete, j.watched = s.Complete, s.Complete
	j.node.restore(now, s.Node)
	for _, d := range s.Cgs {
		j.domain(now, d.Path).restore(now, d)
	}
	for _, e := range entries {
		it := &item{Entry: e, at: e.Kill.Time, heard: now}
		if !it.saw(oom.WitnessCounter) {
			it.ahead = it.units()
		}
		if !it.saw(oom.WitnessNode) {
			it.nodeAhead = it.units()
		}
		j.keep(it)
	}
	return j
}

// none puts functions that know nothing in the place of those that are missing.
func none(o *Options) {
	if o.Owner == nil {
		o.Owner = func(string) oom.Container { return oom.Container{} }
	}
	if o.Scope == nil {
		o.Scope = func(string, string) oom.Scope { return oom.ScopeCgroup }
	}
	if o.Main == nil {
		o.Main = func(string) (int, bool, bool) { return 0, false, false }
	}
	if o.Victims == nil {
		o.Victims = func() []oom.Victim { return nil }
	}
	if o.Told == nil {
		o.Told = func(oom.Container, time.Time) bool { return false }
	}
}
