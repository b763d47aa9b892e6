package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/bytesize"
	"stella/internal/scanner"
)

func newScannerWorkers(a *app, f *serverFlags) *cobra.Command {
	return group(&cobra.Command{
		Use:   "workers",
		Short: "Look at workers, restart them, and add or remove pools of them",
		Long: `Look at workers, restart them, and add or remove pools of them. A worker is a
process with a memory limit of its own that scans one image at a time; a pool is a
number of workers with one limit.`,
	}, newScannerWorkersList(a, f), newScannerWorkersStats(a, f), newScannerWorkersInspect(a, f),
		newScannerWorkersAdd(a, f), newScannerWorkersRemove(a, f), newScannerWorkersRestart(a, f))
}

// workersList is "stella scanner workers list".
type workersList struct {
	app    *app
	server *serverFlags
	format string
	pool   string
}

func newScannerWorkersList(a *app, f *serverFlags) *cobra.Command {
	c := &workersList{app: a, server: f, format: "table"}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List workers, with their state and memory",
		Example: `  stella scanner workers list
  stella scanner workers list --pool large-images -o wide`,
		Args: noArgs,
		RunE: c.run,
	}
	cmd.Flags().StringVar(&c.pool, "pool", "", "only workers of this `pool`")
	addFormat(cmd, &c.format, tableFormats)
	completePools(cmd, "pool", a, f)
	return cmd
}

func (c *workersList) run(cmd *cobra.Command, _ []string) error {
	if err := checkFormat(cmd, c.format, tableFormats); err != nil {
		return err
	}
	service, err := c.server.client(c.app)
	if err != nil {
		return err
	}
	workers, err := service.Workers(cmd.Context())
	if err != nil {
		return err
	}
	if workers, err = ofPool(workers, c.pool); err != nil {
		return err
	}
	return c.app.show(c.format, list(workers), c.app.table(c.format, workerRows(workers, time.Now(), c.format == "wide")))
}

// ofPool are the workers of a pool, all for "", by instance, pool and number. A pool
// without workers is an error: more likely than not it is a typo.
func ofPool(workers []scanner.Worker, pool string) ([]scanner.Worker, error) {
	var pools []string
	for _, w := range workers {
		pools = append(pools, w.Pool)
	}
	workers = slices.DeleteFunc(workers, func(w scanner.Worker) bool { return pool != "" && w.Pool != pool })
	if pool != "" && len(workers) == 0 {
		slices.Sort(pools)
		pools = slices.Compact(pools)
		return nil, fmt.Errorf("no pool %s has workers, but %s%s", pool, listText(pools), didYouMean(pool, pools))
	}
	slices.SortStableFunc(workers, func(a, b scanner.Worker) int {
		return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Instance, b.Instance), cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	return workers, nil
}

// workerRows are workers for people.
func workerRows(workers []scanner.Worker, now time.Time, wide bool) *rows {
	head := []string{"NAME", "POOL", "STATE", "JOB", "MEMORY", "LIMIT", "PEAK", "CPU", "RESTARTS", "OOM", "AGE"}
	if wide {
		head = append(head, "INSTANCE", "PID", "ISOLATION", "LAST EXIT", "IMAGE")
	}
	r := newRows(0, head...)
	for _, w := range workers {
		var restarts int64
		for _, n := range w.Restarts {
			restarts += n
		}
		cells := []string{w.Name, w.Pool, string(w.State), idText(w.Job), memoryText(w.Memory), limitText(&w), memoryText(w.Peak), cpuText(w.CPU),
			fmt.Sprint(restarts), fmt.Sprint(w.Restarts[scanner.RestartOOM]), since(now, w.Started)}
		if wide {
			cells = append(cells, w.Instance, idText(int64(w.PID)), w.Isolation, exitSummary(w.LastExit), w.Image)
		}
		r.add(cells...)
	}
	return r
}

// limitText is a worker's limit, and the one that it will have after a restart.
func limitText(w *scanner.Worker) string {
	text := memoryText(w.Limit)
	if w.Wanted != 0 && w.Wanted != w.Limit {
		text += fmt.Sprintf(" (then %s)", bytesize.Text(w.Wanted))
	}
	return strings.TrimSpace(text)
}

// idText is a number that is 0 where there is none.
func idText(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// cpuText is a share of one processor.
func cpuText(cpu float64) string { return fmt.Sprintf("%.0f%%", cpu*100) }

func exitSummary(e *scanner.Exit) string {
	if e == nil {
		return ""
	}
	return fmt.Sprintf("%d (%s)", e.ExitCode, e.Reason)
}
