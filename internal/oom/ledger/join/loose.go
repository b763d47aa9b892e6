package join

import (
	"cmp"
	"slices"
	"time"

	"stella/internal/oom"
)

// placeLoose finds cgroups for the kills whose lines named none, by the counters that rose at their time. The lines are
// taken in their order, and each goes to the counter that rose first after it: no other
// choice places more of them.
func (j *Joiner) placeLoose(now time.Time, claiming []*domain) {
	var lines []*item
	for _, it := range j.open {
		if it.Loose() && now.Sub(it.heard) >= settleTime {
			lines = append(lines, it)
		}
	}
	if len(lines) == 0 {
		return
	}
	slices.SortStableFunc(lines, func(a, b *item) int { return a.at.Compare(b.at) })
	for _, s := range []time.Duration{slack, slackBusy} {
		for _, it := range lines {
			// Where the times do not fit well, a counter that fits better may still come.
			if it.Loose() && len(claiming) > 0 && !j.full() && (s == slack || now.Sub(it.heard) >= patience) {
				j.placeByTime(now, it, claiming, s)
			}
		}
	}
	// The newest first: a cgroup that is there now is likelier to have been there then.
	for _, it := range slices.Backward(lines) {
		if it.Loose() && j.node.old(it.at, it.heard) && !j.full() {
			j.placeOld(it)
		}
	}
}

// placeByTime finds the claim of a cgroup that a line fits best.
func (j *Joiner) placeByTime(now time.Time, it *item, claiming []*domain, s time.Duration) {
	var best *domain
	at, fitting := 0, 0
	for _, d := range claiming {
		fits := false
		for i := range d.Claims {
			c := &d.Claims[i]
			if now.Sub(c.heard) < settleTime || !c.fits(it.at, s) || d.unborn(it) {
				continue
			}
			fits = true
			if best == nil || c.Time.Before(best.Claims[at].Time) || c.Time.Equal(best.Claims[at].Time) && d.Path < best.Path {
				best, at = d, i
			}
		}
		if fits {
			fitting++
		}
	}
	if best != nil {
		j.placeByCount(best, at, it, fitting > 1)
	}
}

// placeByCount places a line where a counter claims it.
func (j *Joiner) placeByCount(d *domain, i int, it *item, unsure bool) int64 {
	it.Below, it.Unsure = d.Claims[i].Below, unsure
	j.move(it, d.Path, HowCount)
	n := j.explainAll(d, i, it)
	j.grade(it)
	return n
}

// placeOld places a line from before the counters were seen first in one of the cgroups that had kills then.
func (j *Joiner) placeOld(it *item) {
	var best *domain
	fitting := 0
	for _, d := range j.sorted(func(d *domain) bool { return d.Before > 0 && d.old(it.at, it.heard) }) {
		if best == nil {
			best = d
		}
		if d == best || !within(best.Path, d.Path) { // on v2 those above count the same kills
			fitting++
		}
	}
	if best == nil {
		return
	}
	above(best.Path, func(path string) bool {
		if d := j.domains[path]; d != nil {
			d.Before = max(d.Before-1, 0)
			d.dirty, j.dirty = true, true
		}
		return true
	})
	it.witness(oom.WitnessCounter)
	it.Unsure = fitting > 1
	j.move(it, best.Path, HowCount)
	j.grade(it)
}

// pullEvery is how often that is tried: it looks at all kills at hand.
const pullEvery = time.Second

// pull moves kills to a cgroup whose counter claims them, where the node's says that all kills are in the ledger: so
// some are in the wrong place. Those of which the least is known go first.
func (j *Joiner) pull(now time.Time, d *domain, i int, left int64) (n int64) {
	c := &d.Claims[i]
	if !j.node.Told || now.Sub(c.heard) < patience || now.Sub(c.pulled) < pullEvery {
		return 0
	}
	c.pulled = now
	loose := func(it *item) bool { return it.Loose() && !j.node.old(it.at, it.heard) }
	counted := func(it *item) bool {
		return it.Counted() && (it.Kill.Cgroup == "" || it.Below && it.Kill.Cgroup != d.Path && within(d.Path, it.Kill.Cgroup))
	}
	beyond := func(it *item) bool { // there are more in its cgroup than that counted
		o := j.domains[it.Kill.Cgroup]
		return it.Kill.Process.PID != 0 && it.How != HowLog && it.How != HowNoted && o != nil && o != d && o.Told && o.Ahead > 0 && j.overdue(now, o) > 0
	}
	for _, where := range []func(*item) bool{loose, counted, beyond} {
		if n < left {
			n += j.pullWhere(d, i, left-n, where)
		}
	}
	for n < left && !j.full() && j.trade(d, i) {
		n++
	}
	return n
}

// maxChain bounds the cgroups that are looked at for one trade: each time that is all kills at hand.
const maxChain = 32

// trade gives a claim a kill that its counter placed elsewhere, in whose place comes a loose one from before the claiming cgroup was born; or that place is
// taken by a third one, and so on, until the loose one finds one where it can have been. It reports whether there are such. The newest loose one is
// tried alone: those before it fit fewer places.
func (j *Joiner) trade(d *domain, i int) bool {
	for _, it := range slices.Backward(j.open) {
		if !it.Settled || !it.Loose() || it.units() != 1 || !d.unborn(it) || j.node.old(it.at, it.heard) {
			continue
		}
		chain := j.chain(d, it, map[*domain]bool{d: true})
		if chain == nil || len(chain) > maxBatch-len(j.changed) {
			return false
		}
		for _, next := range chain {
			j.replace(it, next)
			it = next
		}
		return j.placeByCount(d, i, it, true) > 0
	}
	return false
}

// chain are the kills that have to move on so that a line has a place and d gets one more: the first has the place of the line, and the last goes to d. Nil is
// that there are none. Each cgroup is looked at once, and no more than maxChain.
func (j *Joiner) chain(d *domain, line *item, seen map[*domain]bool) []*item {
	var further []*item
	for _, it := range j.open {
		o := j.domains[it.Kill.Cgroup]
		placed := it.Settled && it.How == HowCount && it.Kill.Process.PID != 0 && it.units() == 1
		if !placed || o == nil || seen[o] || d.unborn(it) {
			continue
		}
		if !o.unborn(line) {
			return []*item{it}
		}
		further = append(further, it)
	}
	for _, it := range further {
		o := j.domains[it.Kill.Cgroup]
		if seen[o] || len(seen) >= maxChain {
			continue
		}
		seen[o] = true
		if chain := j.chain(o, line, seen); chain != nil {
			return append(chain, it)
		}
	}
	return nil
}

// replace gives a kill the place of another one, and what a counter told of it. That has no place then.
func (j *Joiner) replace(it, other *item) {
	it.ahead, other.ahead = other.ahead, 0
	it.Below, it.Unsure = other.Below, true
	if other.saw(oom.WitnessCounter) {
		it.witness(oom.WitnessCounter)
	}
	if limit := &other.Kill.Limit; limit.Cgroup != "" { // the log named none, so it is from that counter
		if it.limitUnknown() {
			it.Kill.Limit = *limit
		}
		*limit = oom.Limit{Scope: oom.ScopeUnknown}
	}
	j.move(it, other.Kill.Cgroup, HowCount)
	j.grade(it)
}

// pullWhere moves kills that a condition chooses, those nearest in time first.
func (j *Joiner) pullWhere(d *domain, i int, left int64, ok func(*item) bool) (n int64) {
	var all []*item
	for _, it := range j.open {
		if it.Settled && ok(it) && !d.unborn(it) {
			all = append(all, it)
		}
	}
	if len(all) == 0 {
		return 0
	}
	at := d.Claims[i].Time
	slices.SortStableFunc(all, func(a, b *item) int { return cmp.Compare(a.at.Sub(at).Abs(), b.at.Sub(at).Abs()) })
	for _, it := range all {
		if n == left || j.full() {
			break
		}
		if !ok(it) {
			continue // not any more
		}
		if it.Counted() && it.Kill.Count > left-n {
			it = j.split(it, left-n)
		}
		if it.Kill.Cgroup != "" && it.Kill.Process.PID != 0 {
			j.displace(it)
		}
		n += j.placeByCount(d, i, it, true)
	}
	return n
}

// split takes some kills out of a counted one, as one of its own.
func (j *Joiner) split(it *item, n int64) *item {
	part := &item{at: it.at, heard: it.heard, Entry: it.Entry}
	it.Kill.Count -= n
	part.Kill.Count, part.Settled = n, false
	j.amend(it)
	j.add(part)
	return part
}
