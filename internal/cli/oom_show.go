package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/client"
	"stella/internal/oom"
)

// oomShow is "stella oom show".
type oomShow struct {
	app    *app
	agent  *agentFlags
	format string
}

func newOOMShow(a *app, f *agentFlags) *cobra.Command {
	c := &oomShow{app: a, agent: f, format: "text"}
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Say everything about one OOM kill",
		Long: `Say everything about one OOM kill: what was killed and where, which limit fired, what
the memory was used for and by whom, whether a restart shows it, who saw it and how
sure that is, and commands to go on with.

` + agentHelp,
		Example: `  stella oom show 3f9a2c
  stella oom show 3f9a2c -o json | jq .memory`,
		Args:              oneArg("the ID of a kill; stella oom list shows them"),
		ValidArgsFunction: c.complete,
		RunE:              c.run,
	}
	addFormat(cmd, &c.format, textFormats)
	f.add(cmd.Flags())
	return cmd
}

func (c *oomShow) run(cmd *cobra.Command, args []string) error {
	if err := checkFormat(cmd, c.format, textFormats); err != nil {
		return err
	}
	return c.agent.ask(cmd.Context(), c.app, func(ctx context.Context, agent *client.Agent) error {
		kill, err := agent.Kill(ctx, args[0])
		if err != nil {
			return err
		}
		p := killPrinter{kill: &kill, now: time.Now(), width: c.app.resultWidth(), glyphs: c.app.console.glyphs(), agent: c.agent.address}
		if c.format == "text" && kill.Cgroup != "" {
			// The samples are a help, not the result: an agent that no longer has them is no failure.
			p.before, _ = agent.Series(ctx, kill.Cgroup)
		}
		return c.app.show(c.format, kill, p.write)
	})
}

// complete offers the IDs of the newest kills.
func (c *oomShow) complete(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var ids []string
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	// Without an answer there is nothing to offer.
	_ = c.agent.ask(ctx, c.app, func(ctx context.Context, agent *client.Agent) error {
		kills, err := agent.Kills(ctx, oom.Filter{Limit: maxOffered})
		for i := range kills {
			k := &kills[i]
			ids = append(ids, cobra.CompletionWithDesc(k.ID, oneLine(placeText(k)+" "+victimText(k))))
		}
		return err
	})
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// maxOffered is as many kills as a shell can usefully offer.
const maxOffered = 50

// killPrinter writes one kill for people.
type killPrinter struct {
	kill   *oom.Kill
	before []oom.Sample // of the victim's cgroup, the oldest first; also later ones
	now    time.Time
	width  int
	glyphs glyphs
	agent  string // as --agent names it
}

func (p *killPrinter) write(w io.Writer) error {
	k := p.kill
	f := newFields(w)
	f.line("Kill "+printable(k.ID), summaryText(k))
	f.line("Time", p.timeText())
	f.line("Killed", killedText(k))
	p.whose(f)
	p.limit(f)
	f.line("Memory before", p.curve())
	f.line("Asked for memory", k.Invoker)
	if k.Group != 0 {
		f.line("Group kill", fmt.Sprintf("the kernel killed the whole cgroup (memory.oom.group); it chose process %d", k.Group))
	}
	f.line("Restart", survivalText(k))
	f.line("Seen by", witnessesText(k.Witnesses))
	f.line("Confidence", string(k.Confidence))
	f.line("Doubt", k.Doubt)
	if err := f.flush(); err != nil {
		return err
	}
	for _, r := range []*rows{p.memory(), p.tasks()} {
		if r == nil {
			continue
		}
		fmt.Fprintln(w)
		if err := r.write(w, p.width, p.glyphs.ellipsis); err != nil {
			return err
		}
	}
	if k.TasksLeftOut > 0 {
		fmt.Fprintf(w, "and %s\n", countOf(int64(k.TasksLeftOut), "smaller task"))
	}
	fmt.Fprintln(w, "\nGo on with:")
	for _, command := range nextCommands(k, p.agent) {
		fmt.Fprintln(w, "  "+command)
	}
	return nil
}
