package ledger

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"stella/internal/oom"
	"stella/internal/oom/ledger/join"
)

const (
	// maxTotals bounds the cgroups of which kills are counted, at some 600 bytes each: twice those with kills on a
	// large node. The kills of those beyond, which had none for the longest time, are counted together.
	maxTotals = 1024
	// Gone is the name under which they are.
	Gone = "(gone)"
)

// totals count all kills that were ever settled. What is shown of them never falls, also where a kill turns
// out to have been elsewhere: so a count can be some too high, and none is too low.
type totals struct {
	Cgroups      []*cgroupTotal           `json:"cgroups,omitempty"`
	Scopes       map[oom.Scope]*highWater `json:"scopes,omitempty"`
	Unattributed highWater                `json:"unattributed"`
	Gone         int64                    `json:"gone,omitempty"`
	byKey        map[string]*cgroupTotal
}

// highWater is a count that can fall and the most that it ever was.
type highWater struct {
	Now  int64 `json:"now"`
	Most int64 `json:"most"`
}

func (h *highWater) add(n int64) {
	h.Now += n
	h.Most = max(h.Most, h.Now)
}

// cgroupTotal counts the kills in one cgroup, or in a container whose cgroup is not known.
type cgroupTotal struct {
	highWater
	Cgroup    string        `json:"cgroup,omitempty"`
	Container oom.Container `json:"container,omitzero"`
	Last      time.Time     `json:"last"`
}

func (c *cgroupTotal) key() string {
	if c.Cgroup != "" {
		return c.Cgroup
	}
	k := &c.Container
	if k.ID != "" || k.Pod == "" {
		return k.ID
	}
	return k.Namespace + "/" + k.Pod + "/" + k.Name
}

// index is to be called after totals were read.
func (t *totals) index() {
	if t.Scopes == nil {
		t.Scopes = make(map[oom.Scope]*highWater)
	}
	t.byKey = make(map[string]*cgroupTotal, len(t.Cgroups))
	for _, c := range t.Cgroups {
		t.byKey[c.key()] = c
	}
}

// apply counts a version in the place of the one before.
func (t *totals) apply(e *join.Entry) {
	if w := e.Was; w != nil {
		t.add(w, time.Time{}, -w.Count)
	}
	if e.Settled {
		t.add(e.Counts(), e.Kill.Time, e.Kill.Count)
	}
}

func (t *totals) add(w *join.Was, last time.Time, n int64) {
	if t.Scopes[w.Scope] == nil {
		t.Scopes[w.Scope] = new(highWater)
	}
	t.Scopes[w.Scope].add(n)
	if w.Unattributed {
		t.Unattributed.add(n)
	}
	c := &cgroupTotal{Cgroup: w.Cgroup, Container: w.Container}
	if known := t.byKey[c.key()]; known != nil {
		c = known
	} else if n > 0 {
		if len(t.Cgroups) >= maxTotals {
			t.forget()
		}
		t.byKey[c.key()] = c
		t.Cgroups = append(t.Cgroups, c)
	}
	c.add(n)
	if n > 0 {
		c.Container = w.Container
	}
	if last.After(c.Last) {
		c.Last = last
	}
}

// forget counts the kills of the cgroup without any for the longest time under Gone.
func (t *totals) forget() {
	oldest := 0
	for i, c := range t.Cgroups {
		if c.Last.Before(t.Cgroups[oldest].Last) {
			oldest = i
		}
	}
	c := t.Cgroups[oldest]
	t.Gone += c.Most
	delete(t.byKey, c.key())
	t.Cgroups = slices.Delete(t.Cgroups, oldest, oldest+1)
}

// fit forgets cgroups until the rest takes no more than some bytes.
func (t *totals) fit(most int) {
	size := 0
	for _, c := range t.Cgroups {
		size += c.size()
	}
	for size > most && len(t.Cgroups) > 0 {
		before := len(t.Cgroups)
		size -= size / before
		t.forget()
	}
}

// size is about what it takes as JSON.
func (c *cgroupTotal) size() int {
	k := &c.Container
	return 300 + len(c.Cgroup) + len(k.ID) + len(k.Pod) + len(k.PodUID) + len(k.Namespace) + len(k.Name) + len(k.Image) + len(k.Workload) + len(k.Unit)
}

// owned says whose a cgroup is.
func (t *totals) owned(cgroup string, c oom.Container) {
	if known := t.byKey[cgroup]; known != nil {
		known.Container = c
	}
}

// Totals calls fn with how many kills there were in each cgroup, or container whose cgroup is not known; the
// kills of which neither is known come with an empty one, and those of cgroups that had none for long
// together as a container named [Gone]. No count falls while this ledger is kept.
func (l *Ledger) Totals(fn func(c oom.Container, cgroup string, kills int64)) {
	l.mu.Lock()
	all := make([]cgroupTotal, 0, len(l.totals.Cgroups))
	for _, c := range l.totals.Cgroups {
		all = append(all, *c)
	}
	gone := l.totals.Gone
	l.mu.Unlock()
	slices.SortFunc(all, func(a, b cgroupTotal) int { return cmp.Compare(a.key(), b.key()) })
	for i := range all {
		fn(all[i].Container, all[i].Cgroup, all[i].Most)
	}
	if gone > 0 {
		fn(oom.Container{Name: Gone}, "", gone)
	}
}

// Scopes is how many kills there were by whose limit fired. No count falls while this ledger is kept.
func (l *Ledger) Scopes() map[oom.Scope]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[oom.Scope]int64, len(l.totals.Scopes))
	for scope, n := range maps.All(l.totals.Scopes) {
		all[scope] = n.Most
	}
	return all
}

// Status says what the ledger holds and has dropped.
func (l *Ledger) Status() oom.LedgerStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := oom.LedgerStatus{
		Kills: l.held(), Bytes: l.store.journal.Bytes(), Dropped: l.gone(),
		Unattributed: l.totals.Unattributed.Most, LostRecords: l.join.LostRecords(), Oldest: l.oldest(),
	}
	if l.store.fault != nil {
		s.Fault = l.store.fault.Error()
	}
	return s
}
