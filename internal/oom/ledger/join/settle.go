package join

import (
	"slices"
	"time"

	"stella/internal/oom"
)

// maxBatch bounds the kills that change at once: a batch has to fit into one record.
const maxBatch = 64

// full reports whether what is decided next must wait for the next batch.
func (j *Joiner) full() bool { return len(j.changed) >= maxBatch }

// Settle decides what has waited long enough, and reports whether there was more of it than fits into one
// batch: then it is to be called again after Take, else some times a second.
func (j *Joiner) Settle(now time.Time) (more bool) {
	claiming := j.sorted((*domain).claims)
	for _, d := range claiming {
		j.settleAhead(now, d)
	}
	j.settleAhead(now, &j.node)
	j.placeLoose(now, claiming)
	for _, d := range claiming {
		j.settleClaims(now, d)
	}
	j.settleNode(now)
	j.settleItems(now)
	j.settleNotices(now)
	j.clean(now)
	j.notes, j.notesRead = nil, false
	return j.full()
}

// settleClaims finds kills for what the counter of a cgroup claims, or makes them.
func (j *Joiner) settleClaims(now time.Time, d *domain) {
	for i := len(d.Claims) - 1; i >= 0; i-- { // a claim that is used up is removed
		c := d.Claims[i]
		waited := now.Sub(c.heard)
		if waited < settleTime || j.full() {
			continue
		}
		left := c.N
		for _, explain := range []func(time.Time, *domain, int, int64) int64{j.explainBelow, j.explainRepeat, j.count, j.pull} {
			if left > 0 {
				left -= explain(now, d, i, left)
			}
		}
		if left > 0 && waited >= forgetTime {
			// The node did not count it, and no kill is in doubt: it was told twice.
			d.take(i, left)
			j.dirty = true
		}
	}
}

// explainBelow lets kills in cgroups below, whose counters never told of them, explain a claim.
func (j *Joiner) explainBelow(now time.Time, d *domain, i int, left int64) (n int64) {
	if !d.Claims[i].Below {
		return 0
	}
	for _, b := range j.domains {
		if n == left {
			break
		}
		if !within(b.Path, d.Path) || b.Ahead == 0 {
			continue
		}
		k := min(left-n, j.overdue(now, b))
		j.reach(b, k)
		n += k
	}
	if n > 0 {
		d.take(i, n)
		j.dirty = true
	}
	return n
}

// explainRepeat explains kills by groups whose victim was told once, where records of the log were lost, or the kernel
// noted nobody else there: the kernel most likely counted it twice.
func (j *Joiner) explainRepeat(now time.Time, d *domain, i int, left int64) (n int64) {
	c := d.Claims[i]
	nobody := d != &j.node && j.nobodyNoted(d.Path)
	for _, it := range j.open {
		k := &it.Kill
		if n == left || j.full() || d != &j.node && j.spare(now, &c) == 0 {
			break
		}
		if k.Group == 0 || k.Group != k.Process.PID || it.Extra > 0 || !it.in(d) || !nobody && !(j.lostAround(k.Time) && c.fits(it.at, slackBusy)) {
			continue
		}
		it.Extra++
		n++
		if d == &j.node {
			d.take(i, 1)
		} else {
			j.nodeTake(now, it, &c, 1)
			j.explain(d, i, it, 1)
		}
		j.amend(it)
	}
	return n
}

// aheadOfNode is how many kills in the ledger the node counted at the last look at its counter without telling of
// them: all that came before it.
func (j *Joiner) aheadOfNode() int64 {
	n := j.node.Ahead
	for i := len(j.open) - 1; i >= 0 && n > 0; i-- {
		if it := j.open[i]; it.at.After(j.node.at.Add(slack)) {
			n -= it.nodeAhead
		}
	}
	return max(n, 0)
}

// spare is how many kills the node counted about when a claim was made, and that are not in the ledger. Those
// whose line may still come are not among them. A claim that has waited in vain for long may be of any time.
func (j *Joiner) spare(now time.Time, c *Claim) int64 {
	if !j.node.Told {
		return c.N
	}
	n := -j.aheadOfNode()
	for i := range j.node.Claims {
		if o := &j.node.Claims[i]; o.ripe(now, c) {
			n += o.N
		}
	}
	return max(n, 0)
}

// ripe reports whether what the node claims can be what a cgroup claims.
func (c *Claim) ripe(now time.Time, of *Claim) bool {
	if now.Sub(c.heard) < settleTime {
		return false
	}
	early := !c.Since.IsZero() && of.Time.Before(c.Since.Add(-slackBusy))
	late := !of.Since.IsZero() && of.Since.After(c.Time.Add(slackBusy))
	return !early && !late || now.Sub(of.heard) >= patience
}

// nodeTake accounts for kills that a claim told of with the node's counter.
func (j *Joiner) nodeTake(now time.Time, it *item, of *Claim, n int64) {
	for i := len(j.node.Claims) - 1; i >= 0 && n > 0; i-- {
		if j.node.Claims[i].ripe(now, of) {
			n -= j.node.take(i, n)
			it.witness(oom.WitnessNode)
		}
	}
	j.node.dirty, j.dirty = true, true
}

// count makes kills of what a cgroup's counter claims and the node's as well. Those whose process another witness
// named are kills of their own.
func (j *Joiner) count(now time.Time, d *domain, i int, left int64) (n int64) {
	c := d.Claims[i]
	for n < left && !j.full() {
		k := min(left-n, j.spare(now, &c))
		if k == 0 {
			break
		}
		it := j.counted(now, d.Path, &c)
		if j.nameVictim(it) {
			k = 1
		}
		it.Kill.Count = k
		j.add(it)
		j.nodeTake(now, it, &c, k)
		j.explain(d, i, it, k)
		j.grade(it)
		n += k
	}
	return n
}

// counted is a kill that a counter told of.
func (j *Joiner) counted(now time.Time, cgroup string, c *Claim) *item {
	it := &item{at: c.Time, heard: now, Entry: Entry{Below: c.Below, Kill: oom.Kill{
		Time: c.Time, Since: c.Since, Cgroup: cgroup, Process: oom.Process{UID: -1}, Container: j.owner(cgroup),
		Limit: oom.Limit{Scope: oom.ScopeUnknown}, Tasks: c.processes,
	}}}
	if cgroup != "" {
		it.How = HowCount
	}
	return it
}

// settleNode makes kills of what the node counted and nobody else will explain.
func (j *Joiner) settleNode(now time.Time) {
	left := j.node.owed() - j.aheadOfNode()
	for _, d := range j.domains {
		left -= d.owed()
	}
	for i := len(j.node.Claims) - 1; i >= 0 && left > 0; i-- {
		c := j.node.Claims[i]
		if now.Sub(c.heard) < nodeTime {
			continue
		}
		n := min(left, c.N)
		left -= n
		n -= j.explainRepeat(now, &j.node, i, n)
		for n > 0 && !j.full() {
			it := j.counted(now, "", &c)
			it.Kill.Count = n
			if j.nameVictim(it) {
				it.Kill.Count = 1
			}
			n -= it.Kill.Count
			j.add(it)
			it.heard = c.heard // what its cgroup's counter told has waited as long
			j.place(now, it, it.Kill.Count)
			it.witness(oom.WitnessNode)
			j.node.take(i, it.Kill.Count)
			j.grade(it)
			j.dirty = true
		}
	}
}

// settleItems completes the kills that have waited long enough, and forgets those nobody will tell of.
func (j *Joiner) settleItems(now time.Time) {
	late := 0
	for i, it := range j.open {
		switch {
		case j.full():
		case !it.Settled && (now.Sub(it.heard) >= settleTime || i < len(j.open)-maxOpen):
			j.settle(it)
		case it.Settled && it.unsaid:
			j.grade(it)
			j.amend(it)
		}
		if it.Settled && it.Late() {
			late++
		}
	}
	excess := len(j.open) - maxOpen
	j.open = slices.DeleteFunc(j.open, func(it *item) bool {
		age := now.Sub(it.heard)
		var drop bool
		switch {
		case !it.Settled || it.dirty:
		case it.Late():
			drop = age >= countedTime || late > maxLate || excess > 0
			if drop {
				late--
			}
		default:
			drop = age >= keepTime || excess > 0
		}
		if drop {
			excess--
			if j.byPID[it.Kill.Process.PID] == it {
				delete(j.byPID, it.Kill.Process.PID)
			}
		}
		return drop
	})
}

// settle completes a kill.
func (j *Joiner) settle(it *item) {
	k := &it.Kill
	j.limitFromOthers(it)
	if k.Cgroup != "" && k.Process.PID != 0 {
		if pid, alive, ok := j.o.Main(k.Cgroup); ok {
			lived := alive && pid != k.Process.PID
			k.MainSurvived = &lived
		}
	}
	for i := range j.notices {
		j.corroborate(&j.notices[i], it)
	}
	it.Settled = true
	j.grade(it)
	j.amend(it)
}

// clean forgets cgroups that are gone.
func (j *Joiner) clean(now time.Time) {
	started := !j.began.IsZero() && now.Sub(j.began) >= startTime
	if started && j.node.Told && !j.watched && !j.incomplete {
		j.watched, j.dirty = true, true
	}
	first := started && !j.cleaned
	j.cleaned = j.cleaned || first
	j.node.forgetBase(now)
	for _, d := range j.domains {
		d.forgetBase(now)
		unused := now.Sub(d.used) >= forgetTime
		gone := !d.gone.IsZero() && now.Sub(d.gone) >= startTime
		if len(d.Claims) == 0 && (gone || first && d.stale || !d.Told && unused) {
			j.forget(d)
		}
	}
}

// forgetBase ends that older lines are told from newer ones by their time: the log is read up to now, and
// the clock may be set back.
func (d *domain) forgetBase(now time.Time) {
	if !d.BaseAt.IsZero() && now.Sub(d.based) >= forgetTime {
		d.BaseAt, d.Before, d.dirty = time.Time{}, 0, true
	}
}
