package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/gate"
)

// maxHoldWords bounds a reason and a name in bytes, so that they fit into the detail of a verdict.
const maxHoldWords = 256

// gateHold is "stella gate hold".
type gateHold struct {
	app     *app
	flags   *gateFlags
	target  gateTarget
	format  string
	hold    gate.Hold
	length  span
	until   string
	replace bool
}

func newGateHold(a *app, f *gateFlags) *cobra.Command {
	c := &gateHold{app: a, flags: f, format: "text"}
	cmd := &cobra.Command{
		Use:   "hold NODE|--all --reason TEXT",
		Short: "Keep a node, or all, from being rebooted",
		Long: `Keep a node, or all, from being rebooted, until a time or until "stella gate release". The gate
sees it when it looks next, within its --period; a node that kured has begun to drain is not
stopped. The hold of somebody else is replaced only by --replace.

` + gateHelp,
		Example: `  stella gate hold node1 --reason "disk is being replaced" --for 2h
  stella gate hold --all --reason "freeze for the release" --until 2026-12-24T08:00:00Z --by ops`,
		Args: c.target.args,
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.StringVar(&c.hold.Reason, "reason", "", "`why`, for those who ask why the node is not rebooted")
	flags.StringVar(&c.hold.By, "by", "", "`who` holds it (default $USER)")
	flags.Var(&c.length, "for", "for how long, such as 30m, 2h or 7d (default until it is released)")
	flags.StringVar(&c.until, "until", "", "until this `time`, such as 2026-12-24T08:00:00Z")
	flags.BoolVar(&c.replace, "replace", false, "replace the hold of somebody else")
	c.target.add(cmd)
	addFormat(cmd, &c.format, textFormats)
	return cmd
}

// complete checks and completes what is to be written.
func (c *gateHold) complete(cmd *cobra.Command, now time.Time) error {
	h := &c.hold
	h.By = cmp.Or(h.By, c.app.getenv("USER"))
	h.Since = now.UTC().Truncate(time.Second)
	switch {
	case h.Reason == "":
		return usagef(cmd, "%q needs --reason: others ask why the node is not rebooted", cmd.CommandPath())
	case h.By == "":
		return usagef(cmd, "%q needs --by: there is no $USER that says who this is", cmd.CommandPath())
	case len(h.Reason) > maxHoldWords || len(h.By) > maxHoldWords:
		return usagef(cmd, "--reason and --by may have %d bytes each", maxHoldWords)
	case c.length != 0 && c.until != "":
		return usagef(cmd, "--for and --until contradict each other")
	case c.length != 0:
		h.Until = h.Since.Add(time.Duration(c.length))
	case c.until != "":
		until, err := time.Parse(time.RFC3339, c.until)
		if err != nil {
			return usagef(cmd, "--until %s: write it as 2026-12-24T08:00:00Z", quoteIfOdd(c.until))
		}
		if !until.After(now) {
			return usagef(cmd, "--until %s is over", c.until)
		}
		h.Until = until.UTC()
	}
	return nil
}

func (c *gateHold) run(cmd *cobra.Command, args []string) error {
	now := time.Now()
	if err := errors.Join(checkFormat(cmd, c.format, textFormats), c.complete(cmd, now)); err != nil {
		return err
	}
	text, err := json.Marshal(c.hold)
	if err != nil {
		return err
	}
	node, after := c.target.node(args), string(text)
	return c.flags.ask(cmd.Context(), func(ctx context.Context, cluster *gateCluster) error {
		changed := heldChange{Node: node, After: &c.hold, DryRun: c.target.dryRun}
		err := cluster.setHold(ctx, node, c.target.dryRun, func(before *string) (*string, error) {
			changed.found(before)
			if b := changed.Before; b != nil && b.By != c.hold.By && (b.Until.IsZero() || b.Until.After(now)) && !c.replace {
				return nil, fmt.Errorf("%s already held: %s; --replace makes this hold the only one", holdPlace(node), holdText(b))
			}
			return &after, nil
		})
		if err != nil {
			return err
		}
		return c.app.show(c.format, &changed, changed.write)
	})
}

// gateTarget is the node, or all, that a command changes something of.
type gateTarget struct{ all, dryRun bool }

func (t *gateTarget) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&t.all, "all", false, "all nodes, also those that come later")
	cmd.Flags().BoolVar(&t.dryRun, "dry-run", false, "let the server check the change, and not keep it")
}

func (t *gateTarget) args(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) > 1:
		return usagef(cmd, "%q takes one node, but got %q as well", cmd.CommandPath(), args[1])
	case t.all && len(args) > 0:
		return usagef(cmd, "the node %q and --all contradict each other", args[0])
	case !t.all && len(args) == 0:
		return usagef(cmd, "%q needs the name of a node, or --all; stella gate status -A shows them", cmd.CommandPath())
	}
	return nil
}

// node is "" for all.
func (t *gateTarget) node(args []string) string {
	if t.all {
		return ""
	}
	return args[0]
}

// heldChange is what became of a hold.
type heldChange struct {
	// Node is "" for all nodes.
	Node string `json:"node,omitempty"`
	// Before and After are nil for none. Problem is why what was there before could not be read.
	Before  *gate.Hold `json:"before"`
	Problem string     `json:"problem,omitempty"`
	After   *gate.Hold `json:"after"`
	DryRun  bool       `json:"dry_run"`
}

// found reads the hold that was there before.
func (h *heldChange) found(text *string) {
	h.Before, h.Problem = nil, ""
	if text == nil {
		return
	}
	before, err := gate.ReadHold(*text)
	if err != nil {
		h.Problem = err.Error()
		return
	}
	h.Before = &before
}

func (h *heldChange) write(w io.Writer) error {
	what := holdPlace(h.Node)
	switch {
	case h.After != nil:
		what += " held: " + holdText(h.After)
	case h.Before == nil && h.Problem == "":
		what += " not held, so there is nothing to release"
	default:
		what += " released"
	}
	if h.DryRun {
		what += " (not kept: --dry-run)"
	}
	before := "not held"
	switch {
	case h.Problem != "":
		before = "held by what cannot be read: " + h.Problem
	case h.Before != nil:
		before = holdText(h.Before)
	}
	_, err := fmt.Fprintf(w, "%s\nbefore: %s\n", oneLine(what), oneLine(before))
	return err
}
