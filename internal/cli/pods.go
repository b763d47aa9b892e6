package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/client"
	"stella/internal/oom"
)

// podsLast is how far back "stella pods" counts kills, unless it is told.
const podsLast = span(7 * day)

// podsCommand is "stella pods".
type podsCommand struct {
	app       *app
	agent     agentFlags
	cluster   clusterFlags
	format    string
	namespace string
	all       bool
	last      span
	bare      bool
}

func newPods(a *app) *cobra.Command {
	c := &podsCommand{app: a, format: "table", last: podsLast}
	cmd := &cobra.Command{
		Use: "pods [NAME]", Aliases: []string{"pod", "po"},
		Short: "List pods, with the OOM kills that their status does not show",
		Long: `List pods as kubectl get pods does, and beside that the OOM kills in them. HIDDEN are kills
that the container's first process lived through: no restart and no status shows them.
A + says that there may be more, a ? that nobody saw it, or that this agent is not the one
of the pod's node. Pods that are gone, but had kills, are listed as Gone.

Pods come from Kubernetes where a kubeconfig is found, as kubectl finds it, or where this
runs in a pod; else they are what the agent sees on its node, without restarts and age.

` + agentHelp,
		Example: `  stella pods -n kured
  stella pods -A --last 24h
  stella pods -A -o json | jq '.[] | select(.kills.hidden > 0) | .name'`,
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.StringVarP(&c.namespace, "namespace", "n", "", "only pods of this `namespace` (default that of the kubeconfig)")
	flags.BoolVarP(&c.all, "all-namespaces", "A", false, "pods of all namespaces")
	flags.Var(&c.last, "last", "count kills of so much time, such as 30m, 24h or 7d")
	c.cluster.add(flags)
	c.agent.add(flags)
	addFormat(cmd, &c.format, nameFormats)
	addNoHeaders(flags, &c.bare)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) > 1:
			return usagef(cmd, "%q takes the name of one pod, but got %q as well", cmd.CommandPath(), args[1])
		case c.all && c.namespace != "":
			return usagef(cmd, "--namespace and --all-namespaces contradict each other")
		}
		return checkFormat(cmd, c.format, nameFormats)
	}
	return cmd
}

func (c *podsCommand) run(cmd *cobra.Command, args []string) error {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	ctx, now := cmd.Context(), time.Now()
	seen, agentErr := c.askAgent(ctx, now.Add(-time.Duration(c.last)))
	listed, err := c.cluster.pods(ctx, c.app, c.namespace, c.all, name)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && agentErr != nil && errors.Is(err, errNoCluster):
		return agentErr
	case err != nil && agentErr != nil:
		return fmt.Errorf("%w; and nobody else knows pods: %w", err, agentErr)
	case err != nil:
		if !errors.Is(err, errNoCluster) {
			c.app.warn(fmt.Sprintf("Kubernetes was not read, so these are the pods that the agent sees: %v", err))
		}
		listed = podList{lines: agentPods(seen.usage), namespace: c.namespace}
	case agentErr != nil:
		c.app.warn(fmt.Sprintf("kills are not known: %v", agentErr))
	}
	c.app.warn(witnessWarnings(&seen.status)...)
	pods := withKills(listed.lines, seen.status.Node, seen.usage, seen.kills)
	pods = slices.DeleteFunc(pods, func(l podLine) bool {
		return listed.namespace != "" && l.Namespace != listed.namespace || name != "" && l.Name != name
	})
	slices.SortStableFunc(pods, func(a, b podLine) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return c.show(pods, listed.namespace, name, now)
}

func (c *podsCommand) show(pods []podLine, namespace, name string, now time.Time) error {
	where := ""
	if namespace != "" {
		where = " in namespace " + namespace
	}
	if len(pods) == 0 {
		if name != "" {
			return fmt.Errorf("there is no pod %q%s", name, where)
		}
		c.app.note("there are no pods%s", where)
		if c.format != "json" && c.format != "yaml" {
			return nil
		}
	}
	return c.app.show(c.format, list(pods), c.text(pods, namespace, now))
}

// text writes pods for people, or their names as kubectl has them.
func (c *podsCommand) text(pods []podLine, namespace string, now time.Time) func(io.Writer) error {
	if c.format == "name" {
		return writeNames(pods, func(p *podLine) string { return "pod/" + cmp.Or(p.Name, p.UID) })
	}
	r := podRows(pods, now, namespace == "", c.format == "wide")
	r.bare = c.bare
	return c.app.table(c.format, r)
}

// agentSees is what an agent knows of pods.
type agentSees struct {
	status oom.AgentStatus
	usage  []oom.Usage
	kills  []oom.Kill
}

func (c *podsCommand) askAgent(ctx context.Context, since time.Time) (agentSees, error) {
	var seen agentSees
	err := c.agent.ask(ctx, c.app, func(ctx context.Context, agent *client.Agent) (err error) {
		if seen.status, err = agent.Status(ctx); err != nil {
			return err
		}
		if seen.usage, err = agent.Usage(ctx); err != nil {
			return err
		}
		// Of all namespaces: a kill that was attributed by its cgroup alone has a pod's UID and no name.
		seen.kills, err = agent.Kills(ctx, oom.Filter{Since: since})
		return err
	})
	if err != nil {
		return agentSees{}, err
	}
	return seen, nil
}
