package join

import (
	"time"

	"stella/internal/oom"
)

// book accounts for a kill, which the kernel counted n times, with the node's counter and its cgroup's.
func (j *Joiner) book(now time.Time, it *item, n int64) {
	j.bookNode(it, n)
	j.place(now, it, n)
}

func (j *Joiner) bookNode(it *item, n int64) {
	d := &j.node
	d.dirty, j.dirty = true, true
	if d.old(it.at, it.heard) {
		return
	}
	for n > 0 {
		i := d.best(it.at, false)
		if i < 0 {
			d.Ahead += n
			it.nodeAhead += n
			return
		}
		n -= d.take(i, n)
		it.witness(oom.WitnessNode)
	}
}

// place accounts for it with the counter of its cgroup.
func (j *Joiner) place(now time.Time, it *item, n int64) {
	if it.Kill.Cgroup == "" {
		return
	}
	d := j.domain(now, it.Kill.Cgroup)
	if d.old(it.at, it.heard) {
		if known := min(d.Before, n); known > 0 {
			d.Before -= known
			it.witness(oom.WitnessCounter)
		}
		return
	}
	for n > 0 {
		i := d.best(it.at, false)
		if i < 0 {
			d.Ahead += n
			it.ahead += n
			return
		}
		n -= j.explain(d, i, it, n)
	}
}

// explain lets n counts of a kill explain a claim, from which it takes what it does not know yet. It returns how many
// did.
func (j *Joiner) explain(d *domain, i int, it *item, n int64) int64 {
	j.limitFrom(it, &d.Claims[i])
	it.witness(oom.WitnessCounter)
	j.amend(it)
	j.dirty = true
	return d.take(i, n)
}

// explainAll is explain for all counts of a kill that is new in its cgroup: those that the claim does not tell of are ahead.
func (j *Joiner) explainAll(d *domain, i int, it *item) int64 {
	n := j.explain(d, i, it, it.units())
	it.ahead = it.units() - n
	d.Ahead += it.ahead
	return n
}

// displace takes a kill out of a cgroup that has more kills than its counter told of. If the counter confirmed
// this one, it confirms another now.
func (j *Joiner) displace(it *item) {
	d := j.domains[it.Kill.Cgroup]
	own := min(it.ahead, d.Ahead)
	d.Ahead -= own
	it.ahead = 0
	j.reach(d, min(it.units()-own, d.Ahead))
}

// reach lets a counter tell of kills that are ahead of it, the oldest first.
func (j *Joiner) reach(d *domain, n int64) {
	d.Ahead -= n
	d.dirty, j.dirty = true, true
	for _, it := range j.open {
		ahead := it.aheadOf(d)
		k := min(n, *ahead)
		if k == 0 || !it.in(d) {
			continue
		}
		*ahead -= k
		n -= k
		it.unsaid = it.witness(d.witness()) || it.unsaid
	}
}

// witness is who tells of what the counter counts.
func (d *domain) witness() oom.Witness {
	if d.Path == "" {
		return oom.WitnessNode
	}
	return oom.WitnessCounter
}

// units is how often the kernel counted it.
func (it *item) units() int64 { return it.Kill.Count + it.Extra }

// aheadOf is how many counts of an item a counter has not told of.
func (it *item) aheadOf(d *domain) *int64 {
	if d.Path == "" {
		return &it.nodeAhead
	}
	return &it.ahead
}

// overdue is how many kills ahead of a counter it should have told of by now.
func (j *Joiner) overdue(now time.Time, d *domain) int64 {
	n := d.Ahead
	for i := len(j.open) - 1; i >= 0 && n > 0; i-- {
		if it := j.open[i]; now.Sub(it.heard) < settleTime && it.in(d) {
			n -= *it.aheadOf(d)
		}
	}
	return max(n, 0)
}

// in reports whether a kill was in the cgroup. All were in the node.
func (it *item) in(d *domain) bool { return d.Path == "" || it.Kill.Cgroup == d.Path }

// settleAhead lets kills that are ahead of a counter explain claims which their times did not fit: both
// have waited long enough.
func (j *Joiner) settleAhead(now time.Time, d *domain) {
	if d.Ahead == 0 || len(d.Claims) == 0 {
		return
	}
	n := j.overdue(now, d)
	for i := len(d.Claims) - 1; i >= 0 && n > 0; i-- {
		if c := &d.Claims[i]; !c.Below && now.Sub(c.heard) >= settleTime {
			k := d.take(i, n)
			n -= k
			j.reach(d, k)
		}
	}
}
