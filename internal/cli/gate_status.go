package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/gate"
)

// gateStatus is "stella gate status".
type gateStatus struct {
	app    *app
	flags  *gateFlags
	format string
	all    bool
	bare   bool
}

func newGateStatus(a *app, f *gateFlags) *cobra.Command {
	c := &gateStatus{app: a, flags: f, format: "table"}
	cmd := &cobra.Command{
		Use: "status [NODE]", Aliases: []string{"list"},
		Short: "List nodes that want a reboot, and what holds each back",
		Long: `List nodes that want a reboot, and what holds each back: the check, and its reason. A ? behind
the reason is that the check could not tell, which blocks, too. UNTIL is when all that blocks
ends by itself. A gate that is stale has not looked for two periods: it hangs, or is no more.
Who waits for longer than a day starves. Nodes that want no reboot are listed where their gate
found that it could not open. Times are by the nodes' own clocks.

` + gateHelp,
		Example: `  stella gate status
  stella gate status -A -o wide
  stella gate status -o json | jq -r '.[] | select(.starving) | .node'`,
		Args: atMostOne("the name of one node"),
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.BoolVarP(&c.all, "all", "A", false, "all nodes")
	addFormat(cmd, &c.format, tableFormats)
	addNoHeaders(flags, &c.bare)
	return cmd
}

func (c *gateStatus) run(cmd *cobra.Command, args []string) error {
	if err := checkFormat(cmd, c.format, tableFormats); err != nil {
		return err
	}
	return c.flags.ask(cmd.Context(), func(ctx context.Context, cluster *gateCluster) error {
		var nodes []*gateObject
		var err error
		if len(args) > 0 {
			nodes = make([]*gateObject, 1)
			nodes[0], err = cluster.node(ctx, args[0])
		} else {
			nodes, err = cluster.nodes(ctx)
		}
		if err != nil {
			return err
		}
		return c.show(nodes, c.all || len(args) > 0, time.Now())
	})
}

func (c *gateStatus) show(nodes []*gateObject, all bool, now time.Time) error {
	var lines []gateLine
	silent := 0
	for _, n := range nodes {
		line := gateLineOf(n, now)
		if line.State == gateUnknown && line.Problem == "" {
			silent++
		}
		if all || line.matters() {
			lines = append(lines, line)
		}
	}
	c.say(lines, silent, len(nodes))
	if len(lines) == 0 && c.format != "json" && c.format != "yaml" {
		return nil
	}
	r := gateRows(lines, now, c.format == "wide")
	r.bare = c.bare
	return c.app.show(c.format, list(lines), c.app.table(c.format, r))
}

// say tells beside the result what a person should know of it.
func (c *gateStatus) say(lines []gateLine, silent, of int) {
	if len(lines) == 0 {
		c.app.note("no gate says that its node wants a reboot, or that something is wrong")
	}
	if silent > 0 {
		c.app.note("%d of %s never had a verdict: no gate runs there, or no reboot was wanted since", silent, countOf(int64(of), "node"))
	}
	starving := 0
	for i := range lines {
		l := &lines[i]
		if l.State == gateStale {
			c.app.warn(fmt.Sprintf("the gate of %s has not looked since %s", l.Node, timeText(l.Verdict.Time)))
		}
		if !l.Starving {
			continue
		}
		if starving++; starving <= gate.MaxNames {
			c.app.warn(fmt.Sprintf("%s waits for longer than %s; see: stella gate explain %s", l.Node, spanText(starvesAfter), l.Node))
		}
	}
	if more := starving - gate.MaxNames; more > 0 {
		c.app.warn(fmt.Sprintf("so do %d more", more))
	}
}

// gateRows are nodes for people.
func gateRows(lines []gateLine, now time.Time, wide bool) *rows {
	head := []string{"NODE", "PENDING", "GATE", "BLOCKED BY", "SINCE", "UNTIL", "LAST LOOK"}
	if wide {
		head = append(head, "WANTED SINCE", "BLOCKERS")
	}
	r := newRows(3, head...)
	for i := range lines {
		l := &lines[i]
		by, began, ends := l.blocked()
		pending, state, looked, wanted := "?", string(l.State), "", ""
		if v := l.Verdict; v != nil {
			looked, wanted = since(now, v.Time), timeText(v.Pending)
		}
		if l.State != gateUnknown {
			pending = since(now, l.Verdict.Pending)
		}
		if l.Starving {
			pending += ", starves"
		}
		if l.State == gateIdle || l.State == gateUnknown {
			state = ""
		}
		cells := []string{l.Node, pending, state, by, since(now, began), timeText(ends), looked}
		if wide {
			cells = append(cells, wanted, strings.Join(l.blockers(), ", "))
		}
		r.add(cells...)
	}
	return r
}

// blockers are what blocks, one by one.
func (l *gateLine) blockers() (all []string) {
	if l.Verdict != nil {
		for _, r := range l.Verdict.Blocking() {
			all = append(all, r.Blockers...)
		}
	}
	return all
}
