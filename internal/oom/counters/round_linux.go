package counters

import (
	"os"
	"slices"
	"time"

	"stella/internal/oom"
)

// nodeCounter is oom_kill of /proc/vmstat.
type nodeCounter struct {
	file *os.File
	fd   int // of file
	// total is what was told last, if anything was.
	total int64
	told  bool
	// looked is when it was read last, and quiet when it was read last and cgroups had told of all of it.
	looked, quiet time.Time
	// explained and explainedBy are its value, and how many kills of cgroups had been told, when all
	// that could be found was told last: those of the root of v2 and of cgroups removed on v1 never are.
	// Kills that were told since and may be older (see late) are added to explainedBy.
	explained, explainedBy int64
}

// round is how far the looks at all cgroups are.
type round struct {
	owed int // rounds to make, with the one that is under way
	next int // in order; 0 between two rounds
	left int // looks that this tick may still make
	dead int // in order
}

const (
	// roundsAfterRise is how many rounds follow a rise of the node's counter that looks after alarms do not
	// explain. The kernel counts there first, so that the first round can be too early; and what is loose is
	// told when two have found it.
	roundsAfterRise = 2
	// maxRoundLooks bounds the looks of a round in one tick, at some 15 µs each, and roundPart
	// those between which alarms are answered.
	maxRoundLooks, roundPart = 2048, 64
)

// tick reads the node's counter, and begins a round if it counted more kills than were told.
func (c *Counters) tick(now time.Time) {
	rose, ok := c.lookAtNode(now)
	switch {
	case !ok:
		c.round.owed = max(c.round.owed, 1)
	case rose && c.node.total-c.node.explained != c.told-c.node.explainedBy:
		c.round.owed = roundsAfterRise
		if c.round.next > 0 {
			c.round.owed++ // the one under way is beyond some
		}
	case c.round.owed == 0:
		c.node.quiet = now
	}
	c.rearm(now)
	c.round.left = maxRoundLooks
}

// lookAtNode tells by how much the node's counter rose. It reports whether it did, and whether it can be read.
func (c *Counters) lookAtNode(now time.Time) (rose, ok bool) {
	text, err := c.read.readAll(c.node.fd)
	total, ok := keyed(text, "oom_kill")
	if err != nil || !ok {
		c.say("the kernel does not count OOM kills of the machine: all cgroups are looked at each half second", "file", c.node.file.Name(), "why", err)
		return false, false
	}
	last := c.node.total
	if !c.node.told || last > total {
		last = total // what is there is old, or it is another boot's
	}
	rose = total != last
	if rose || c.node.looked.IsZero() {
		since := c.node.looked
		if since.IsZero() {
			since = now
		}
		c.tell(oom.Rise{Kills: total - last, Local: -1, Total: total, Since: since, Time: now})
	}
	c.node.total, c.node.told, c.node.looked = total, true, now
	return rose, true
}

// goRound goes on with a round that is owed, and reports whether there is more of it to do in this tick. Each
// tick makes one at most.
func (c *Counters) goRound(now time.Time) bool {
	if c.round.owed == 0 || c.round.left <= 0 {
		return false
	}
	if c.round.next == 0 && c.round.dead > 0 {
		c.order = slices.DeleteFunc(c.order, func(g *group) bool { return g.dead })
		c.round.dead = 0
	}
	end := min(c.round.next+roundPart, len(c.order))
	c.round.left -= roundPart
	for ; c.round.next < end; c.round.next++ {
		if g := c.order[c.round.next]; !g.dead {
			c.lookAt(g, now)
		}
	}
	if end < len(c.order) {
		return c.round.left > 0
	}
	c.round.next, c.round.left = 0, 0
	c.round.owed--
	if c.nested && c.complete && c.settle(now) {
		c.round.owed = max(c.round.owed, 1)
	}
	if c.round.owed == 0 {
		c.node.explained, c.node.explainedBy = c.node.total, c.told
	}
	return false
}

// settle tells what is loose since the round before, and reports whether more may be.
func (c *Counters) settle(now time.Time) bool {
	more := false
	for _, g := range c.order {
		if g.dead || !g.known {
			continue
		}
		if n := g.settle(g.free()); n > 0 {
			c.tellLoose(g, n, now)
		}
		more = more || g.suspect > 0
	}
	return more
}

// free is how many of a cgroup's loose kills nobody has told. Where one below it was not yet seen to count kills that
// were told of those further below, and may be gone, they are loose here for another reason.
func (g *group) free() int64 {
	n := g.loose
	for _, b := range g.below {
		n += min(b.free(), 0)
	}
	return n
}
