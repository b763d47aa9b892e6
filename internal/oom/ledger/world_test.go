package ledger

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"time"

	"stella/internal/oom"
)

// world is a machine of which everything is known: its cgroups, its kernel log and its counters, as
// the kernel keeps them. It is the oracle of the simulation.
type world struct {
	*rand.Rand
	version int // of cgroups
	now     time.Time
	boot    int
	cgroups []*group
	nextID  uint64
	nextPID int
	node    int64
	log     []logged
	seq     uint64
	headers []time.Time // of the last five seconds
	lossy   float64     // how many records are overwritten before they are read
	kills   []*truth
	notes   map[int]oom.Victim // what the kernel noted, by pid
	fresh   bool               // no pid is used again
}

// group is a cgroup.
type group struct {
	path     string
	id       uint64
	parent   *group
	removed  bool
	own, all int64 // as the kernel counts: all is own on v1
	limit    int64
	born     time.Time
}

// truth is a kill that happened.
type truth struct {
	boot   int
	pid    int
	comm   string
	cgroup string
	limit  string // "" is the node
	at     time.Time
	lost   bool // its lines will never be read
	double bool // the kernel counted it twice
}

// logged is a record of the kernel log that tells of a kill, or is lost.
type logged struct {
	seq    uint64
	lost   bool
	report oom.Report
	group  int    // the group kill it is a part of
	path   string // and of which cgroup
	tasks  bool   // it is the line "Tasks in … are going to be killed"
	again  bool   // it names the victim of a group again
}

func newWorld(seed uint64, version int) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 1)), version: version, now: time.Date(2026, 11, 21, 3, 33, 0, 0, time.UTC), nextPID: 1000, boot: 1, notes: make(map[int]oom.Victim)}
	for range 1 + w.IntN(4) {
		w.pod()
	}
	return w
}

// pod makes a pod with some containers.
func (w *world) pod() {
	kubepods := w.make(nil, "/kubepods")
	pod := w.make(kubepods, fmt.Sprintf("/kubepods/pod%d", w.nextID))
	for i := range 1 + w.IntN(4) {
		w.make(pod, fmt.Sprintf("%s/c%d", pod.path, i))
	}
}

func (w *world) make(parent *group, path string) *group {
	for _, g := range w.cgroups {
		if g.path == path && !g.removed {
			return g
		}
	}
	w.nextID++
	g := &group{path: path, id: w.nextID, parent: parent, limit: int64(1+w.IntN(64)) << 20, born: w.now}
	w.cgroups = append(w.cgroups, g)
	return g
}

// leaves are the cgroups with processes.
func (w *world) leaves() (all []*group) {
	for _, g := range w.cgroups {
		if !g.removed && strings.Count(g.path, "/") == 3 {
			all = append(all, g)
		}
	}
	return all
}

// remove removes a container's cgroup; sometimes another one gets its path.
func (w *world) remove(g *group) {
	g.removed = true
	if w.IntN(2) == 0 {
		w.make(g.parent, g.path)
	}
}

// count does what the kernel does before it logs a kill.
func (w *world) count(g *group) {
	w.node++
	g.own++
	g.all++
	for p := g.parent; p != nil && w.version == 2; p = p.parent {
		p.all++
	}
}

// uptime is CLOCK_MONOTONIC.
func (w *world) uptime() time.Duration {
	return w.now.Sub(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC))
}

// note does what a program in the kernel does when a process is killed.
func (w *world) note(g *group, p oom.Process, limit string) {
	v := oom.Victim{Monotonic: w.uptime(), Time: w.now, Process: oom.Process{PID: p.PID, Comm: p.Comm, UID: -1}, Cgroup: g.path, CgroupID: g.id, Limit: oom.Limit{Scope: oom.ScopeNode}}
	for of := g; of != nil; of = of.parent {
		if of.path == limit {
			v.Limit = oom.Limit{Scope: oom.ScopeCgroup, Cgroup: limit, Bytes: of.limit}
		}
	}
	w.notes[p.PID] = v
}

// header reports whether the kernel logs a header: ten in five seconds.
func (w *world) header() bool {
	w.headers = slices.DeleteFunc(w.headers, func(t time.Time) bool { return w.now.Sub(t) >= 5*time.Second })
	if len(w.headers) >= 10 {
		return false
	}
	w.headers = append(w.headers, w.now)
	return true
}

func (w *world) pid() int {
	w.nextPID++
	if w.IntN(50) == 0 && len(w.kills) > 0 && !w.fresh {
		// Pids are used again, but not within three seconds.
		old := w.kills[w.IntN(len(w.kills))]
		recent := func(k *truth) bool { return k.pid == old.pid && w.now.Sub(k.at) <= 3*time.Second }
		if !slices.ContainsFunc(w.kills, recent) {
			return old.pid
		}
	}
	return w.nextPID
}

// append logs a record some microseconds later.
func (w *world) append(l logged) *logged {
	w.now = w.now.Add(time.Duration(1+w.IntN(300)) * time.Microsecond)
	w.seq++
	l.seq = w.seq
	l.report.Seq, l.report.Time, l.report.Monotonic = w.seq, w.now, w.uptime()
	w.log = append(w.log, l)
	return &w.log[len(w.log)-1]
}

// kill kills a process somewhere, for a limit there, above, or the node's.
func (w *world) kill() {
	leaves := w.leaves()
	if len(leaves) == 0 {
		w.pod()
		return
	}
	g := leaves[w.IntN(len(leaves))]
	if w.version == 2 && w.IntN(6) == 0 {
		w.killGroup(g)
		return
	}
	r, limit := w.report(g)
	w.count(g)
	w.note(g, r.Process, limit)
	l := w.append(logged{report: r, lost: w.Float64() < w.lossy})
	w.kills = append(w.kills, &truth{boot: w.boot, pid: r.Process.PID, comm: r.Process.Comm, cgroup: g.path, limit: limit, at: w.now, lost: l.lost})
}

// report is the line about a process of a cgroup, with a header if there is one.
func (w *world) report(g *group) (oom.Report, string) {
	limit, bytes := g.path, g.limit
	switch w.IntN(5) {
	case 0:
		limit, bytes = g.parent.path, g.parent.limit
	case 1:
		limit, bytes = "", 0
	}
	pid := w.pid()
	r := oom.Report{Process: oom.Process{PID: pid, Comm: fmt.Sprintf("hog%d", pid%7), UID: 0, Anon: g.limit}, Limit: oom.Limit{Scope: oom.ScopeUnknown}}
	if limit == "" {
		r.Limit.Scope = oom.ScopeNode
	}
	if w.header() {
		r.Header, r.Cgroup, r.Invoker = true, g.path, r.Process.Comm
		if limit != "" {
			r.Limit = oom.Limit{Scope: oom.ScopeCgroup, Cgroup: limit, Bytes: bytes}
		}
		r.Tasks = []oom.Process{r.Process}
	}
	return r, limit
}

// killGroup kills all of a cgroup with memory.oom.group: the victim is most often logged and counted twice. The log
// loses none of it.
func (w *world) killGroup(g *group) {
	victim, limit := w.report(g)
	chosen := victim.Process.PID
	w.count(g)
	w.note(g, victim.Process, limit)
	w.append(logged{report: victim})
	first := &truth{boot: w.boot, pid: chosen, comm: victim.Process.Comm, cgroup: g.path, limit: limit, at: w.now, double: w.lossy > 0 || w.IntN(5) > 0}
	w.kills = append(w.kills, first)
	group := logged{group: chosen, path: g.path, tasks: true}
	group.report = victim
	w.append(group)
	said := oom.ScopeUnknown
	if limit == "" {
		said = oom.ScopeNode // "Out of memory", not "Memory cgroup out of memory"
	}
	member := func(p oom.Process, again bool) {
		w.count(g)
		w.note(g, p, limit)
		w.append(logged{report: oom.Report{Process: p, Limit: oom.Limit{Scope: said}}, group: chosen, path: g.path, again: again})
	}
	for range w.IntN(4) {
		w.nextPID++
		member(oom.Process{PID: w.nextPID, Comm: "member"}, false)
		w.kills = append(w.kills, &truth{boot: w.boot, pid: w.nextPID, comm: "member", cgroup: g.path, limit: limit, at: w.now})
	}
	if first.double {
		member(victim.Process, true)
	}
}

// reboot starts the machine anew.
func (w *world) reboot() {
	w.boot++
	w.cgroups, w.node, w.log, w.seq, w.headers = nil, 0, nil, 0, nil
	clear(w.notes)
	w.now = w.now.Add(time.Minute)
	w.pod()
}

// agent is the part of the agent before the ledger: it reads the log and the counters as kmsg and counters do.
type agent struct {
	w        *world
	l        *Ledger
	read     uint64 // of the log
	group    *oom.Report
	groupNo  int
	seen     map[int]oom.Process
	where    map[int]string
	noted    map[int]time.Time
	looked   map[uint64]*look
	node     int64
	begun    bool
	late     time.Duration // by how much what counters tell can be late
	queue    []queued
	lastPoll time.Time
	found    time.Time // when it looked for new cgroups last
	rounds   int
}

// look is what an agent knows of the counter of a cgroup.
type look struct {
	all, own       int64
	loose, suspect int64
	at             time.Time
	born           time.Time // a time before which it was not there; zero is not known
}

// queued is a Rise that is told later.
type queued struct {
	at   time.Time
	rise oom.Rise
}

func newAgent(w *world, l *Ledger, late time.Duration) *agent {
	a := &agent{w: w, l: l, late: late, read: l.After(), seen: map[int]oom.Process{}, where: map[int]string{}, noted: map[int]time.Time{}, looked: map[uint64]*look{}}
	a.find(true)
	return a
}

// lookup is what the agent knows of where processes are: some of them, and some of others that had the pid before.
func (a *agent) lookup(pid int) (string, oom.Process, bool) {
	p, ok := a.seen[pid]
	return a.where[pid], p, ok
}

// find takes up the cgroups that are new.
func (a *agent) find(existed bool) {
	defer func() { a.found = a.w.now }()
	for _, g := range a.w.cgroups {
		if g.removed || a.looked[g.id] != nil {
			continue
		}
		base, ok := a.l.Baseline(g.path, g.id)
		if !ok && existed {
			base = g.all
		}
		k := &look{all: base, own: min(base, g.own), at: a.w.now}
		if !existed {
			k.born = a.found
		}
		a.looked[g.id] = k
		a.take(g, k, true)
	}
}

// take tells what a cgroup counted since the last look.
func (a *agent) take(g *group, k *look, total bool) {
	all, own := g.all, g.own
	if a.w.version == 1 {
		all = own
	}
	rise, ownRise := all-k.all, own-k.own
	k.all, k.own = all, own
	k.loose += rise - ownRise
	if g.parent != nil && a.w.version == 2 {
		if p := a.looked[g.parent.id]; p != nil {
			p.loose -= rise
		}
	}
	since := k.at
	k.at = a.w.now
	if rise == 0 && ownRise == 0 && !total {
		return
	}
	r := oom.Rise{Cgroup: g.path, CgroupID: g.id, Kills: ownRise, Local: ownRise, Total: all, Since: since, Time: a.w.now, Born: k.born}
	if ownRise == 1 && a.w.IntN(4) > 0 {
		a.blame(&r)
	}
	if a.w.IntN(3) == 0 {
		for pid, path := range a.where {
			if path == g.path && len(r.Processes) < 3 && a.w.now.Sub(a.noted[pid]) < 2*time.Second {
				r.Processes = append(r.Processes, a.seen[pid])
			}
		}
		slices.SortFunc(r.Processes, func(a, b oom.Process) int { return cmp.Compare(a.PID, b.PID) })
	}
	a.tell(r)
}

// blame says whose limit fired, as counters does for one kill.
func (a *agent) blame(r *oom.Rise) {
	for i := len(a.w.kills) - 1; i >= 0; i-- {
		if k := a.w.kills[i]; k.cgroup == r.Cgroup {
			r.LimitCgroup, r.LimitHit = k.limit, k.limit == k.cgroup
			return
		}
	}
}

func (a *agent) tell(r oom.Rise) {
	at := a.w.now
	if a.late > 0 {
		at = at.Add(time.Duration(a.w.Int64N(int64(a.late))))
	}
	for i := range a.queue { // what one counter tells comes in order
		if q := &a.queue[i]; q.rise.Cgroup == r.Cgroup && q.at.After(at) {
			at = q.at
		}
	}
	a.queue = append(a.queue, queued{at, r})
}

// deliver tells the ledger what is due.
func (a *agent) deliver(all bool) {
	slices.SortStableFunc(a.queue, func(x, y queued) int { return x.at.Compare(y.at) })
	for len(a.queue) > 0 && (all || !a.queue[0].at.After(a.w.now)) {
		a.l.Rise(a.queue[0].rise)
		a.queue = a.queue[1:]
	}
}

// noteProcess is called when a process is about to be killed.
func (a *agent) noteProcess(k *truth) {
	a.noted[k.pid] = a.w.now
	switch a.w.IntN(4) {
	case 0:
		a.seen[k.pid], a.where[k.pid] = oom.Process{PID: k.pid, Comm: k.comm}, k.cgroup
	case 1:
		a.seen[k.pid], a.where[k.pid] = oom.Process{PID: k.pid, Comm: "earlier"}, "/elsewhere"
	default:
		delete(a.seen, k.pid)
		delete(a.where, k.pid)
	}
}

// poll looks at the node and all cgroups.
func (a *agent) poll() {
	w := a.w
	if node := w.node; node != a.node || !a.begun {
		last := a.node
		if !a.begun {
			var ok bool
			if last, ok = a.l.NodeBaseline(); !ok {
				last = node
			}
			a.lastPoll = w.now
		}
		a.tell(oom.Rise{Kills: node - last, Local: -1, Total: node, Since: a.lastPoll, Time: w.now})
		a.node, a.begun = node, true
	}
	a.lastPoll = w.now
	a.find(false)
	alive := slices.Clone(w.cgroups)
	slices.SortStableFunc(alive, func(x, y *group) int {
		return cmp.Compare(strings.Count(x.path, "/"), strings.Count(y.path, "/"))
	})
	for _, g := range alive {
		k := a.looked[g.id]
		switch {
		case k == nil:
		case g.removed:
			delete(a.looked, g.id)
			a.tell(oom.Rise{Cgroup: g.path, CgroupID: g.id, Total: k.all, Since: k.at, Time: w.now, Gone: true, Born: k.born})
		default:
			a.take(g, k, false)
		}
	}
	if w.version == 2 {
		for _, g := range alive {
			if k := a.looked[g.id]; k != nil {
				if n := max(min(k.loose, k.suspect), 0); n > 0 {
					k.loose -= n
					a.tell(oom.Rise{Cgroup: g.path, CgroupID: g.id, Kills: n, Total: k.all, Since: k.at.Add(-time.Second), Time: w.now, Gone: true, Born: k.born})
				}
				k.suspect = max(k.loose, 0)
			}
		}
	}
}

// readLog reads up to n records.
func (a *agent) readLog(n int) {
	for i := range a.w.log {
		l := &a.w.log[i]
		if l.seq <= a.read {
			continue
		}
		if n--; n < 0 {
			return
		}
		a.read = l.seq
		if l.lost {
			a.l.Lost(oom.Lost{Records: 1, Time: a.w.now})
			continue
		}
		a.report(l)
	}
	a.l.Position(a.read)
}

// report assembles a report as kmsg does. What came before a restart it does not know.
func (a *agent) report(l *logged) {
	r := l.report
	switch {
	case l.group == 0 || a.groupNo != l.group && !l.tasks:
		a.groupNo = 0
		a.group = &r
	case l.tasks && (a.group == nil || a.group.Process.PID != l.group):
		return
	case l.tasks:
		a.groupNo = l.group
		r = *a.group
		r.Group = l.group
		r.Cgroup = cmp.Or(r.Cgroup, l.path)
	default:
		chosen := a.group
		r.Group, r.Cgroup, r.Limit, r.Invoker, r.Header = l.group, l.path, chosen.Limit, chosen.Invoker, chosen.Header
		if l.again {
			r.Repeated = 1
			r.Cgroup = cmp.Or(chosen.Cgroup, l.path)
		}
	}
	a.l.Report(r)
}

// scope is what owner would say.
func scope(victim, limit string) oom.Scope {
	switch limit {
	case victim:
		return oom.ScopeContainer
	case path.Dir(victim):
		return oom.ScopePod
	}
	return oom.ScopeParent
}
