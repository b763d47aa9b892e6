package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/bytesize"
	"stella/internal/client"
	"stella/internal/oom"
)

const (
	defaultProcesses = 20
	// maxProcesses are asked for where the agent's order, by memory, is not what chooses.
	maxProcesses = 1000
)

func newTopProcesses(a *app, f *agentFlags) *cobra.Command {
	limit := defaultProcesses
	c := &top{app: a, agent: f, formats: tableFormats, sorts: []string{"memory", "cpu"}}
	c.look = func(ctx context.Context, agent *client.Agent) (view, error) {
		most := limit
		if c.namespace != "" || c.sort != "memory" {
			most = maxProcesses
		}
		processes, err := agent.Processes(ctx, most)
		if err != nil {
			return view{}, err
		}
		processes = slices.DeleteFunc(processes, func(p oom.ProcessUsage) bool { return c.namespace != "" && p.Container.Namespace != c.namespace })
		processFigures.sort(processes, c.sort)
		processes = processes[:min(limit, len(processes))]
		title := fmt.Sprintf("the largest %d processes, %s", len(processes), processFigures.sum(processes))
		return view{list(processes), title, c.table(processRows(processes, time.Now(), c))}, nil
	}
	cmd := c.command(&cobra.Command{
		Use: "processes", Aliases: []string{"process"},
		Short: "Show the processes with the most memory, and whose they are",
		Long: fmt.Sprintf(`Show this node's processes with the most memory, and whose container each is. CPU %% is of
one core, RSS the resident set. The OOM killer takes the one with the most, after ADJ
(oom_score_adj, -1000 to 1000) is added: a process at -1000 is never taken.

With --namespace or --sort-by cpu, processes are chosen from the %s with the most memory.

`, countText(maxProcesses)) + topHelp,
		Example: `  stella top processes
  stella top processes -n shop --limit 5 --watch
  stella top processes --sort-by cpu`,
	})
	cmd.Flags().IntVar(&limit, "limit", limit, fmt.Sprintf("at most so many `processes`, 1 to %d", maxProcesses))
	check := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if limit < 1 || limit > maxProcesses {
			return usagef(cmd, "--limit %d: must be 1 to %d", limit, maxProcesses)
		}
		return check(cmd, args)
	}
	return cmd
}

var processFigures figures[oom.ProcessUsage] = func(p *oom.ProcessUsage) (float64, int64, int64) {
	return p.Cores, p.Resident(), 0
}

// processRows are processes for people.
func processRows(processes []oom.ProcessUsage, now time.Time, c *top) *rows {
	head := []string{"PID", "PROCESS", "CPU %", "RSS", "ADJ", "AGE", "CONTAINER"}
	if c.wide() {
		head = []string{"PID", "PROCESS", "CPU %", "RSS", "ADJ", "AGE", "ANON", "FILE", "SHMEM", "UID", "CONTAINER"}
	}
	r := newRows(1, head...)
	for i := range processes {
		p := &processes[i]
		cells := []string{fmt.Sprint(p.PID), p.Comm, percentCPU(p.Cores), bytesize.Text(p.Resident()), fmt.Sprint(p.ScoreAdj), since(now, p.Started)}
		if c.wide() {
			cells = append(cells, bytesize.Text(p.Anon), bytesize.Text(p.File), bytesize.Text(p.Shmem), fmt.Sprint(p.UID))
		}
		r.add(append(cells, whereText(&p.Container, p.Cgroup))...)
	}
	return r
}
