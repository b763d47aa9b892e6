package cluster

import (
	"context"
	"slices"
	"strings"

	"stella/internal/gate"
)

// NodesOptions are those of [Look.Nodes].
type NodesOptions struct {
	// AllowCordoned are nodes that may be cordoned: each a name, or a label as key=value.
	AllowCordoned []string
}

// Nodes is the check that all nodes are Ready, and none is cordoned. The own node has to be Ready, and may be cordoned: kured cordons it after it has
// seen the gated file, and a gate that shut then would take the file away in the middle of the drain. Other gates see
// it cordoned, and stay shut until kured lets pods on it again.
func (l *Look) Nodes(o NodesOptions) gate.Check {
	c := &nodesCheck{options: o}
	return l.check("nodes", c, c.result)
}

// check is one whose result follows from all nodes.
func (l *Look) check(name string, s seer, result func() gate.Result) gate.Check {
	l.add(s)
	return once(name, func(ctx context.Context) gate.Result {
		if err := l.list(ctx); err != nil {
			return cannotTell(err)
		}
		return result()
	})
}

type nodesCheck struct {
	options                   NodesOptions
	all                       int
	notReady, cordoned, spare names
}

func (c *nodesCheck) see(n *node) {
	c.all++
	if !n.ready.ok() {
		c.notReady.add("%s (%s)", n.name, n.ready.why())
	}
	switch {
	case !n.cordoned:
	case n.own || c.allowed(n):
		c.spare.add("%s", n.name)
	default:
		c.cordoned.add("%s", n.name)
	}
}

func (c *nodesCheck) allowed(n *node) bool {
	return slices.ContainsFunc(c.options.AllowCordoned, func(s string) bool {
		key, value, label := strings.Cut(s, "=")
		if !label {
			return n.name == s
		}
		has, ok := n.labels[key]
		return ok && has == value
	})
}

func (c *nodesCheck) result() gate.Result {
	switch {
	case c.notReady.count > 0:
		return c.notReady.blocked(ReasonNotReady, "all nodes are Ready, or are removed", "%d of %d nodes not Ready", c.notReady.count, c.all)
	case c.cordoned.count > 0:
		return c.cordoned.blocked(ReasonCordoned, "kubectl uncordon, or an option that allows it", "%d of %d nodes cordoned", c.cordoned.count, c.all)
	case c.spare.count > 0:
		return gate.Passed("all %d nodes Ready; cordoned, which is allowed: %s", c.all, &c.spare)
	}
	return gate.Passed("all %d nodes Ready, none cordoned", c.all)
}

// ControlPlane is the check that at least this many nodes of the control plane are Ready and not cordoned without the own node, which will be gone for a while.
// Fewer than one counts as one: where the own node is the only one, this check keeps the gate shut.
func (l *Look) ControlPlane(atLeast int) gate.Check {
	c := &controlPlaneCheck{want: max(atLeast, 1)}
	return l.check("control_plane", c, c.result)
}

type controlPlaneCheck struct {
	want, well int
	ill        names
}

func (c *controlPlaneCheck) see(n *node) {
	_, now := n.labels["node-role.kubernetes.io/control-plane"]
	_, before := n.labels["node-role.kubernetes.io/master"] // until Kubernetes 1.24
	switch {
	case n.own || !now && !before:
	case !n.ready.ok():
		c.ill.add("%s (%s)", n.name, n.ready.why())
	case n.cordoned:
		c.ill.add("%s (cordoned)", n.name)
	default:
		c.well++
	}
}

func (c *controlPlaneCheck) result() gate.Result {
	if c.well >= c.want {
		return gate.Passed("%d nodes of the control plane are Ready besides the own node, and %d have to be", c.well, c.want)
	}
	const clears = "enough other nodes of the control plane are Ready and not cordoned"
	if c.ill.count == 0 {
		return gate.Blocked(ReasonTooFew, clears, "%d nodes of the control plane besides the own node, and %d have to be there", c.well, c.want)
	}
	return c.ill.blocked(ReasonTooFew, clears, "%d nodes of the control plane Ready besides the own node, and %d have to be; these are not", c.well, c.want)
}
