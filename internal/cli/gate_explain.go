package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/gate"
	"stella/internal/kube"
)

// gateExplain is "stella gate explain".
type gateExplain struct {
	app    *app
	flags  *gateFlags
	format string
}

func newGateExplain(a *app, f *gateFlags) *cobra.Command {
	c := &gateExplain{app: a, flags: f, format: "text"}
	cmd := &cobra.Command{
		Use:   "explain NODE",
		Short: "Say why a node is not rebooted, and what comes next",
		Long: `Say why a node is not rebooted: each check that blocks, since when, what it found, and what
would clear it; what passes; holds; what comes next; and what the gate told last. Times are
by the node's own clock.

` + gateHelp,
		Example: `  stella gate explain node1
  stella gate explain node1 -o json | jq -r '.verdict.results[] | select(.outcome != "pass") | .check'`,
		Args: oneArg("the name of a node; stella gate status -A shows them"),
		RunE: c.run,
	}
	addFormat(cmd, &c.format, textFormats)
	return cmd
}

// gateExplained is all that is known of a node's reboot.
type gateExplained struct {
	gateLine
	// Hold is that of the node, and HoldAll that of all nodes; nil is none.
	Hold    *gate.Hold `json:"hold"`
	HoldAll *gate.Hold `json:"hold_all"`
	// Events are what the gate told last, the newest last.
	Events []gateEvent `json:"events"`
	// Next is what comes next.
	Next string `json:"next"`
}

// gateEvent is something that the gate told.
type gateEvent struct {
	Time    time.Time `json:"time"`
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Count   int       `json:"count"`
}

func (c *gateExplain) run(cmd *cobra.Command, args []string) error {
	if err := checkFormat(cmd, c.format, textFormats); err != nil {
		return err
	}
	return c.flags.ask(cmd.Context(), func(ctx context.Context, cluster *gateCluster) error {
		node, err := cluster.node(ctx, args[0])
		if err != nil {
			return err
		}
		now := time.Now()
		e := gateExplained{gateLine: gateLineOf(node, now)}
		c.holds(ctx, cluster, node, &e)
		c.events(ctx, cluster, &e)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e.Next = e.next(now, cluster.namespace)
		return c.app.show(c.format, &e, (&gateExplanation{&e, now}).write)
	})
}

// holds reads what holds the node. What cannot be read is said, and takes nothing else along: the verdict has what the gate saw of it.
func (c *gateExplain) holds(ctx context.Context, cluster *gateCluster, node *gateObject, e *gateExplained) {
	read := func(o *gateObject, place string) *gate.Hold {
		text := o.hold()
		if text == nil {
			return nil
		}
		h, err := gate.ReadHold(*text)
		if err != nil {
			c.app.warn("the hold of " + place + " cannot be read, which holds, too: " + err.Error())
			return nil
		}
		return &h
	}
	e.Hold = read(node, holdPlace(e.Node))
	switch lease, err := cluster.lease(ctx); {
	case err != nil:
		c.app.warn("whether all nodes are held cannot be told: " + err.Error())
	default:
		e.HoldAll = read(lease, holdPlace(""))
	}
}

func (c *gateExplain) events(ctx context.Context, cluster *gateCluster, e *gateExplained) {
	e.Events = []gateEvent{}
	events, err := cluster.events(ctx, e.Node)
	if err != nil && !errors.Is(err, context.Canceled) {
		c.app.warn("what the gate told last cannot be read: " + err.Error())
	}
	for i := range events {
		e.Events = append(e.Events, toGateEvent(&events[i]))
	}
}

func toGateEvent(e *kube.NodeEvent) gateEvent {
	return gateEvent{Time: e.When(), Reason: e.Reason, Message: e.Message, Count: max(e.Count, 1)}
}
