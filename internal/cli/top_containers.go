package cli

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/client"
	"stella/internal/oom"
)

func newTopContainers(a *app, f *agentFlags) *cobra.Command {
	all := false
	c := &top{app: a, agent: f, formats: tableFormats, sorts: []string{"memory", "cpu", "trend"}}
	c.look = func(ctx context.Context, agent *client.Agent) (view, error) {
		usage, err := agent.Usage(ctx)
		if err != nil {
			return view{}, err
		}
		usage = slices.DeleteFunc(usage, func(u oom.Usage) bool {
			return !all && !u.Gone.IsZero() || c.namespace != "" && u.Container.Namespace != c.namespace
		})
		containerFigures.sort(usage, c.sort)
		title := countOf(int64(len(usage)), "container") + ", " + containerFigures.sum(usage)
		return view{list(usage), title, c.table(containerUsageRows(usage, time.Now(), c))}, nil
	}
	cmd := c.command(&cobra.Command{
		Use: "containers", Aliases: []string{"container"},
		Short: "Show what containers use: processor, memory, disk and inodes",
		Long: `Show what this node's containers use. CPU % is of one core, MEMORY the working set, DISK
and INODES what the container wrote into its own layer, as crictl stats has them.
TREND is the growth of memory a minute, FULL IN (-o wide, --watch) when the limit is
reached at that rate, KILLS are the OOM kills in this container that the agent knows of.

` + topHelp,
		Example: `  stella top containers --sort-by cpu
  stella top containers -n shop --watch
  stella top containers --all -o wide`,
	})
	cmd.Flags().BoolVarP(&all, "all", "a", false, "also containers that ended lately, with what they used at last")
	return cmd
}

var containerFigures figures[oom.Usage] = func(u *oom.Usage) (float64, int64, int64) {
	return u.Cores, u.Sample.WorkingSet, u.Trend
}

// containerUsageRows are containers for people.
func containerUsageRows(usage []oom.Usage, now time.Time, c *top) *rows {
	head := []string{"CONTAINER", "CPU %", "MEMORY"}
	if !c.wide() {
		head = append(head, "LIMIT", "%")
	}
	head = append(head, "TREND", "KILLS", "DISK", "INODES")
	if c.wide() {
		head = append(head, "FULL IN", "LAST KILL", "ENDED", "PIDS", "ANON", "FILE", "SHMEM", "KERNEL", "ID", "IMAGE")
	}
	r := newRows(0, head...)
	for i := range usage {
		u := &usage[i]
		s := &u.Sample
		cells := []string{cmp.Or(whereText(&u.Container, u.Cgroup), "unknown"), percentCPU(u.Cores)}
		cells = append(cells, c.memoryCells(s.WorkingSet, s.Limit)...)
		cells = append(cells, trendOf(u), countText(u.Kills), knownBytes(u.Disk), knownCount(u.Inodes))
		if c.wide() {
			cells = append(cells, untilLimit(s.WorkingSet, s.Limit, u.Trend), since(now, u.LastKill), since(now, u.Gone), knownCount(s.PIDs),
				knownBytes(s.Anon), knownBytes(s.File), knownBytes(s.Shmem), knownBytes(s.Kernel),
				u.Container.ID[:min(len(u.Container.ID), shortID)], u.Container.Image)
		}
		r.add(cells...)
	}
	c.paint(r, 2, func(row int) (int64, int64) { return usage[row].Sample.WorkingSet, usage[row].Sample.Limit })
	return r
}

// trendOf is a container's trend; empty where it was not watched for long enough.
func trendOf(u *oom.Usage) string {
	if u.TrendSpan <= 0 {
		return ""
	}
	return trendText(u.Trend)
}
