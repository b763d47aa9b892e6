package cli

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/bytesize"
	"stella/internal/client"
	"stella/internal/explain"
	"stella/internal/incident"
	"stella/internal/kube"
	"stella/internal/oom"
	"stella/internal/remedy"
)

// remedyPlan is "stella remedy plan".
type remedyPlan struct {
	app    *app
	flags  *remedyFlags
	format string
	since  span
	limit  bytesize.Size
}

func newRemedyPlan(a *app, f *remedyFlags) *cobra.Command {
	c := &remedyPlan{app: a, flags: f, format: "text", since: span(time.Hour)}
	cmd := &cobra.Command{
		Use:   "plan INCIDENT|KILL|POD|CONTAINER|CGROUP",
		Short: "Say what could be done, with risk, commands and difference",
		Long: `Say what could be done about what "stella explain" finds: each step with its reason, its risk, the
commands that you could type in its place, what it changes, and how it is taken back. It only reads.

A plan in JSON can be applied: it remembers what it saw, and is of no use any more when that changes. It is
for the incident that is going on with the workload, if the agent knows one, and what is done is told there.

` + remedyHelp,
		Example: `  stella remedy plan 3f9a2c
  stella remedy plan shop/web-7d9c/app -o json > plan.json
  stella remedy plan shop/web-7d9c --limit 512Mi`,
		Args: oneArg("what to plan for: the ID of a kill (stella oom list), or a pod or container (stella top containers)"),
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.Var(&c.since, "since", "how far to look back, such as 6h")
	flags.Var(&c.limit, "limit", "a memory limit of your own in place of the recommended one, such as 512Mi")
	addFormat(cmd, &c.format, textFormats)
	return cmd
}

func (c *remedyPlan) run(cmd *cobra.Command, args []string) error {
	if err := checkFormat(cmd, c.format, textFormats); err != nil {
		return err
	}
	ctx, name := cmd.Context(), args[0]
	about := c.incident(ctx, name)
	show := func(plan remedy.Plan) error {
		return c.app.show(c.format, &plan, (&planText{&plan, args[0]}).write)
	}
	if about != nil {
		if about.Source == incident.SourceWorker || about.Source == incident.SourceCommand {
			return show(remedy.ForService(about, int64(c.limit), time.Now()))
		}
		name = subjectName(&about.Subject)
	}
	return c.flags.agent.ask(ctx, c.app, func(ctx context.Context, agent *client.Agent) error {
		in, err := c.input(ctx, agent, name, about, time.Now())
		if err != nil {
			return err
		}
		return show(remedy.New(in))
	})
}

// incident is the incident of that ID; nil is that the name is of something else.
func (c *remedyPlan) incident(ctx context.Context, name string) (about *incident.Details) {
	if !incidentID.MatchString(name) && !strings.HasPrefix(name, "job-") { // so the scanner calls its own
		return nil
	}
	err := c.flags.incident(ctx, name, func(_ context.Context, _ keeper, d incident.Details) error {
		about = &d
		return nil
	})
	if about == nil && !errors.Is(err, client.ErrNoServer) {
		c.app.note("%s is taken for something else: %v", name, err)
	}
	return about
}

// input asks the agent why, and Kubernetes what there is to change. about is nil where no incident was named.
func (c *remedyPlan) input(ctx context.Context, agent *client.Agent, name string, about *incident.Details, now time.Time) (remedy.Input, error) {
	why := &explainCommand{app: c.app, since: c.since}
	known, cgroups, err := why.input(ctx, agent, name, now)
	if err != nil {
		return remedy.Input{}, err
	}
	if err := why.askApplication(ctx, agent, cgroups, &known); err != nil {
		return remedy.Input{}, err
	}
	in := remedy.Input{Report: explain.Explain(known), Kills: known.Kills, Limit: int64(c.limit), Now: now, Cgroup: cgroups[len(cgroups)-1]}
	if about != nil {
		in.Incident = about.ID
	} else {
		in.Incident = c.going(ctx, agent, &known.Container, in.Cgroup)
	}
	if known.Container.Pod == "" {
		// Where it is not known, the way back is another one.
		if limits, err := agent.Limits(ctx, in.Cgroup); err == nil && len(limits) > 0 {
			in.Report.Container.LimitBytes = limits[0].Bytes
		}
		return in, nil
	}
	err = c.flags.withCluster(func(cluster *remedy.Cluster) error { return c.look(ctx, cluster, &known, &in) })
	if errors.Is(err, errNoCluster) {
		c.app.warn("Kubernetes is not asked, so no step can be made: " + err.Error())
		return in, nil
	}
	return in, err
}

// look reads the objects that a plan is about.
func (c *remedyPlan) look(ctx context.Context, cluster *remedy.Cluster, known *explain.Input, in *remedy.Input) (err error) {
	who := &known.Container
	in.Workload, err = cluster.Workload(ctx, who.Namespace, who.Pod, who.Name)
	if errors.Is(err, kube.ErrNotFound) && who.Workload != "" {
		in.Workload, err = cluster.WorkloadOf(ctx, who.Namespace, who.Workload, who.Name)
	}
	if err != nil || in.Report.Findings[0].Cause != explain.NodeFull {
		return err
	}
	for _, n := range known.Neighbours {
		if n.Container.Pod != "" && n.Container.ID != who.ID && n.Growth > in.CulpritUse.Growth {
			in.CulpritUse = n
		}
	}
	if took := &in.CulpritUse.Container; took.Pod != "" {
		in.Culprit, err = cluster.Workload(ctx, took.Namespace, took.Pod, took.Name)
	}
	return err
}

// subjectName is how the subject of an incident is asked for.
func subjectName(s *incident.Subject) string {
	if s.Pod != "" {
		return strings.TrimSuffix(s.Namespace+"/"+s.Pod+"/"+s.Container, "/")
	}
	return cmp.Or(s.Cgroup, s.Name)
}

// going is the ID of the incident that is going on with a container; empty is none. An agent that keeps no incidents has none.
func (c *remedyPlan) going(ctx context.Context, agent *client.Agent, of *oom.Container, cgroup string) string {
	all, err := agent.Incidents(ctx, incident.Filter{State: incident.Going, Namespace: of.Namespace})
	if err != nil {
		c.app.warn("the plan is for no incident: " + err.Error())
		return ""
	}
	for i := range all {
		s := &all[i].Subject
		same := s.Cgroup == cgroup
		if of.Namespace != "" {
			// One about the limit of a pod is about all of its containers.
			same = s.Namespace == of.Namespace && (s.Container == "" || s.Container == of.Name) && (s.Pod == of.Pod || s.Workload != "" && s.Workload == of.Workload)
		}
		if same {
			return all[i].ID
		}
	}
	return ""
}
