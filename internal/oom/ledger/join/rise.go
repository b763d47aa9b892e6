package join

import (
	"time"

	"stella/internal/oom"
)

// Baseline returns the counter of a cgroup up to which all is told, and whether that is known. The
// cgroups that were never told of had none, if an earlier run has looked at all of them.
func (j *Joiner) Baseline(path string, id uint64) (int64, bool) {
	d := j.domains[path]
	if d == nil {
		return 0, j.complete
	}
	d.stale = false
	if d.ID != id || !d.Told {
		return 0, j.complete
	}
	return d.Total, true
}

// NodeBaseline is the same for the node's counter.
func (j *Joiner) NodeBaseline() (int64, bool) { return j.node.Total, j.node.Told }

// Rise takes in what a counter tells, in any order.
func (j *Joiner) Rise(now time.Time, r oom.Rise) {
	j.kernel = true
	if j.began.IsZero() {
		j.began = now
	}
	if r.Cgroup == "" {
		j.node.used = now
		j.told(now, &j.node, &r)
		return
	}
	d := j.domains[r.Cgroup]
	if r.Gone && r.Kills == 0 {
		if d != nil && d.ID == r.CgroupID {
			d.gone = now
		}
		return
	}
	if d == nil && r.Total == 0 && r.Kills == 0 {
		return // most cgroups never have a kill
	}
	d = j.domain(now, r.Cgroup)
	switch {
	case d.ID == 0 || d.ID == r.CgroupID:
		d.ID = r.CgroupID
		if !r.Born.IsZero() { // after a restart it is not known any more
			d.Born = r.Born
		}
	case r.CgroupID > d.ID: // the path is used again: this counter began anew
		d.ID, d.Born, d.Total, d.Told, d.at, d.gone = r.CgroupID, r.Born, 0, false, time.Time{}, time.Time{}
	case r.CgroupID != 0: // late, of the one before, whose total is no longer needed
		r.Total = d.Total
	}
	j.told(now, d, &r)
}

// told takes in a new value of a counter.
func (j *Joiner) told(now time.Time, d *domain, r *oom.Rise) {
	d.stale, d.dirty, j.dirty = false, true, true
	if !d.Told && r.Kills == 0 {
		j.first(now, d, r)
	}
	d.Told = true
	if r.Time.Before(d.at) {
		d.Total = max(d.Total, r.Total)
	} else {
		d.Total, d.at = r.Total, r.Time
	}
	if r.Kills <= 0 {
		return
	}
	c := Claim{
		N: r.Kills, Since: r.Since, Time: r.Time, LimitCgroup: r.LimitCgroup, Limit: r.Limit,
		Gone: r.Gone, Below: d != &j.node && (r.Gone || r.Local < 0), heard: now, processes: r.Processes,
	}
	if c.LimitCgroup == "" && r.LimitHit {
		c.LimitCgroup = r.Cgroup
	}
	if c.LimitCgroup != "" {
		d.learn(c.LimitCgroup, c.Limit)
	}
	if !c.Since.Before(c.Time) {
		c.Since = j.node.BaseAt // the first look: at any time since the node's counter was seen first, and the cgroup was there
		if d.Born.After(c.Since) {
			c.Since = d.Born
		}
	}
	d.claim(c)
	j.confirm(d)
}

// first takes a counter's value for old: it is the first, and its cgroup was there before.
func (j *Joiner) first(now time.Time, d *domain, r *oom.Rise) {
	if r.Total == 0 || j.complete && d != &j.node {
		return // there was nothing, or it is told as kills
	}
	d.BaseAt, d.Before, d.based = r.Time, r.Total, now
	ahead := int64(0)
	for _, it := range j.open {
		switch {
		case !it.in(d):
		case it.at.After(r.Time):
			ahead += *it.aheadOf(d)
		default:
			d.Before = max(d.Before-it.units(), 0)
			*it.aheadOf(d) = 0
		}
	}
	d.Ahead = min(d.Ahead, ahead)
}

// confirm lets the last claim of a counter be explained by kills that are ahead of it, or by loose ones
// whose process was seen in the cgroup.
func (j *Joiner) confirm(d *domain) {
	c := d.Claims[len(d.Claims)-1]
	left := c.N
	if d != &j.node && !c.Gone {
		left -= j.seenIn(d, &c)
	}
	if c.Below {
		return
	}
	for _, s := range []time.Duration{slack, slackBusy} {
		for _, it := range j.open {
			if left <= 0 || d.Ahead <= 0 {
				return
			}
			ahead := it.aheadOf(d)
			n := min(left, d.Ahead, *ahead)
			if n == 0 || !it.in(d) || !c.fits(it.at, s) {
				continue
			}
			*ahead -= n
			d.Ahead -= n
			left -= n
			d.take(len(d.Claims)-1, n)
			if it.witness(d.witness()); d != &j.node {
				j.limitFrom(it, &c)
			}
			it.unsaid = true
		}
	}
}

// seenIn places loose kills whose process was in the cgroup when its counter rose, and returns how many of
// the last claim they explain.
func (j *Joiner) seenIn(d *domain, c *Claim) (n int64) {
	for i := range c.processes {
		p := &c.processes[i]
		it := j.byPID[p.PID]
		if n == c.N {
			return n
		}
		if it == nil || !it.Loose() || d.unborn(it) || p.Comm != "" && p.Comm != it.Kill.Process.Comm || !c.fits(it.at, slack) {
			continue
		}
		j.move(it, d.Path, HowSeen)
		n += j.explainAll(d, len(d.Claims)-1, it)
		j.grade(it)
	}
	return n
}
