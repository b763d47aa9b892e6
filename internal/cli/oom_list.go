package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/client"
	"stella/internal/oom"
)

// defaultKills is more than a bad week of one node has, and less than 1 MiB without task tables.
const defaultKills = 1000

// oomList is "stella oom list".
type oomList struct {
	app    *app
	agent  *agentFlags
	format string
	filter oom.Filter
	last   span
	bare   bool
}

func newOOMList(a *app, f *agentFlags) *cobra.Command {
	c := &oomList{app: a, agent: f, format: "table", filter: oom.Filter{Limit: defaultKills}}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List OOM kills, newest first: whose, which limit fired, and whether any restart shows it",
		Long: `List the OOM kills that the agent's ledger has, newest first.

WHERE is namespace, pod and container; else a unit or a cgroup. FIRED says whose limit it
was: the container's, its pod's, that of a parent (a QoS class, all pods, a slice), or the
node. HIDDEN is yes where the container's first process lived on: neither restarts nor the
pod's status show such a kill. What a counter told of and no line of the log explains is
in the list too, as unknown or unattributed.

` + agentHelp,
		Example: `  stella oom list --last 7d
  stella oom list -n kured --workload DaemonSet/kured-sentinel-gate -o wide
  stella oom list --last 1h -o name | xargs -n 1 stella oom show
  stella oom list -o json | jq '.[] | select(.main_survived)'`,
		Args: noArgs,
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.Var(&c.last, "last", "only kills of so much time, such as 30m, 24h or 7d")
	flags.StringVarP(&c.filter.Namespace, "namespace", "n", "", "only kills in this `namespace`")
	flags.StringVar(&c.filter.Pod, "pod", "", "only kills in the pod of this `name`")
	flags.StringVar(&c.filter.Container, "container", "", "only kills in containers of this `name`")
	flags.StringVar(&c.filter.Workload, "workload", "", "only kills in this `workload`: KIND/NAME, or the name alone")
	flags.IntVar(&c.filter.Limit, "limit", c.filter.Limit, fmt.Sprintf("at most so many `kills`, 1 to %d", oom.MaxKills))
	addFormat(cmd, &c.format, nameFormats)
	addNoHeaders(flags, &c.bare)
	f.add(flags)
	return cmd
}

func (c *oomList) run(cmd *cobra.Command, _ []string) error {
	if err := checkFormat(cmd, c.format, nameFormats); err != nil {
		return err
	}
	if c.filter.Limit < 1 || c.filter.Limit > oom.MaxKills {
		return usagef(cmd, "--limit %d: must be 1 to %d", c.filter.Limit, oom.MaxKills)
	}
	now := time.Now()
	if c.last > 0 {
		c.filter.Since = now.Add(-time.Duration(c.last))
	}
	var kills []oom.Kill
	err := c.agent.ask(cmd.Context(), c.app, func(ctx context.Context, agent *client.Agent) (err error) {
		if kills, err = agent.Kills(ctx, c.filter); err != nil {
			return err
		}
		status, err := agent.Status(ctx)
		c.app.warn(witnessWarnings(&status)...)
		return err
	})
	if err != nil {
		return err
	}
	slices.Reverse(kills) // the agent has the oldest first
	switch {
	case len(kills) == 0:
		c.app.note("no such kills")
		if c.format != "json" && c.format != "yaml" {
			return nil
		}
	case len(kills) == 1 && c.filter.Limit == 1:
		c.app.note("this is the newest kill; --limit shows more")
	case len(kills) == c.filter.Limit && c.filter.Limit < oom.MaxKills:
		c.app.note("these are the newest %s; --limit shows more", countOf(int64(len(kills)), "kill"))
	case len(kills) == c.filter.Limit:
		c.app.note("these are the newest %s; choose fewer to see others", countOf(int64(len(kills)), "kill"))
	}
	return c.app.show(c.format, list(kills), c.text(kills, now))
}

// text writes kills for people, or their IDs.
func (c *oomList) text(kills []oom.Kill, now time.Time) func(io.Writer) error {
	if c.format == "name" {
		return writeNames(kills, func(k *oom.Kill) string { return k.ID })
	}
	r := killRows(kills, now, c.format == "wide")
	r.bare = c.bare
	return c.app.table(c.format, r)
}

// killRows are kills for people.
func killRows(kills []oom.Kill, now time.Time, wide bool) *rows {
	head := []string{"ID", "AGE", "WHERE", "PROCESS", "LIMIT", "FIRED", "HIDDEN"}
	if wide {
		head = append(head, "TIME", "RSS", "CONFIDENCE", "WITNESSES", "WORKLOAD", "NODE", "IMAGE", "CGROUP", "DOUBT")
	}
	r := newRows(2, head...)
	for i := range kills {
		k := &kills[i]
		cells := []string{k.ID, since(now, k.Time), placeText(k), victimText(k), memoryText(k.Limit.Bytes), string(k.Limit.Scope), hiddenText(k)}
		if wide {
			cells = append(cells, timeText(k.Time), memoryText(k.Process.Resident()), string(k.Confidence), witnessesText(k.Witnesses),
				k.Container.Workload, k.Container.Node, k.Container.Image, k.Cgroup, k.Doubt)
		}
		r.add(cells...)
	}
	return r
}
