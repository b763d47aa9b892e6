package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/gate"
	"stella/internal/gate/turn"
)

// gateRelease is "stella gate release".
type gateRelease struct {
	app    *app
	flags  *gateFlags
	target gateTarget
	format string
	turn   bool
}

func newGateRelease(a *app, f *gateFlags) *cobra.Command {
	c := &gateRelease{app: a, flags: f, format: "text"}
	cmd := &cobra.Command{
		Use:   "release NODE|--all",
		Short: "End a hold, or take the turn from a node",
		Long: `End the hold of a node, or that of all nodes; nodes that have holds of their own keep these.

With --turn it takes the turn from a node, of those that reboot one after another. A gate gives
it back itself after the reboot, and others take it where the Node object is gone: --turn is for
a node that will not come back, but is not removed yet. Should it reboot after all, two may do so at once.

` + gateHelp,
		Example: `  stella gate release node1
  stella gate release --all
  stella gate release node1 --turn`,
		Args: c.args,
		RunE: c.run,
	}
	cmd.Flags().BoolVar(&c.turn, "turn", false, "take the turn from the node, and leave holds as they are")
	c.target.add(cmd)
	addFormat(cmd, &c.format, textFormats)
	return cmd
}

func (c *gateRelease) args(cmd *cobra.Command, args []string) error {
	switch {
	case c.turn && c.target.all:
		return usagef(cmd, "--turn is of one node, so name it in place of --all")
	case c.turn && c.target.dryRun:
		return usagef(cmd, "there is no --dry-run of --turn")
	}
	return c.target.args(cmd, args)
}

func (c *gateRelease) run(cmd *cobra.Command, args []string) error {
	if err := checkFormat(cmd, c.format, textFormats); err != nil {
		return err
	}
	return c.flags.ask(cmd.Context(), func(ctx context.Context, cluster *gateCluster) error {
		if c.turn {
			return c.takeTurn(ctx, cluster, args[0])
		}
		return c.release(ctx, cluster, c.target.node(args))
	})
}

func (c *gateRelease) release(ctx context.Context, cluster *gateCluster, node string) error {
	changed := heldChange{Node: node, DryRun: c.target.dryRun}
	err := cluster.setHold(ctx, node, c.target.dryRun, func(before *string) (*string, error) {
		changed.found(before)
		return nil, nil
	})
	if err != nil {
		return err
	}
	if node != "" {
		c.stillHeld(ctx, cluster)
	}
	return c.app.show(c.format, &changed, changed.write)
}

// stillHeld says that all nodes are held, which who releases one of them may not know. It is a help: where it cannot be told, nothing is said.
func (c *gateRelease) stillHeld(ctx context.Context, cluster *gateCluster) {
	lease, err := cluster.lease(ctx)
	if err != nil || lease.hold() == nil {
		return
	}
	h, err := gate.ReadHold(*lease.hold())
	switch {
	case err != nil:
		c.app.warn("all nodes are held, by what cannot be read: " + err.Error())
	case h.Until.IsZero() || h.Until.After(time.Now()):
		c.app.warn("all nodes are still held: " + holdText(&h))
	}
}

func (c *gateRelease) takeTurn(ctx context.Context, cluster *gateCluster, node string) error {
	had, err := turn.Clear(ctx, cluster.client, cluster.namespace, node)
	if err != nil {
		return err
	}
	taken := struct {
		Node string `json:"node"`
		// Had says that it was the node's turn. Where it was not, nothing was changed.
		Had bool `json:"had_turn"`
	}{node, had}
	return c.app.show(c.format, taken, func(w io.Writer) error {
		text := "it is not the turn of node %s, so there is nothing to take\n"
		if had {
			text = "the turn is taken from node %s; the next node gets it after the gates' --delay\n"
		}
		_, err := fmt.Fprintf(w, text, oneLine(node))
		return err
	})
}
