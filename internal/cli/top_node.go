package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/bytesize"
	"stella/internal/client"
	"stella/internal/oom"
)

const (
	// nodeHistory are the moments that a watch keeps: with the rest, they fit a terminal of 24 lines.
	nodeHistory = 10
	// growing are the containers that a watch names.
	growing = 5
)

func newTopNode(a *app, f *agentFlags) *cobra.Command {
	c := &top{app: a, agent: f, formats: textFormats}
	w := &nodeWatch{top: c}
	c.look = w.look
	return c.command(&cobra.Command{
		Use: "node", Aliases: []string{"nodes", "no"},
		Short: "Show what the node uses, where its memory goes, and when none is left",
		Long: `Show what the node uses. Memory that is used is what no process could have now; page cache
is not counted, since the kernel takes it back. When available memory falls, the page
cache goes first: then files are read from disk again and again, and at the end the OOM
killer comes.

With --watch it shows the last moments, one below the other, which containers grow
fastest, and the OOM kills since it began.

` + topHelp,
		Example: `  stella top node
  stella top node --watch --interval 1s
  stella top node -o json | jq .available`,
	})
}

// nodeWatch keeps the last moments of a node.
type nodeWatch struct {
	top     *top
	history []oom.NodeUsage // the newest first, at most [nodeHistory]
	first   oom.NodeUsage   // when the watch began
}

func (w *nodeWatch) look(ctx context.Context, agent *client.Agent) (view, error) {
	node, err := agent.Node(ctx)
	if err != nil {
		return view{}, err
	}
	if !w.top.watch {
		status, err := agent.Status(ctx)
		if err != nil {
			return view{}, err
		}
		w.top.app.warn(witnessWarnings(&status)...)
	}
	if !w.top.watch || w.top.format != "text" {
		return view{value: node, print: func(out io.Writer) error { return writeNode(out, &node, w.top.app.console.glyphs()) }}, nil
	}
	usage, err := agent.Usage(ctx)
	if err != nil {
		return view{}, err
	}
	w.add(node)
	usage = slices.DeleteFunc(usage, func(u oom.Usage) bool { return !u.Gone.IsZero() || u.Trend < 1<<10 })
	containerFigures.sort(usage, "trend")
	usage = usage[:min(growing, len(usage))]
	return view{value: node, title: nodeTitle(&node), print: func(out io.Writer) error { return w.write(out, usage) }}, nil
}

func (w *nodeWatch) add(node oom.NodeUsage) {
	if w.first.Time.IsZero() {
		w.first = node
	}
	w.history = slices.Insert(w.history, 0, node)
	w.history = w.history[:min(nodeHistory, len(w.history))]
}

// write writes the frame of a watch.
func (w *nodeWatch) write(out io.Writer, usage []oom.Usage) error {
	now, app := &w.history[0], w.top.app
	g := app.console.glyphs()
	line := fmt.Sprintf("memory %s  CPU %.0f%%  OOM kills %s", memoryBar(nodeUsed(now), now.Total, g), cpuShare(now), countText(now.Kills))
	if n := now.Kills - w.first.Kills; n > 0 {
		line += fmt.Sprintf(" (+%s)", countText(n))
	}
	if width := app.resultWidth(); width > 0 {
		line = cut(line, width)
	}
	fmt.Fprintf(out, "%s\n\n", line)
	if err := historyRows(w.history).write(out, app.resultWidth(), g.ellipsis); err != nil || len(usage) == 0 {
		return err
	}
	r := newRows(0, "GROWS FASTEST", "MEMORY", "LIMIT", "TREND", "FULL IN", "DISK")
	for i := range usage {
		u := &usage[i]
		r.add(whereText(&u.Container, u.Cgroup), knownBytes(u.Sample.WorkingSet), limitOrNone(u.Sample.Limit), trendText(u.Trend),
			untilLimit(u.Sample.WorkingSet, u.Sample.Limit, u.Trend), knownBytes(u.Disk))
	}
	fmt.Fprintln(out)
	return r.write(out, app.resultWidth(), g.ellipsis)
}

// historyRows are moments of a node for people.
func historyRows(history []oom.NodeUsage) *rows {
	r := newRows(0, "TIME", "USED", "CACHE", "BUFFERS", "FREE", "AVAILABLE", "SWAP", "PRESSURE", "KILLS")
	for i := range history {
		n := &history[i]
		r.add(n.Time.Local().Format(time.TimeOnly), bytesize.Text(nodeUsed(n)), bytesize.Text(n.Cached), bytesize.Text(n.Buffers), bytesize.Text(n.Free),
			bytesize.Text(n.Available), bytesize.Text(n.SwapTotal-n.SwapFree), pressureText(n.PressureSome), countText(n.Kills))
	}
	return r
}

// nodeUsed is the memory that no process could have now.
func nodeUsed(n *oom.NodeUsage) int64 { return n.Total - n.Available }

// nodeTitle says where a node's memory goes, in a sentence.
func nodeTitle(n *oom.NodeUsage) string {
	until := untilText(n.Available, -n.Trend)
	switch {
	case until != "":
		return fmt.Sprintf("%s: available memory falls by %s a minute, none left in %s", n.Name, bytesize.Text(-n.Trend), until)
	case n.Trend <= -1<<10:
		return fmt.Sprintf("%s: available memory falls by %s a minute", n.Name, bytesize.Text(-n.Trend))
	case n.Trend >= 1<<10:
		return fmt.Sprintf("%s: available memory grows by %s a minute", n.Name, bytesize.Text(n.Trend))
	}
	return n.Name + ": available memory is steady"
}

// cpuShare is how much of all processors is in use, in percent.
func cpuShare(n *oom.NodeUsage) float64 { return n.Cores / float64(max(n.CPUs, 1)) * 100 }

func swapText(n *oom.NodeUsage) string {
	if n.SwapTotal == 0 {
		return "none"
	}
	return fmt.Sprintf("%s of %s", bytesize.Text(n.SwapTotal-n.SwapFree), bytesize.Text(n.SwapTotal))
}

// pressureText is a share of time in percent, below 0 where it is not known.
func pressureText(percent float64) string {
	if percent < 0 {
		return ""
	}
	return fmt.Sprintf("%.1f%%", percent)
}

// writeNode writes what a node uses for people.
func writeNode(w io.Writer, n *oom.NodeUsage, g glyphs) error {
	f := newFields(w)
	f.line("Node", n.Name)
	f.line("CPU", fmt.Sprintf("%.2f of %s (%.0f%%)", n.Cores, countOf(int64(n.CPUs), "core"), cpuShare(n)))
	f.line("Memory", memoryBar(nodeUsed(n), n.Total, g))
	f.line("Available", bytesize.Text(n.Available)+", "+trendText(n.Trend))
	f.line("None left in", untilText(n.Available, -n.Trend))
	f.line("Free", bytesize.Text(n.Free))
	f.line("Page cache", bytesize.Text(n.Cached))
	f.line("Buffers", bytesize.Text(n.Buffers))
	f.line("Slab", bytesize.Text(n.Slab))
	f.line("Swap", swapText(n))
	if n.PressureSome >= 0 {
		f.line("Memory pressure", fmt.Sprintf("some waited %s, all waited %s of the last 10 s", pressureText(n.PressureSome), pressureText(n.PressureFull)))
	} else {
		f.line("Memory pressure", "not known: the kernel tells none (PSI)")
	}
	if n.DiskTotal > 0 {
		f.line("Disk of containers", fmt.Sprintf("%s free of %s", bytesize.Text(n.DiskFree), bytesize.Text(n.DiskTotal)))
	}
	if n.InodesTotal > 0 {
		f.line("Inodes", fmt.Sprintf("%s free of %s", countText(n.InodesFree), countText(n.InodesTotal)))
	}
	f.line("OOM kills", countText(n.Kills)+" since boot")
	f.line("A kill takes", fmt.Sprintf("all of a container's processes in %d containers, one in %d, not known of %d", n.GroupKill[0], n.GroupKill[1], n.GroupKill[2]))
	return f.flush()
}
