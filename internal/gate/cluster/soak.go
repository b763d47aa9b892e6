package cluster

import (
	"context"
	"fmt"
	"time"

	"stella/internal/gate"
	"stella/internal/kube"
)

// SoakOptions are those of [Look.Soak].
type SoakOptions struct {
	// For is how long no node of the cluster may have been rebooted.
	For time.Duration
	// Proc is the root of a procfs, which tells the own node's boot.
	Proc string
	// AllowUntold takes a node whose gate never told its boot, because none runs there, for booted when it was
	// made, or when it last became Ready, whichever is later: the nearest to a boot that the API has. Without this, such a node keeps the gate shut.
	AllowUntold bool
}

// Soak is the check that no node was rebooted for a while, so that what a reboot broke has time to show. Readiness that comes and goes is no reboot: what counts
// is the boot that each node's gate tells ([TellBoot]). A node that has booted and not told yet shuts the gate, which is seen by
// the boot's id. A boot from before the node joined the cluster is none of its reboots.
//
// All times are of the API server's clock, to which each gate converts its own uptime. Clocks of nodes do not matter; if the
// server's clock is set, or another server's differs, soaking is longer or shorter by that much.
func (l *Look) Soak(o SoakOptions) gate.Check {
	c := &soakCheck{options: o}
	l.add(c)
	return once("soak", func(ctx context.Context) gate.Result {
		boot, err := l.boot(ctx, o.Proc)
		if err != nil {
			return cannotTell(err)
		}
		if err := l.list(ctx); err != nil {
			return cannotTell(err)
		}
		c.rebooting(l.self, boot.at(l.moment))
		return c.result(l.moment)
	})
}

// boot is the own node's, of which the kubelet has to say the same.
func (l *Look) boot(ctx context.Context, proc string) (Boot, error) {
	b, err := ReadBoot(proc)
	if err != nil {
		return b, because(ReasonNoBoot, err)
	}
	if err := l.ask(ctx); err != nil {
		return b, err
	}
	if l.self.bootID != b.ID {
		return b, because(ReasonNoBoot, fmt.Errorf("the kubelet of %s has told the boot %.50q, and this is %s: it has not come so far yet, or the gate does not run on the node's own kernel",
			l.own, l.self.bootID, b.ID))
	}
	return b, nil
}

type soakCheck struct {
	options SoakOptions
	count   int

	unreadable, notTold, rebooted names

	latest time.Time // of all reboots, by the server's clock
	last   string
}

func (c *soakCheck) see(n *node) {
	c.count++
	switch {
	case n.own: // this machine tells its own
	case n.boot == nil && c.options.AllowUntold:
		c.rebooting(n, later(n.created, n.ready.since))
	case n.boot == nil || n.bootID == "":
		c.notTold.add("%s", n.name)
	default:
		t, err := readTold(*n.boot)
		switch {
		case err != nil:
			c.unreadable.add("%s (%v)", n.name, err)
		case t.ID != n.bootID:
			c.rebooted.add("%s", n.name)
		default:
			c.rebooting(n, t.At)
		}
	}
}

// rebooting counts a boot, if the node was in the cluster before.
func (c *soakCheck) rebooting(n *node, at time.Time) {
	if !at.Before(n.created) && at.After(c.latest) {
		c.latest, c.last = at, n.name
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (c *soakCheck) result(m kube.Moment) gate.Result {
	const starts = "the gate of each of them starts and tells it"
	switch {
	case c.unreadable.count > 0:
		return unknown(&c.unreadable, ReasonUnreadable, "the gate's annotation is removed; its gate writes it when it starts", "when nodes were booted cannot be read")
	case c.notTold.count > 0:
		return unknown(&c.notTold, ReasonNotTold, starts, "nobody told when these nodes were booted")
	case c.rebooted.count > 0:
		return c.rebooted.blocked(ReasonRebooted, starts, "these nodes have rebooted, and not told when")
	case c.last == "":
		return gate.Passed("none of %d nodes was rebooted since it joined", c.count)
	}
	now := time.Now()
	since := m.Earliest(now).Sub(c.latest)
	if left := c.options.For - since; left > 0 {
		r := gate.Blocked(ReasonSoaking, "time", "%s was rebooted %v ago, the last of %d nodes, and %v have to pass", c.last, max(since, 0).Round(time.Second), c.count, c.options.For)
		r.Until, r.Blockers = now.Add(left), []string{c.last}
		return r
	}
	return gate.Passed("%s was rebooted %v ago, the last of %d nodes", c.last, since.Round(time.Second), c.count)
}

// unknown is a result that names whatever keeps it from being told.
func unknown(n *names, reason, clears, what string) gate.Result {
	r := n.blocked(reason, clears, what)
	r.Outcome = gate.Unknown
	return r
}
