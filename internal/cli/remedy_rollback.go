package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/remedy"
)

// remedyRollback is "stella remedy rollback".
type remedyRollback struct {
	app      *app
	flags    *remedyFlags
	approval approvalFlags
	format   string
	step     int
	wait     span
}

func newRemedyRollback(a *app, f *remedyFlags) *cobra.Command {
	c := &remedyRollback{app: a, flags: f, format: "text", wait: span(2 * time.Minute)}
	cmd := &cobra.Command{
		Use:   "rollback PLAN",
		Short: "Take back a step that was made",
		Long: `Take back a step that was made: each value becomes what it was before, by the audit log. It is refused
where somebody changed it since. Like apply it is only tried until it is given --approve and --reason.
PLAN is the ID of a plan, or its file.

` + remedyHelp,
		Example: `  stella remedy rollback 3f9a2c1b4d5e
  stella remedy rollback plan.json --step 1 --approve --reason "it did not help"`,
		Args: oneArg("a plan: its ID, or its file"),
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.IntVar(&c.step, "step", 0, "the `number` of the step (default the one that was made last)")
	flags.Var(&c.wait, "wait", "how long to wait until the change is in force")
	c.approval.add(flags)
	addFormat(cmd, &c.format, textFormats)
	return cmd
}

func (c *remedyRollback) run(cmd *cobra.Command, args []string) error {
	if err := errors.Join(checkFormat(cmd, c.format, textFormats), c.approval.check(cmd)); err != nil {
		return err
	}
	plan, made, err := c.flags.recall(args[0], c.step)
	if err != nil {
		return err
	}
	step, err := plan.Step(made.Step)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	return c.flags.withCluster(func(cluster *remedy.Cluster) error {
		out := &applied{Plan: plan.ID, Step: step}
		o := remedy.Options{DryRun: c.approval.tries(), Force: c.approval.force}
		if o.DryRun {
			if !step.Reversible() {
				return errors.New("step " + stepOf(plan, step) + " cannot be taken back: " + step.Undo)
			}
			back, err := cluster.Rollback(ctx, &made.Change, o)
			if err != nil {
				return err
			}
			out.Back = &back
			return c.app.show(c.format, out, out.write)
		}
		return c.back(ctx, cluster, plan, made, out)
	})
}

// back takes the step back, as was approved, and reads that back.
func (c *remedyRollback) back(ctx context.Context, cluster *remedy.Cluster, plan *remedy.Plan, made *remedy.Made, out *applied) error {
	approval := c.approval.approval(ctx, cluster, plan.ID, out.Step.N)
	return c.flags.work(ctx, cluster, plan, approval.By, func(ctx context.Context, work *remedy.Work) error {
		back, err := work.Rollback(ctx, out.Step.N, &made.Change, approval, remedy.Options{Force: c.approval.force})
		if err != nil {
			return err
		}
		out.Back = &back
		var node remedy.Node // stays nil where there is no agent
		if agent, err := c.flags.agent.client(c.app); err == nil {
			defer agent.Close()
			node = agent
		} else {
			c.app.warn("the kernel's side is not read back: " + err.Error())
		}
		reading, err := work.Read(ctx, out.Step.N, &back, "", node, time.Duration(c.wait))
		if err != nil {
			return err
		}
		out.Reading = &reading
		return c.app.showVerdict(c.format, out, out.write, out.failure(plan))
	})
}
