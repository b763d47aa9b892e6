package ledger

import (
	"slices"
	"sync"

	"stella/internal/oom"
	"stella/internal/oom/ledger/join"
)

// maxRemembered bounds the kills that an owner who becomes known late is written to, at some 100 bytes each.
const maxRemembered = 4096

// owned are the owners that became known, and the kills that may be theirs.
type owned struct {
	mu    sync.Mutex
	wait  map[string]oom.Container // by cgroup
	kills []kill                   // the newest, guarded by the ledger's lock
}

// kill is where a kill was.
type kill struct {
	n      uint64
	cgroup string
}

// remember notes where a kill was.
func (o *owned) remember(e *join.Entry) {
	if e.Kill.Cgroup == "" {
		return
	}
	for i := len(o.kills) - 1; i >= 0 && o.kills[i].n >= e.N; i-- {
		if o.kills[i].n == e.N {
			o.kills[i].cgroup = e.Kill.Cgroup
			return
		}
	}
	if len(o.kills) == maxRemembered {
		o.kills = slices.Delete(o.kills, 0, maxRemembered/4)
	}
	o.kills = append(o.kills, kill{e.N, e.Kill.Cgroup})
}

// Owned takes in that more is known of whose a cgroup is. It only makes a note, and may be called by whom the
// ledger asks.
func (l *Ledger) Owned(cgroup string, c oom.Container) {
	o := &l.owned
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.wait == nil {
		o.wait = make(map[string]oom.Container)
	}
	if _, known := o.wait[cgroup]; known || len(o.wait) < maxOwned {
		o.wait[cgroup] = c
	}
}

// settleOwned adds owners that became known to the kills that were in their cgroups.
func (l *Ledger) settleOwned() {
	l.owned.mu.Lock()
	owners := l.owned.wait
	l.owned.wait = nil
	l.owned.mu.Unlock()
	if len(owners) == 0 {
		return
	}
	l.mu.Lock()
	wanted := make(map[uint64]string)
	for _, k := range l.owned.kills {
		if _, ok := owners[k.cgroup]; ok && !l.join.Has(k.n) {
			wanted[k.n] = k.cgroup
		}
	}
	for cgroup, c := range owners {
		l.join.Owned(cgroup, c)
		l.totals.owned(cgroup, c)
	}
	l.mu.Unlock()
	l.amend(wanted, owners)
}

// amend writes new versions of kills that the joiner does not have at hand.
func (l *Ledger) amend(wanted map[uint64]string, owners map[string]oom.Container) {
	if len(wanted) == 0 {
		return
	}
	var batch []join.Entry
	write := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.write(join.Batch{State: l.join.Brief(), Entries: batch})
		batch = nil
	}
	l.newest(func(e *join.Entry) bool {
		cgroup, ok := wanted[e.N]
		if !ok {
			return true
		}
		delete(wanted, e.N)
		c := owners[cgroup]
		if c.Node == "" {
			c.Node = l.o.Node
		}
		if e.Kill.Cgroup == cgroup && !join.Same(&e.Kill.Container, &c) {
			v := *e
			v.Was, v.New, v.More, v.Kill.Tasks = nil, false, 0, nil
			if v.Settled {
				v.Was = e.Counts()
			}
			v.Kill.Container = c
			batch = append(batch, v)
		}
		if len(batch) == maxAmend {
			write()
		}
		return len(wanted) > 0
	})
	if len(batch) > 0 {
		write()
	}
}

// maxAmend bounds the kills of one record, which has a bound itself.
const maxAmend = 64
