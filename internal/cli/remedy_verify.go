package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"stella/internal/client"
	"stella/internal/remedy"
)

const (
	// lookEvery is the pause between two looks, and looksAtLeast how many there are in a short window.
	lookEvery, looksAtLeast = 10 * time.Second, 20
	// readAgain is how long a change that was not in force is waited for at a look.
	readAgain = 5 * time.Second
	// afterWindow is how long the last samples take to come.
	afterWindow = 15 * time.Second
)

// verifyFlags are the criteria of "it held".
type verifyFlags struct {
	window span
	share  int
}

func (f *verifyFlags) add(flags *pflag.FlagSet) {
	f.window, f.share = span(10*time.Minute), int(100*remedy.DefaultShare)
	flags.Var(&f.window, "window", "how long it has to hold, from when it is in force")
	flags.IntVar(&f.share, "below", f.share, "how many `percent` of the limit the working set has to be below, for 99 % of the time")
}

func (f *verifyFlags) check(cmd *cobra.Command) error {
	if f.share < 1 || f.share > 100 {
		return usagef(cmd, "--below %d: a share of the limit is from 1 to 100 percent", f.share)
	}
	return nil
}

func (f *verifyFlags) criteria() remedy.Criteria {
	return remedy.Criteria{Window: time.Duration(f.window), MaxShare: float64(f.share) / 100}
}

// remedyVerify is "stella remedy verify".
type remedyVerify struct {
	app    *app
	flags  *remedyFlags
	verify verifyFlags
	format string
	step   int
	watch  bool
}

func newRemedyVerify(a *app, f *remedyFlags) *cobra.Command {
	c := &remedyVerify{app: a, flags: f, format: "text"}
	cmd := &cobra.Command{
		Use:   "verify PLAN",
		Short: "Say whether a step that was made held",
		Long: `Say whether a step that was made held, from when it was in force: no process was killed, the working
set was below 80 % of the limit for 99 % of the time, it does not grow, and the pods stayed ready. The answer is
"held", "did not hold" or "cannot tell", with what each criterion says. PLAN is the ID of a plan, or its file.

With --watch it stays until that is known. If it is interrupted, the same command goes on: it looks at the same
window. Where --rollback-if-not-held was given with the approval, it takes back what did not hold.

The exit code is 0 for held, 3 for did not hold, 5 for cannot tell.

` + remedyHelp,
		Example: `  stella remedy verify plan.json
  stella remedy verify 3f9a2c1b4d5e --window 30m --watch`,
		Args: oneArg("a plan: its ID, or its file"),
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.IntVar(&c.step, "step", 0, "the `number` of the step (default the one that was made last)")
	flags.BoolVar(&c.watch, "watch", false, "stay until it is known")
	c.verify.add(flags)
	addFormat(cmd, &c.format, textFormats)
	return cmd
}

func (c *remedyVerify) run(cmd *cobra.Command, args []string) error {
	if err := errors.Join(checkFormat(cmd, c.format, textFormats), c.verify.check(cmd)); err != nil {
		return err
	}
	plan, made, err := c.flags.recall(args[0], c.step)
	if err != nil {
		return err
	}
	return c.flags.agent.ask(cmd.Context(), c.app, func(ctx context.Context, agent *client.Agent) error {
		return c.flags.withCluster(func(cluster *remedy.Cluster) error {
			return c.flags.work(ctx, cluster, plan, localUser(), func(ctx context.Context, work *remedy.Work) error {
				return c.judge(ctx, &judge{app: c.app, work: work, agent: agent, criteria: c.verify.criteria()}, made)
			})
		})
	})
}

// judge says whether the step held.
func (c *remedyVerify) judge(ctx context.Context, j *judge, made *remedy.Made) error {
	plan, look := j.work.Plan, j.once
	if c.watch {
		look = j.watch
	}
	if err := look(ctx, made); err != nil {
		return err
	}
	step, err := plan.Step(made.Step)
	if err != nil {
		return err
	}
	out := &applied{Plan: plan.ID, Step: step, Change: &made.Change, Reading: made.Reading, Verdict: made.Verdict, Back: made.Back}
	return c.app.showVerdict(c.format, out, out.write, out.failure(plan))
}

// recall finds a plan and what became of a step in the audit log; 0 is the step that was made last.
func (f *remedyFlags) recall(name string, step int) (*remedy.Plan, *remedy.Made, error) {
	id, err := planID(name)
	if err != nil {
		return nil, nil, err
	}
	journal, err := f.journal()
	if err != nil {
		return nil, nil, err
	}
	history, err := journal.History(id)
	if err != nil {
		return nil, nil, err
	}
	made := history.Last(step)
	switch {
	case made == nil && step == 0:
		return nil, nil, fmt.Errorf("no step of plan %s was made", id)
	case made == nil:
		return nil, nil, fmt.Errorf("step %d of plan %s was not made", step, id)
	case made.Back != nil:
		return nil, nil, fmt.Errorf("step %d of plan %s was taken back at %s", made.Step, id, timeText(made.Back.Time))
	}
	return history.Plan, made, nil
}

// judge looks whether a step holds.
type judge struct {
	app      *app
	work     *remedy.Work
	agent    *client.Agent
	criteria remedy.Criteria
	force    bool
	// looks are what was seen of readiness.
	looks []remedy.Readiness
}

// look looks once, and keeps the verdict in made. What was not in force when it was read last is read again, and its window begins then.
func (j *judge) look(ctx context.Context, made *remedy.Made) error {
	known := remedy.State("")
	if made.Reading != nil {
		known = made.Reading.State
	}
	if known != remedy.Yes {
		reading, err := j.work.Read(ctx, made.Step, &made.Change, known, j.agent, readAgain)
		if err != nil {
			return err
		}
		made.Reading = &reading
	}
	seen, err := j.work.Cluster.Observe(ctx, &made.Change, made.Reading, j.agent, j.looks)
	if err != nil {
		return err
	}
	j.looks = seen.Ready
	v := remedy.Verify(j.criteria, seen)
	made.Verdict = &v
	return nil
}

// once looks once, and records what is known for good.
func (j *judge) once(ctx context.Context, made *remedy.Made) error {
	if err := j.look(ctx, made); err != nil {
		return err
	}
	return j.end(ctx, made)
}

// watch looks until it is known whether the step held. What cannot be asked for a moment is asked again.
func (j *judge) watch(ctx context.Context, made *remedy.Made) error {
	j.app.goOn = "nothing was taken back: stella remedy verify " + j.work.Plan.ID + " --watch goes on with the same window"
	pause := min(lookEvery, max(j.criteria.Window/looksAtLeast, time.Second))
	deadline := time.Now().Add(j.criteria.Window + afterWindow)
	j.app.note("watching whether it holds, until %s at most; an interruption changes nothing", timeText(deadline))
	for {
		err := j.look(ctx, made)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && made.Verdict.Outcome != remedy.CannotTell:
			return j.end(ctx, made)
		case time.Now().After(deadline):
			return err
		case err != nil:
			j.app.warn("asked again in " + pause.String() + ": " + err.Error())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// end records the verdict, and takes back what did not hold, where that was approved.
func (j *judge) end(ctx context.Context, made *remedy.Made) error {
	if err := j.work.Judge(ctx, made.Step, made.Verdict); err != nil {
		return err
	}
	if made.Verdict.Outcome != remedy.DidNotHold || !made.Approval.RollbackIfNotHeld {
		return nil
	}
	approval := made.Approval
	approval.Reason = "It did not hold, and this was approved beforehand: " + approval.Reason
	back, err := j.work.Rollback(ctx, made.Step, &made.Change, approval, remedy.Options{Force: j.force})
	if err != nil {
		return fmt.Errorf("it did not hold, and could not be taken back: %w", err)
	}
	made.Back = &back
	return nil
}
