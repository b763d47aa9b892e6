package join

import (
	"time"

	"stella/internal/oom"
)

const (
	// groupTime is how long the kernel can take to kill a group of processes: it logs each, on a slow serial
	// console at 100 a second.
	groupTime = time.Minute
	// samePID is within what time a pid cannot have been used again.
	samePID = 100 * time.Millisecond
	// seenTime is within what time of its death a process is looked for; later another one may have its pid.
	seenTime = time.Second
	// commLen is the longest name of a process (TASK_COMM_LEN without its end).
	commLen = 15
)

// Seen is where a process was seen while it lived. An empty cgroup is not seen.
type Seen struct {
	Cgroup  string
	Process oom.Process
	// Noted says that the kernel wrote it down at the moment of the kill, with the limit that fired.
	Noted bool
	Limit oom.Limit
}

// Report takes in a line of the kernel log, in the order of the log. Where the line names no cgroup, seen is where its process was.
func (j *Joiner) Report(now time.Time, r oom.Report, seen Seen) {
	j.kernel = true
	if r.Seq != 0 && r.Seq <= j.position {
		// Read before; but only now it may be known that it was the kill of a group.
		if it := j.byPID[r.Process.PID]; r.Group != 0 && it != nil && it.Seq == r.Seq {
			j.grouped(now, it, &r)
		}
		return
	}
	if r.Seq != 0 {
		j.position, j.dirty = r.Seq, true
	}
	at := r.Time
	if at.IsZero() || at.After(now) {
		at = now
	}
	if it := j.repeated(&r, at); it != nil {
		more := int64(max(r.Repeated, 1))
		it.Extra += more
		j.book(now, it, more)
		j.grouped(now, it, &r)
		return
	}
	it := &item{at: at, heard: now, Entry: Entry{Seq: r.Seq, Extra: int64(r.Repeated)}}
	j.describe(it, &r)
	j.locate(it, &r, seen)
	if j.absorb(now, it) {
		return
	}
	j.add(it)
	j.book(now, it, it.units())
	if it.How == HowLog && it.Kill.Limit.Cgroup != "" {
		j.domain(now, it.Kill.Cgroup).learn(it.Kill.Limit.Cgroup, it.Kill.Limit.Bytes)
	}
	j.grade(it)
}

// repeated is the kill that a line tells of once more: that of a group's victim, or one with the same
// pid in no time, whatever the line lost of its group.
func (j *Joiner) repeated(r *oom.Report, at time.Time) *item {
	it := j.byPID[r.Process.PID]
	if it == nil || !it.saw(oom.WitnessLog) {
		return nil
	}
	apart := at.Sub(it.at).Abs()
	if apart < samePID || r.Repeated > 0 && apart < groupTime {
		return it
	}
	return nil
}

// grouped adds to a kill that it was of a group.
func (j *Joiner) grouped(now time.Time, it *item, r *oom.Report) {
	if r.Group != 0 && it.Kill.Group == 0 {
		it.Kill.Group = r.Group
	}
	if it.Kill.Cgroup == "" && r.Cgroup != "" {
		j.move(it, r.Cgroup, HowGroup)
		j.place(now, it, it.units())
	}
	j.grade(it)
	j.amend(it)
}

// describe fills in what the line and its header tell.
func (j *Joiner) describe(it *item, r *oom.Report) {
	k := &it.Kill
	k.Time, k.Process, k.Group, k.Invoker = r.Time, r.Process, r.Group, r.Invoker
	if k.Time.IsZero() {
		k.Time = it.at
	}
	k.Memory, k.Tasks, k.TasksLeftOut = r.Memory, r.Tasks, r.TasksLeftOut
	k.Limit = r.Limit
	if k.Limit.Scope == "" {
		k.Limit.Scope = oom.ScopeUnknown
	}
	k.Count = 1
	it.witness(oom.WitnessLog)
	if len(k.Tasks) > oom.MaxTasks {
		k.TasksLeftOut += len(k.Tasks) - oom.MaxTasks
		k.Tasks = k.Tasks[:oom.MaxTasks]
	}
}

// locate finds the cgroup of a kill: what the line names, unless that is only the group's; else where the process was
// seen, if that was not another one with the same pid before.
func (j *Joiner) locate(it *item, r *oom.Report, seen Seen) {
	it.Kill.Cgroup, it.How = r.Cgroup, HowLog
	if r.Group != 0 {
		it.How = HowGroup
	}
	if r.Cgroup == "" {
		it.How = HowNone
	}
	if seen.Noted {
		j.noted(it, seen)
		return
	}
	late := it.heard.Sub(it.at) > seenTime
	if late && it.heard.Sub(j.started) < startTime {
		seen.Cgroup = "" // it died before anybody looked
	}
	same := seen.Process.Comm == "" || seen.Process.Comm == r.Process.Comm[:min(len(r.Process.Comm), commLen)]
	if it.How != HowLog && seen.Cgroup != "" && same && (r.Cgroup == "" || within(seen.Cgroup, r.Cgroup)) {
		it.Kill.Cgroup, it.How, it.Unsure = seen.Cgroup, HowSeen, late
	}
	it.Kill.Container = j.owner(it.Kill.Cgroup)
	j.scope(it)
}

// noted takes what the kernel noted of a victim. What the line names itself it only confirms.
func (j *Joiner) noted(it *item, seen Seen) {
	k := &it.Kill
	if it.How != HowLog {
		k.Cgroup, it.How = seen.Cgroup, HowNoted
	}
	// A line without a header does not say that it was the node only where it was a cgroup's limit.
	switch {
	case it.limitUnknown() && seen.Limit.Scope != oom.ScopeNode:
		k.Limit = seen.Limit
	case k.Limit.Bytes == 0 && k.Limit.Cgroup != "" && k.Limit.Cgroup == seen.Limit.Cgroup:
		k.Limit.Bytes = seen.Limit.Bytes // the log has lost the beginning of the report
	}
	if k.Cgroup == seen.Cgroup {
		it.witness(oom.WitnessBPF)
	}
	k.Container = j.owner(k.Cgroup)
	j.scope(it)
}

// absorb lets a late line take the place of a kill that was counted in its stead, and reports whether it did.
func (j *Joiner) absorb(now time.Time, it *item) bool {
	c := j.stead(it)
	if c == nil {
		return false
	}
	j.inherit(now, it, c)
	if c.Kill.Count > 1 {
		c.Kill.Count--
		j.amend(c)
		j.add(it)
		return true
	}
	it.N, it.New, it.Kill.ID, it.Kill.Boot = c.N, c.New, c.Kill.ID, c.Kill.Boot
	it.taken, it.count, it.dirty = c.taken, c.count, c.dirty
	*c = *it
	j.byPID[c.Kill.Process.PID] = c
	j.amend(c)
	return true
}

// stead is the counted kill that a line tells of: with its process, or, if no counter claims a kill that
// the line can be, any that fits.
func (j *Joiner) stead(line *item) *item {
	named := j.byPID[line.Kill.Process.PID]
	if named != nil && !named.saw(oom.WitnessLog) && named.Kill.Confidence != oom.Weak && named.at.Sub(line.at).Abs() < groupTime {
		return named
	}
	if d := j.domains[line.Kill.Cgroup]; d != nil && d.owed() > 0 || line.Kill.Cgroup == "" && j.node.owed() > 0 {
		return nil
	}
	for _, c := range j.open {
		d := j.domains[c.Kill.Cgroup]
		if c.Counted() && c.fits(line) && (d == nil || !d.unborn(line)) {
			return c
		}
	}
	return nil
}

// fits reports whether a counted kill can be the one that a line tells of.
func (it *item) fits(line *item) bool {
	w := Claim{Since: it.Kill.Since, Time: it.Kill.Time}
	if !w.fits(line.at, slackBusy) {
		return false
	}
	c, l := it.Kill.Cgroup, line.Kill.Cgroup
	return c == "" || l == "" || c == l || it.Below && within(l, c)
}

// inherit gives a line what is known of the counted kill whose place it takes. The node's counter is content with it already;
// that of the cgroup is, if it told of it.
func (j *Joiner) inherit(now time.Time, line, counted *item) {
	k, c := &line.Kill, &counted.Kill
	for _, w := range c.Witnesses {
		line.witness(w)
	}
	if k.Limit.Cgroup == "" && k.Limit.Scope == oom.ScopeUnknown {
		k.Limit = c.Limit
	}
	switch {
	case k.Cgroup == "" && c.Cgroup != "":
		k.Cgroup, k.Container, line.How, line.Below = c.Cgroup, c.Container, HowCount, counted.Below
	case c.Cgroup == "":
		j.place(now, line, 1)
	}
	j.grade(line)
}
