package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/bytesize"
	"stella/internal/client"
	"stella/internal/scanner"
)

const (
	defaultInterval = 2 * time.Second
	minInterval     = 100 * time.Millisecond
	barWidth        = 10
	// The shares of a limit that check.scanner.memory-usage warns of, and fails at.
	highMemory, fullMemory = 0.80, 0.95
)

// workersStats is "stella scanner workers stats".
type workersStats struct {
	app      *app
	server   *serverFlags
	format   string
	pool     string
	watch    bool
	interval time.Duration
}

func newScannerWorkersStats(a *app, f *serverFlags) *cobra.Command {
	c := &workersStats{app: a, server: f, format: "table", interval: defaultInterval}
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Show what each worker does and how much of its memory it uses, also live",
		Long: `Show each worker's state and job, its memory against its limit, its use of the
processor, and how far its scan is.

--watch shows it again and again until Ctrl-C, on a terminal in the same place, and
goes on when the server was away for a while. Memory is yellow from 80% of the
limit and red from 95%.`,
		Example: `  stella scanner workers stats
  stella scanner workers stats --watch --interval 1s
  stella scanner workers stats -o json | jq '.[] | {name, memory, limit}'`,
		Args: noArgs,
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.BoolVarP(&c.watch, "watch", "w", false, "show it again and again, until Ctrl-C")
	flags.DurationVar(&c.interval, "interval", c.interval, "`time` between two looks")
	flags.StringVar(&c.pool, "pool", "", "only workers of this `pool`")
	formats := []string{"table", "json", "yaml"}
	addFormat(cmd, &c.format, formats)
	completePools(cmd, "pool", a, f)
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if c.interval < minInterval {
			return usagef(cmd, "--interval %v: must be at least %v", c.interval, minInterval)
		}
		return checkFormat(cmd, c.format, formats)
	}
	return cmd
}

func (c *workersStats) run(cmd *cobra.Command, _ []string) error {
	service, err := c.server.client(c.app)
	if err != nil {
		return err
	}
	workers, err := c.look(cmd.Context(), service)
	switch {
	case err != nil:
		return err
	case c.format != "table" && !c.watch:
		return c.app.show(c.format, list(workers), nil)
	case c.format != "table":
		return c.repeat(cmd.Context(), service, workers, func(workers []scanner.Worker, err error) error {
			if err != nil {
				c.app.note("%v; trying again", err)
				return nil
			}
			return c.app.showAgain(c.format, list(workers))
		})
	case !c.watch:
		return c.app.result(func(w io.Writer) error { return c.table(w, workers) })
	}
	return c.live(cmd.Context(), service, workers)
}

func (c *workersStats) look(ctx context.Context, service *client.Client) ([]scanner.Worker, error) {
	workers, err := service.Workers(ctx)
	if err != nil {
		return nil, err
	}
	return ofPool(workers, c.pool)
}

// repeat gives what a look showed to fn, again and again, until fn fails or the
// command is interrupted, which is how it is meant to end.
func (c *workersStats) repeat(ctx context.Context, service *client.Client, workers []scanner.Worker, fn func([]scanner.Worker, error) error) error {
	tick := time.NewTicker(c.interval)
	defer tick.Stop()
	var err error
	for {
		if err := fn(workers, err); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		workers, err = c.look(ctx, service)
		if ctx.Err() != nil {
			return nil
		}
	}
}

// live shows the table until the command is interrupted.
func (c *workersStats) live(ctx context.Context, service *client.Client, workers []scanner.Worker) error {
	view := c.app.newLive()
	defer view.close()
	last := workers
	return c.repeat(ctx, service, workers, func(workers []scanner.Worker, err error) error {
		now := time.Now().Format(time.TimeOnly)
		title := fmt.Sprintf("%s  %s", now, workersSummary(workers))
		if err == nil {
			last = workers
		} else {
			title = fmt.Sprintf("%s  the server does not answer, trying again: %v", now, err)
		}
		var frame bytes.Buffer
		title = oneLine(title)
		if width := c.app.resultWidth(); width > 0 {
			title = cut(title, width)
		}
		fmt.Fprintln(&frame, title)
		if err := c.table(&frame, last); err != nil {
			return err
		}
		return view.draw(frame.String())
	})
}

func (c *workersStats) table(w io.Writer, workers []scanner.Worker) error {
	g := c.app.console.glyphs()
	return statsRows(workers, g, c.app.resultColor()).write(w, c.app.resultWidth(), g.ellipsis)
}

// workersSummary is what all workers do, in a line.
func workersSummary(workers []scanner.Worker) string {
	var busy, memory, limit int64
	for _, w := range workers {
		if w.Job != 0 {
			busy++
		}
		memory, limit = memory+w.Memory, limit+w.Limit
	}
	return fmt.Sprintf("%s, %d busy, %s of %s", countOf(int64(len(workers)), "worker"), busy, bytesize.Text(memory), bytesize.Text(limit))
}

// memoryColumn is the column of [statsRows] that has a colour.
const memoryColumn = 3

// statsRows are workers and their memory for people.
func statsRows(workers []scanner.Worker, g glyphs, color bool) *rows {
	r := newRows(7, "NAME", "STATE", "JOB", "MEMORY", "CPU", "LAYERS", "READ", "NOW")
	for _, w := range workers {
		layers, read, now := "", "", ""
		if p := &w.Progress; w.Job != 0 {
			if p.Layers > 0 {
				layers = fmt.Sprintf("%d/%d", p.Done, p.Layers)
			}
			if p.Total > 0 {
				read = percent(p.Read, p.Total)
			}
			now = activityText(p)
		}
		r.add(w.Name, string(w.State), idText(w.Job), memoryBar(w.Memory, w.Limit, g), cpuText(w.CPU), layers, read, now)
	}
	if color {
		r.paint = func(row, column int, text string) string {
			if column != memoryColumn {
				return text
			}
			return heat(workers[row].Memory, workers[row].Limit, text)
		}
	}
	return r
}

// activityText is what a worker reads now.
func activityText(p *scanner.Progress) string {
	if p.Layer < 0 || p.Path == "" {
		return p.Phase
	}
	return fmt.Sprintf("layer %d: %s", p.Layer, p.Path)
}

// memoryBar is memory against its limit, as a bar and in figures of fixed width.
func memoryBar(n, limit int64, g glyphs) string {
	if limit <= 0 {
		return memoryText(n)
	}
	full := g.levels[len(g.levels)-1]
	filled := int(min((n*barWidth+limit/2)/limit, barWidth))
	bar := strings.Repeat(full, filled) + strings.Repeat(g.empty, barWidth-filled)
	return fmt.Sprintf("%s %4s %9s of %s", bar, percent(n, limit), bytesize.Text(n), bytesize.Text(limit))
}

// heat colours memory that comes near its limit.
func heat(n, limit int64, text string) string {
	switch share := float64(n) / float64(max(limit, 1)); {
	case share >= fullMemory:
		return "\x1b[31m" + text + "\x1b[0m"
	case share >= highMemory:
		return "\x1b[33m" + text + "\x1b[0m"
	}
	return text
}
