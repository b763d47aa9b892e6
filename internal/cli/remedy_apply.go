package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/client"
	"stella/internal/remedy"
)

// remedyApply is "stella remedy apply".
type remedyApply struct {
	app      *app
	flags    *remedyFlags
	approval approvalFlags
	verify   verifyFlags
	format   string
	step     int
	wait     span
	policy   bool
}

func newRemedyApply(a *app, f *remedyFlags) *cobra.Command {
	c := &remedyApply{app: a, flags: f, format: "text", wait: span(2 * time.Minute)}
	cmd := &cobra.Command{
		Use:   "apply PLAN-FILE --step N",
		Short: "Try a step of a plan on the server, or make it",
		Long: `Try a step of a plan: the server checks it, with all its admission, and keeps nothing. With --approve
and --reason it is made, and read back: from the API, and from the cgroups of the container and of its pod.

It is refused where the target is not as the plan saw it, and where another tool (Argo CD, Flux, Helm,
kubectl apply) declares the same field and would take it back. With --rollback-if-not-held it stays to see
whether it holds, and takes it back if it does not: that is approved beforehand.

` + remedyHelp,
		Example: `  stella remedy apply plan.json --step 1
  stella remedy apply plan.json --step 1 --approve --reason "OOM storm"
  stella remedy apply plan.json --step 2 --approve --reason "OOM storm" --rollback-if-not-held --window 30m`,
		Args: oneArg("a plan: the file with what stella remedy plan -o json wrote"),
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.IntVar(&c.step, "step", 0, "the `number` of the step")
	flags.Var(&c.wait, "wait", "how long to wait until the change is in force")
	flags.BoolVar(&c.policy, "rollback-if-not-held", false, "stay for --window, and take the step back if it does not hold")
	c.approval.add(flags)
	c.verify.add(flags)
	addFormat(cmd, &c.format, textFormats)
	return cmd
}

// applied is what became of a step.
type applied struct {
	Plan    string          `json:"plan"`
	Step    *remedy.Step    `json:"step"`
	Change  *remedy.Change  `json:"change"`
	Reading *remedy.Reading `json:"reading,omitempty"`
	Verdict *remedy.Verdict `json:"verdict,omitempty"`
	Back    *remedy.Change  `json:"rolled_back,omitempty"`
}

func (c *remedyApply) run(cmd *cobra.Command, args []string) error {
	err := errors.Join(checkFormat(cmd, c.format, textFormats), c.approval.check(cmd), c.verify.check(cmd))
	if err == nil && c.step == 0 {
		err = usagef(cmd, "say which step: --step 1")
	}
	if err == nil && c.policy && c.approval.tries() {
		err = usagef(cmd, "--rollback-if-not-held is for a change that is made: add --approve")
	}
	if err != nil {
		return err
	}
	plan, err := readPlan(args[0])
	if err != nil {
		return err
	}
	step, err := plan.Step(c.step)
	if err != nil {
		return err
	}
	return c.flags.withCluster(func(cluster *remedy.Cluster) error {
		out := &applied{Plan: plan.ID, Step: step}
		if c.approval.tries() {
			done, err := cluster.Apply(cmd.Context(), step, remedy.Options{DryRun: true, Force: c.approval.force})
			if err != nil {
				return err
			}
			out.Change = &done
			return c.app.show(c.format, out, out.write)
		}
		return c.make(cmd.Context(), cluster, plan, out)
	})
}

// make makes the step that was approved, and reads it back.
func (c *remedyApply) make(ctx context.Context, cluster *remedy.Cluster, plan *remedy.Plan, out *applied) error {
	approval := c.approval.approval(ctx, cluster, plan.ID, out.Step.N)
	approval.RollbackIfNotHeld = c.policy
	return c.flags.work(ctx, cluster, plan, approval.By, func(ctx context.Context, work *remedy.Work) error {
		done, err := work.Apply(ctx, out.Step, approval, remedy.Options{Force: c.approval.force})
		if err != nil {
			return err
		}
		out.Change = &done
		c.app.goOn = "step " + stepOf(plan, out.Step) + " is made: stella remedy verify " + plan.ID + " --watch says whether it holds"
		agent, err := c.flags.agent.client(c.app)
		var node remedy.Node // stays nil where there is no agent
		if err == nil {
			defer agent.Close()
			node = agent
		} else {
			c.app.warn("the kernel's side is not read back: " + err.Error())
		}
		reading, err := work.Read(ctx, out.Step.N, &done, "", node, time.Duration(c.wait))
		if err != nil {
			return err
		}
		out.Reading = &reading
		if c.policy {
			return c.hold(ctx, work, agent, out, approval)
		}
		return c.app.showVerdict(c.format, out, out.write, out.failure(plan))
	})
}

// hold stays to see whether the step holds, and takes it back if it does not.
func (c *remedyApply) hold(ctx context.Context, work *remedy.Work, agent *client.Agent, out *applied, approval remedy.Approval) error {
	if agent == nil {
		return errors.New("the change is made, but nobody can say whether it holds, as no agent can be asked: take it back with stella remedy rollback, or ask with --agent")
	}
	made := &remedy.Made{Step: out.Step.N, Approval: approval, Change: *out.Change, Reading: out.Reading}
	j := &judge{app: c.app, work: work, agent: agent, criteria: c.verify.criteria(), force: c.approval.force}
	err := j.watch(ctx, made)
	out.Verdict, out.Back = made.Verdict, made.Back
	if err != nil {
		return err
	}
	return c.app.showVerdict(c.format, out, out.write, out.failure(work.Plan))
}
