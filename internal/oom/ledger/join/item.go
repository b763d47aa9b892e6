package join

import (
	"cmp"
	"slices"
	"time"

	"stella/internal/oom"
)

// How says how it is known in which cgroup a kill was.
type How string

// The ways, the surest first.
const (
	HowLog   How = "log"   // the kernel's line names it
	HowNoted How = "noted" // the kernel noted it at the moment
	HowSeen  How = "seen"  // the process was seen in it
	HowGroup How = "group" // the kernel killed all of it: it was there or below
	HowCount How = "count" // a counter rose, and it was this kill that fits
	HowNone  How = ""
)

// Entry is a kill and what must be remembered of it to know it again.
type Entry struct {
	// N is its number: kills are numbered as they come.
	N uint64 `json:"n"`
	// New says that this is its first version.
	New bool `json:"new,omitempty"`
	// More is by how much the version has more kills than the one before, which is less than 0 where a line took one out.
	More int64 `json:"more,omitempty"`
	// Seq is the record of the kernel log.
	Seq uint64 `json:"seq,omitempty"`
	// Extra is how many times more the kernel counted it.
	Extra int64 `json:"extra,omitempty"`
	How   How   `json:"how,omitempty"`
	// Unsure says that several cgroups would have fitted.
	Unsure bool `json:"unsure,omitempty"`
	// Below says that a counter told of it that counts what is below its cgroup.
	Below bool `json:"below,omitempty"`
	// Settled says that all witnesses had their time. Before that nobody counts it.
	Settled bool `json:"settled,omitempty"`
	// Was is where it was counted before, if it was settled then and has changed.
	Was *Was `json:"was,omitempty"`
	// Kill lacks tasks in all versions but the first.
	Kill oom.Kill `json:"kill"`
}

// Was is what a kill was counted as.
type Was struct {
	Count     int64         `json:"count"`
	Cgroup    string        `json:"cgroup,omitempty"`
	Scope     oom.Scope     `json:"scope"`
	Container oom.Container `json:"container,omitzero"`
	// Unattributed is as of [oom.Kill].
	Unattributed bool `json:"unattributed,omitempty"`
}

// Counts is what the entry is counted as now.
func (e *Entry) Counts() *Was {
	return &Was{Count: e.Kill.Count, Cgroup: e.Kill.Cgroup, Scope: e.Kill.Limit.Scope, Container: e.Kill.Container, Unattributed: e.Kill.Unattributed()}
}

// Loose reports whether the process is known and the cgroup is not.
func (e *Entry) Loose() bool { return e.Kill.Process.PID != 0 && e.Kill.Cgroup == "" }

// Counted reports whether only a counter tells of it.
func (e *Entry) Counted() bool { return e.Kill.Process.PID == 0 && e.Kill.Confidence != oom.Weak }

// Late reports whether what is told late can explain it.
func (e *Entry) Late() bool { return e.Loose() || e.Counted() }

// item is an entry at hand.
type item struct {
	Entry
	at    time.Time // when the kernel logged it, for comparing it with counters
	heard time.Time
	taken *Was  // as what Take gave it last, if it was settled then
	count int64 // of that version
	// ahead and nodeAhead are how many of its counts its cgroup and the node have not told of.
	ahead, nodeAhead int64
	dirty            bool
	// unsaid says that something is known since that need not be kept at once.
	unsaid bool
}

// keep puts an item among those at hand.
func (j *Joiner) keep(it *item) {
	it.count = it.Kill.Count
	if it.Settled {
		it.taken = it.Counts()
	}
	j.open = append(j.open, it)
	if pid := it.Kill.Process.PID; pid != 0 {
		j.byPID[pid] = it
	}
}

// add makes a new kill of an entry.
func (j *Joiner) add(it *item) {
	it.N, it.New = j.next, true
	j.next++
	it.Kill.ID, it.Kill.Boot = j.o.ID(it.N), j.o.Boot
	it.Kill.Count = max(it.Kill.Count, 1)
	j.keep(it)
	it.count = 0
	j.amend(it)
}

// amend notes that an item changed.
func (j *Joiner) amend(it *item) {
	if !it.dirty {
		it.dirty = true
		j.changed = append(j.changed, it)
	}
}

// witness adds who told of it, and reports whether that is news.
func (it *item) witness(w oom.Witness) bool {
	if it.saw(w) {
		return false
	}
	it.Kill.Witnesses = append(slices.Clip(it.Kill.Witnesses), w)
	slices.SortFunc(it.Kill.Witnesses, func(a, b oom.Witness) int { return cmp.Compare(rank(a), rank(b)) })
	return true
}

func (it *item) saw(w oom.Witness) bool { return slices.Contains(it.Kill.Witnesses, w) }

// rank is the order of the constants.
func rank(w oom.Witness) int {
	return slices.Index([]oom.Witness{
		oom.WitnessLog, oom.WitnessCounter, oom.WitnessNode, oom.WitnessTrace, oom.WitnessBPF,
		oom.WitnessRuntime, oom.WitnessKubelet, oom.WitnessStatus, oom.WitnessSystemd,
	}, w)
}

// move says in which cgroup a kill was.
func (j *Joiner) move(it *item, cgroup string, how How) {
	it.Kill.Cgroup, it.How = cgroup, how
	it.Kill.Container = j.owner(cgroup)
	j.amend(it)
}

func (j *Joiner) owner(cgroup string) oom.Container {
	c := oom.Container{}
	if cgroup != "" {
		c = j.o.Owner(cgroup)
	}
	if c.Node == "" {
		c.Node = j.o.Node
	}
	return c
}

// Decided reports whether kills changed, so that Take has to be called and what it returns be kept.
func (j *Joiner) Decided() bool { return len(j.changed) > 0 }

// Brief is the state without cgroups.
func (j *Joiner) Brief() State { return j.state(func(*domain) bool { return false }) }

// Batch is what changed at once: it has to be kept whole or not at all.
type Batch struct {
	State
	Entries []Entry
}

// Empty reports whether there is nothing to keep.
func (b *Batch) Empty() bool { return b.Boot == "" }

// Take returns what changed since the last time. Of the cgroups the state has those that changed.
func (j *Joiner) Take() Batch {
	if !j.dirty && len(j.changed) == 0 {
		return Batch{}
	}
	b := Batch{State: j.state(func(d *domain) bool { return d.dirty })}
	for _, d := range j.domains {
		d.dirty = false
	}
	slices.SortFunc(j.changed, func(a, b *item) int { return cmp.Compare(a.N, b.N) })
	for _, it := range j.changed {
		it.Was, it.More = it.taken, it.Kill.Count-it.count
		b.Entries = append(b.Entries, it.Entry)
		it.count = it.Kill.Count
		it.Kill.Tasks, it.New, it.dirty, it.unsaid = nil, false, false, false
		if it.taken = nil; it.Settled {
			it.taken = it.Counts()
		}
	}
	j.changed, j.dirty = j.changed[:0], false
	return b
}
