package cli

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/client"
	"stella/internal/explain"
	"stella/internal/oom"
	"stella/internal/scanner"
)

// maxExplained is how many kills of one container are looked at, the newest.
const maxExplained = 200

// explainCommand is "stella explain".
type explainCommand struct {
	app    *app
	agent  agentFlags
	format string
	since  span
	table  samplesFlags
	flame  string
	asked  *oom.Kill // where it was asked for a kill
}

func newExplain(a *app) *cobra.Command {
	c := &explainCommand{app: a, format: "text", since: span(time.Hour)}
	cmd := &cobra.Command{
		Use:   "explain KILL|INCIDENT|POD|CONTAINER|CGROUP | --samples FILE [NAME]",
		Short: "Say why something ran, or will run, out of memory",
		Long: `Say why a container of this node ran out of memory, or whether it will: the likely causes with
what speaks for and against each, when it reaches its limit, and which limit would do. It is asked
for by the ID of a kill or of an incident, the name of a pod (NAMESPACE/POD) or container, or the
path of a cgroup.

Where the agent may ask the application, what it counts and its heap profiles are looked at, too
(docs/agent.md says how to allow it); --flame draws what grew between two of them.

"cannot tell" is an answer, too, with what to collect. docs/causes.md defines each cause.

With --samples it explains what you have at hand, and asks no agent: what free, kubectl top pod,
docker stats, crictl stats or dstat printed in a loop, or lines of TIME,BYTES. Dates between or
before the readings tell their times; without them --every does. Of several pods or containers name
one. Tables have no kinds of memory and no kills, so that less can be told.

` + agentHelp,
		Example: `  stella explain 3f9a2c
  stella explain shop/web-7d9c -o json | jq '.findings[0]'
  stella explain /system.slice/db.service --since 6h
  stella explain shop/web-7d9c --flame heap.svg
  while sleep 5; do date; free -m; done | tee log; stella explain --samples log --unit M
  while sleep 5; do date; kubectl top pod -n shop; done > log; stella explain --samples log web-1 --limit 512Mi
  stella explain --samples docker-stats.txt --every 1s`,
		Args: c.args,
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.Var(&c.since, "since", "how far to look back, such as 6h")
	flags.StringVar(&c.flame, "flame", "", "write a flame graph of the growth of its Go heap to `FILE`, an SVG")
	addFormat(cmd, &c.format, textFormats)
	c.table.add(cmd)
	c.agent.add(flags)
	return cmd
}

// args are one, and none is needed where a file has one thing only.
func (c *explainCommand) args(cmd *cobra.Command, args []string) error {
	if err := c.table.check(cmd); err != nil {
		return err
	}
	if c.table.file != "" && len(args) == 0 {
		return nil
	}
	return oneArg("what to explain: the ID of a kill (stella oom list), or a pod or container (stella top containers)")(cmd, args)
}

func (c *explainCommand) run(cmd *cobra.Command, args []string) error {
	if err := checkFormat(cmd, c.format, textFormats); err != nil {
		return err
	}
	if c.table.file != "" {
		in, err := c.table.input(cmd.Context(), c.app, strings.Join(args, ""))
		if err != nil {
			return err
		}
		return c.show(in)
	}
	if ok, err := c.explainIncident(cmd.Context(), args[0]); ok {
		return err
	}
	return c.agent.ask(cmd.Context(), c.app, func(ctx context.Context, agent *client.Agent) error {
		in, cgroups, err := c.input(ctx, agent, args[0], time.Now())
		if err != nil {
			return err
		}
		if err := c.askApplication(ctx, agent, cgroups, &in); err != nil {
			return err
		}
		return c.show(in)
	})
}

func (c *explainCommand) show(in explain.Input) error {
	report := explain.Explain(in)
	return c.app.show(c.format, report, (&explanation{&report, in.Now}).write)
}

// input asks the agent for what it knows of the thing that a name means. It was in some cgroups, one after the other; the last is the one that is meant.
func (c *explainCommand) input(ctx context.Context, agent *client.Agent, name string, now time.Time) (in explain.Input, cgroups []string, err error) {
	in.Now = now
	usage, err := agent.Usage(ctx)
	if err != nil {
		return in, nil, err
	}
	cgroup, err := c.find(ctx, agent, name, usage, &in)
	if err != nil {
		return in, nil, err
	}
	begin := now.Add(-time.Duration(c.since))
	if cgroups, err = c.history(ctx, agent, cgroup, usage, &in); err != nil {
		return in, nil, err
	}
	in.Samples = slices.DeleteFunc(in.Samples, func(s oom.Sample) bool { return s.Time.Before(begin) })
	kills, err := agent.Kills(ctx, oom.Filter{Since: begin, Limit: maxExplained})
	if err != nil {
		return in, nil, err
	}
	for _, k := range kills {
		asked := slices.ContainsFunc(in.Kills, func(known oom.Kill) bool { return known.ID == k.ID })
		ours := slices.ContainsFunc(cgroups, func(of string) bool { return within(k.Cgroup, of) })
		if !asked && (ours || k.Limit.Scope == oom.ScopeNode) {
			in.Kills = append(in.Kills, k)
		}
	}
	if len(in.Samples) == 0 && len(in.Kills) == 0 {
		return in, nil, fmt.Errorf("this agent knows nothing of %s: neither samples nor kills of the last %s; see: stella top containers -o wide, stella oom list", quoteIfOdd(name), c.since.String())
	}
	err = in.AddNeighbours(usage, cgroups, func(cgroup string) ([]oom.Sample, error) { return agent.Series(ctx, cgroup) })
	return in, cgroups, err
}

// find finds the cgroup that a name means, and what is known with it.
func (c *explainCommand) find(ctx context.Context, agent *client.Agent, name string, usage []oom.Usage, in *explain.Input) (cgroup string, err error) {
	if strings.HasPrefix(name, "/") {
		cgroup = path.Clean(name)
		if mounted, ok := strings.CutPrefix(cgroup, "/sys/fs/cgroup/"); ok { // as a shell completes it
			cgroup = "/" + strings.TrimPrefix(mounted, "memory/")
		}
		for i := range usage {
			if usage[i].Cgroup == cgroup {
				in.Container = usage[i].Container
			}
		}
		return cgroup, nil
	}
	kill, err := agent.Kill(ctx, name)
	switch {
	case err == nil && kill.Cgroup == "":
		in.Kills = []oom.Kill{kill}
		return "", fmt.Errorf("of kill %s it is not known in which cgroup it was, so there are no samples to explain it by; see: stella oom show %s", name, name)
	case err == nil:
		c.asked, in.Kills, in.Container = &kill, []oom.Kill{kill}, kill.Container
		return kill.Cgroup, nil
	case !errors.Is(err, scanner.ErrNotFound):
		return "", err
	}
	return chooseContainer(name, usage, in)
}

// chooseContainer finds the container, or the pod with one container, of that name.
func chooseContainer(name string, usage []oom.Usage, in *explain.Input) (cgroup string, err error) {
	var found []oom.Usage
	for _, u := range usage {
		where := whereText(&u.Container, u.Cgroup)
		if where == name || strings.HasPrefix(where, name+"/") || u.Container.Pod == name || containerText(&u.Container) == name {
			found = append(found, u)
		}
	}
	// Those that run come before those that ended under the same name.
	running := slices.DeleteFunc(slices.Clone(found), func(u oom.Usage) bool { return !u.Gone.IsZero() })
	if len(running) > 0 {
		found = running
	}
	if len(found) == 0 {
		return "", fmt.Errorf("there is no kill, pod or container %s on this node; see: stella oom list, stella top containers", quoteIfOdd(name))
	}
	if len(found) > 1 {
		var names []string
		for i := range found[:min(len(found), maxOffered)] {
			names = append(names, whereText(&found[i].Container, found[i].Cgroup))
		}
		return "", fmt.Errorf("%s means %s: %s; name one of them, or its cgroup", quoteIfOdd(name), countOf(int64(len(found)), "container"), oneLine(strings.Join(names, ", ")))
	}
	in.Container = found[0].Container
	return found[0].Cgroup, nil
}

// within reports whether a cgroup is another one, or below it.
func within(cgroup, of string) bool { return cgroup == of || strings.HasPrefix(cgroup, of+"/") }
