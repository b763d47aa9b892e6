package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/client"
)

// topHelp ends the help of commands that can be watched.
const topHelp = `--watch shows it again and again until Ctrl-C, on a terminal in the same place, and
goes on when the agent was away for a while. Memory is yellow from 80% of the limit and
red from 95%.

` + agentHelp

func newTop(a *app) *cobra.Command {
	f := new(agentFlags)
	return group(&cobra.Command{
		Use:   "top",
		Short: "Show what pods, containers, processes and the node use, and where it goes",
		Long: `Show what pods, containers, processes and the node use now, and the trend: by how much
memory grows a minute, and when it reaches the limit.

` + agentHelp,
		Example: `  stella top pods -n catalog
  stella top containers --sort-by trend --watch
  stella top node --watch`,
	}, newTopPods(a, f), newTopContainers(a, f), newTopProcesses(a, f), newTopNode(a, f))
}

// top is what the commands "stella top …" have in common.
type top struct {
	app       *app
	agent     *agentFlags
	format    string
	formats   []string
	namespace string
	sort      string
	sorts     []string
	bare      bool
	watch     bool
	interval  time.Duration
	// look asks the agent and says what there is to show.
	look func(context.Context, *client.Agent) (view, error)
}

// view is what a command shows of one moment.
type view struct {
	value any    // for programs
	title string // one line, above a table that is shown again and again
	print func(w io.Writer) error
}

// command makes the command cmd of c, with the flags that its fields ask for.
func (c *top) command(cmd *cobra.Command) *cobra.Command {
	c.interval = defaultInterval
	c.format = c.formats[0]
	flags := cmd.Flags()
	if len(c.sorts) > 0 {
		c.sort = c.sorts[0]
		flags.StringVar(&c.sort, "sort-by", c.sort, "`what` the largest of comes first: "+listText(c.sorts))
		flags.StringVarP(&c.namespace, "namespace", "n", "", "only what is in this `namespace`")
		complete(cmd, "sort-by", c.sorts...)
	}
	flags.BoolVarP(&c.watch, "watch", "w", false, "show it again and again, until Ctrl-C")
	flags.DurationVar(&c.interval, "interval", c.interval, "`time` between two looks")
	addFormat(cmd, &c.format, c.formats)
	if slices.Contains(c.formats, "table") {
		addNoHeaders(flags, &c.bare)
	}
	c.agent.add(flags)
	cmd.Args = noArgs
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case c.interval < minInterval:
			return usagef(cmd, "--interval %v: must be at least %v", c.interval, minInterval)
		case len(c.sorts) > 0 && !slices.Contains(c.sorts, c.sort):
			return usagef(cmd, "--sort-by %s: choose %s%s", quoteIfOdd(c.sort), listText(c.sorts), didYouMean(c.sort, c.sorts))
		}
		return checkFormat(cmd, c.format, c.formats)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return c.agent.ask(cmd.Context(), c.app, c.run) }
	return cmd
}

func (c *top) run(ctx context.Context, agent *client.Agent) error {
	look := func(ctx context.Context) (view, error) { return c.look(ctx, agent) }
	first, err := look(ctx)
	switch {
	case err != nil:
		return err
	case !c.watch:
		return c.app.show(c.format, first.value, first.print)
	case c.format == "json" || c.format == "yaml":
		return repeat(ctx, c.interval, first, look, c.again)
	}
	screen := c.app.newLive()
	defer screen.close()
	last := first
	return repeat(ctx, c.interval, first, look, func(now view, err error) error {
		title := now.title
		if err == nil {
			last = now
		} else {
			title = fmt.Sprintf("the agent does not answer, trying again: %v", err)
		}
		return c.draw(screen, title, last)
	})
}

// again shows a view to a program.
func (c *top) again(now view, err error) error {
	if err != nil {
		c.app.note("%v; trying again", err)
		return nil
	}
	return c.app.showAgain(c.format, now.value)
}

// draw shows a view to a person. While the agent is away, it is the last one that there was.
func (c *top) draw(screen *live, title string, v view) error {
	title = oneLine(time.Now().Format(time.TimeOnly) + "  " + title)
	if width := c.app.resultWidth(); width > 0 {
		title = cut(title, width)
	}
	var frame bytes.Buffer
	fmt.Fprintln(&frame, title)
	if err := v.print(&frame); err != nil {
		return err
	}
	return screen.draw(frame.String())
}

// repeat gives what a look showed to show, again and again, until show fails or ctx
// ends, which is how it is meant to end. first is what the first look showed.
func repeat[T any](ctx context.Context, interval time.Duration, first T, look func(context.Context) (T, error), show func(T, error) error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	now, err := first, error(nil)
	for {
		if err := show(now, err); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, err = look(ctx)
		if ctx.Err() != nil {
			return nil
		}
	}
}

// wide says that there is room for bars: they are for people who look on.
func (c *top) wide() bool { return c.watch || c.format == "wide" }

// table prints rows as wide as the terminal, or as wide as they are for -o wide.
func (c *top) table(r *rows) func(io.Writer) error {
	r.bare = c.bare
	return c.app.table(c.format, r)
}
