package counters

import (
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/oom"
)

// limitWindow is how long a limit that was hit can be the reason of a kill: a header of the
// kernel log on a slow serial console takes a good part of it.
const limitWindow = 2 * time.Second

// counts is what one look reads.
type counts struct {
	all, own, limitHits int64
	// file is the inode of the file with the counters (v2). Where the controller is taken from a cgroup and given
	// back, the file is another one, and the counters begin anew.
	file uint64
}

// counters reads the counters of a cgroup, and makes sure that they are not those of a newer one with
// the same path.
func (c *Counters) counters(g *group) (counts, error) {
	n, err := c.readCounters(g)
	if err != nil || n == (counts{g.all, g.own, g.limitHits, g.file}) {
		return n, err
	}
	if now, err := c.o.Hierarchy.Lookup(g.Path); err != nil || now.ID != g.ID {
		return n, unix.ENOENT
	}
	return n, nil
}

// readCounters reads all before own, so that no kill between the two looks as if it had happened below.
func (c *Counters) readCounters(g *group) (n counts, err error) {
	if g.Version == 1 {
		text, err := c.read.read(g.Dir, fileV1)
		if err != nil {
			return n, err
		}
		var ok bool
		if n.own, ok = keyed(text, "oom_kill"); !ok {
			c.say("the kernel does not count OOM kills of cgroups; Linux 4.13 and later do", "file", filepath.Join(g.Dir, fileV1))
			return n, unix.ENOTSUP
		}
		n.all = n.own
		return n, nil
	}
	text, file, err := c.read.identify(g.Dir, fileAll)
	if err != nil {
		return n, err
	}
	n.file = file
	n.all, _ = keyed(text, "oom_kill")
	if text, err = c.read.read(g.Dir, fileOwn); err != nil && !g.known {
		if _, err := c.read.read(g.Dir, fileAll); err != nil {
			return n, err // it is gone
		}
		c.say("the kernel does not count kills of a cgroup alone, only with those below it; Linux 5.2 and later do")
		c.noOwn = true
	}
	if c.noOwn {
		return n, nil
	}
	n.own, _ = keyed(text, "oom_kill")
	n.limitHits, _ = keyed(text, "oom")
	return n, err
}

// first takes what a cgroup counted before this process saw it.
func (c *Counters) first(g *group, now time.Time) error {
	n, err := c.counters(g)
	if err == nil && n.all > 0 && c.nested && g.above != nil {
		// What it counted may have been told of the one above, as nobody's: so that must be right
		// now, and for that those beside this one.
		c.lookUp(g.above, now)
		for _, b := range g.above.below {
			if b.known && c.complete {
				c.lookAt(b, now)
			}
		}
		n, err = c.counters(g)
	}
	if err != nil {
		if removed(err) { // or it has no counters yet: when it gets them they begin at 0
			g.base, g.told = 0, true
		}
		return err
	}
	g.known, g.looked = true, now
	unknown := !g.told && g.Existed
	base := g.base
	switch {
	case unknown:
		base = n.all
	case !g.told || base > n.all: // it is new, or the counter is
		base = 0
		if !c.node.quiet.IsZero() {
			g.looked = c.node.quiet
		}
	}
	g.begin(base, n.own)
	g.file = n.file
	if unknown {
		c.absorb(g)
	}
	before := c.told
	c.take(g, n, now, true)
	c.late(c.told - before)
	if g.loose > 0 {
		c.round.owed = max(c.round.owed, roundsAfterRise)
	}
	return nil
}

// absorb forgives those above a cgroup what they counted since their first look: it can be of
// this one, whose value is taken for old.
func (c *Counters) absorb(g *group) {
	for a := g.above; a != nil && c.nested; a = a.above {
		if n, err := c.counters(a); err == nil && a.known {
			c.take(a, n, a.looked, false)
			a.loose = min(a.loose, 0)
		}
	}
}

// take takes new values of a cgroup and tells of what rose; at first sight of the total in any case.
func (c *Counters) take(g *group, n counts, now time.Time, atFirst bool) {
	if n.file != g.file {
		if g.file != 0 {
			g.all, g.own, g.limitHits = 0, 0, 0
			c.disarm(g) // it is on the file of before
			c.arm(g)
		}
		g.file = n.file
	}
	above := counted(g.above)
	if !c.nested {
		above = nil
	}
	// The kernel counts in own first: a kill between the two reads is about to be in all too, and
	// the total that is told must have it, or another process would take it for new.
	n.all = max(n.all, g.all+since(n.own, g.own))
	rise, own := g.advance(n.all, n.own)
	if above != nil {
		above.loose -= rise
	}
	if atFirst && above != nil {
		own -= above.overtold(own, above.free())
		g.loose -= above.overtold(g.loose, above.free())
	}
	if hits := since(n.limitHits, g.limitHits); hits > 0 && !atFirst {
		g.fired += hits
		g.firedAt = now
	}
	g.limitHits = n.limitHits
	if rise == 0 && own == 0 && !atFirst {
		return
	}
	r := c.rise(g, own, now)
	if own > 0 {
		r.Local = own
		c.blame(g, &r, now)
		r.Processes = c.present(g, now)
		g.killedAt = now
	}
	c.tell(r)
}

// present are the processes that were noted in a cgroup since the kill before.
func (c *Counters) present(g *group, now time.Time) []oom.Process {
	then := now.Add(-limitWindow)
	if g.killedAt.After(then) {
		then = g.killedAt
	}
	return c.table.of(g.ID, then)
}

// counted returns a cgroup itself or the nearest one above it that has counters; nil for none.
func counted(g *group) *group {
	for g != nil && !g.known {
		g = g.above
	}
	return g
}

// rise is the part of a Rise that is always the same.
func (c *Counters) rise(g *group, kills int64, now time.Time) oom.Rise {
	last := g.looked
	if c.node.quiet.After(last) {
		last = c.node.quiet // nothing was counted anywhere
	}
	g.looked = now
	return oom.Rise{Cgroup: g.Path, CgroupID: g.ID, Kills: kills, Total: g.all, Since: last, Time: now, Born: g.Born}
}

// tell hands a Rise to Run.
func (c *Counters) tell(r oom.Rise) {
	if len(c.waiting) >= maxWaiting && r.Kills == 0 {
		c.say("totals of cgroups are dropped, because they are taken up too slowly: after a restart their kills of before count as old")
		return
	}
	if r.Cgroup != "" {
		c.told += r.Kills
	}
	c.waiting = append(c.waiting, r)
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// blame says whose limit fired: of the cgroup and those above it the one whose limit was hit and has
// no kill yet, if it is the only one; or else the only one that was hit at all.
func (c *Counters) blame(g *group, r *oom.Rise, now time.Time) {
	var open, hit []*group
	for a := g; a != nil; a = a.above {
		if now.Sub(a.firedAt) > limitWindow {
			continue
		}
		hit = append(hit, a)
		if a.fired > 0 {
			open = append(open, a)
		}
	}
	if len(open) == 0 {
		open = hit
	}
	if len(open) != 1 {
		return
	}
	limit := open[0]
	limit.fired = max(limit.fired-r.Kills, 0)
	r.LimitCgroup, r.LimitHit = limit.Path, limit == g
	name := fileLimitV2
	if g.Version == 1 {
		name = fileLimitV1
	}
	if text, err := c.read.read(limit.Dir, name); err == nil {
		r.Limit, _ = number(text)
	}
}

// lookUp looks at a cgroup and those above it, the topmost first.
func (c *Counters) lookUp(g *group, now time.Time) {
	if g == nil {
		return
	}
	if c.nested {
		c.lookUp(g.above, now)
	}
	c.lookAt(g, now)
}

// lookAt looks at a cgroup.
func (c *Counters) lookAt(g *group, now time.Time) {
	var n counts
	var err error
	before := g.all
	if !g.known {
		if err = c.first(g, now); err == nil && !g.alarm.armed {
			c.arm(g)
		}
	} else if n, err = c.counters(g); err == nil {
		c.take(g, n, now, false)
	}
	switch {
	case err == nil && g.all != before:
		c.catchUp(counted(g.above), now)
	case err == nil:
	case removed(err):
		c.lost(g)
	default:
		c.say("a cgroup's counter of kills cannot be read", "cgroup", g.Dir, "why", err)
	}
}

// catchUp looks again at a cgroup that has not all kills yet of those below it: then the total that was told
// of it is too small.
func (c *Counters) catchUp(g *group, now time.Time) {
	if g == nil || !c.nested || g.loose >= 0 {
		return
	}
	c.lookAt(g, now)
	if g.loose < 0 {
		c.round.owed = max(c.round.owed, roundsAfterRise) // the kernel will be there by then
	}
}

// lost handles that a cgroup has no counters any more: it was removed, which is told elsewhere, or the controller
// was taken from it (v2).
func (c *Counters) lost(g *group) {
	if !g.known {
		return
	}
	if now, err := c.o.Hierarchy.Lookup(g.Path); err == nil && now.ID == g.ID {
		c.disarm(g)
		g.known, g.all, g.own, g.limitHits, g.file = false, 0, 0, 0, 0
		g.base, g.told = 0, true
	}
}

// remove forgets a cgroup, and tells so.
func (c *Counters) remove(g *group) {
	now := time.Now()
	c.disarm(g)
	switch above := counted(g.above); {
	case !g.known || !c.nested:
	case g.loose > 0:
		c.tellLoose(g, g.loose, now) // what was below is gone with it, so none is about to be made known
	case above != nil:
		above.loose += g.loose // kills below it that it was not seen to count
	}
	if g.known {
		r := c.rise(g, 0, now)
		r.Gone = true
		r.Processes = c.present(g, now)
		c.tell(r)
	}
	if g.above != nil {
		g.above.below = without(g.above.below, g)
	}
	delete(c.byPath, g.Path)
	g.dead = true
	c.round.dead++
}

// tellLoose tells of kills below a cgroup that nobody else tells of.
func (c *Counters) tellLoose(g *group, kills int64, now time.Time) {
	r := c.rise(g, kills, now)
	r.Gone = true
	if c.noOwn { // then they can as well be its own
		r.Local, r.Gone = -1, false
		r.Processes = c.present(g, now)
	}
	c.tell(r)
	c.late(kills)
}

// late takes in that kills were told which can be among those that earlier rounds did not find. Else they would
// stand for as many newer ones at the next tick, and no round would look for those.
func (c *Counters) late(kills int64) { c.node.explainedBy += kills }

// without removes a group from a list of which the order does not matter.
func without(list []*group, g *group) []*group {
	for i := range list {
		if list[i] == g {
			list[i] = list[len(list)-1]
			list[len(list)-1] = nil
			return list[:len(list)-1]
		}
	}
	return list
}
