// Package pods runs commands in the containers of a cluster's pods, as [stella/internal/rdev/run] runs them on this machine, and says how each ended as far
// as a cluster tells.
//
// Words: a command runs by exec, a request to the API server that stays open (a WebSocket) while the kubelet runs a program in the container. What
// runs there is a wrapper: a few lines for the container's sh, which say the number of the process group, so that
// a second exec can end it, and what the container's counter of OOM kills was.
//
// What a command gets: the container's environment with [run.Spec].Env over it, and the variable [Marker]; no
// terminal; the container's user, and its limits, since an exec has none of its own.
//
// The service account needs get on pods, and get and create on pods/exec.
//
// Hazards:
//
//   - Closing an exec ends nothing in the container, whatever kubectl's users think. So a command is ended by its process group, and at the end by
//     all processes that have its [Marker]: what left the group and dropped the variable stays.
//   - A container without sh (a "distroless" one) can run a program with arguments, but neither in another directory nor with variables;
//     cancelled, it is not ended. The end says so.
//   - A process that ignores SIGTERM and holds the output after the program has ended holds the command until its time is over.
//   - A signal that ended a program is an exit code above 128 here.
//   - The kernel counts kills by container. So the kill of another process of it during the command counts as the command's.
//   - A limit in [run.Spec].Memory is not kept: the container's is.
package pods

import (
	"context"
	"log/slog"
	"time"

	"stella/internal/kube"
	"stella/internal/rdev"
	"stella/internal/rdev/run"
)

const (
	// tidyTimeout bounds the exec that ends a command, and the questions about a pod.
	tidyTimeout = 20 * time.Second
	// killTimeout is how long the exec is read after everything has been killed.
	killTimeout = 10 * time.Second
)

// Options are for all commands.
type Options struct {
	Kube *kube.Client
	// Grace is the time between SIGTERM and SIGKILL; 0 is [run.Grace].
	Grace time.Duration
	Log   *slog.Logger
}

// Runner runs commands. It may be used by several goroutines.
type Runner struct{ Options }

// New makes a runner.
func New(o Options) *Runner {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Grace == 0 {
		o.Grace = run.Grace
	}
	return &Runner{o}
}

// Container is where commands run.
type Container struct {
	runner  *Runner
	project rdev.Project
}

// In is the container of a project, which is of the kind [rdev.Pod].
func (r *Runner) In(p rdev.Project) *Container { return &Container{r, p} }

// Run runs a command to its end, as [run.Runner.Run] does: started once it runs; SIGTERM, the grace and SIGKILL when ctx ends. [run.Spec].ID
// must be unique, and without spaces.
func (c *Container) Run(ctx context.Context, s run.Spec, started func()) rdev.End {
	ctx, cancel := run.Until(ctx, s.Timeout)
	defer cancel()
	if ctx.Err() != nil {
		reason, why := run.EndedBy(ctx)
		return rdev.End{Reason: reason, ExitCode: -1, Detail: why + " before it was started"}
	}
	argv, err := wrap(s)
	if err != nil {
		return failed(err.Error())
	}
	before, err := c.look(ctx)
	if err != nil {
		return failed(err.Error())
	}
	a := newAttempt(c, s, before)
	a.run(ctx, &exec{project: c.project, argv: argv, stdin: s.Stdin, stdout: a.hello.out, stderr: a.hello.err}, started)
	if a.noShell() {
		return c.runWithoutShell(ctx, s, started)
	}
	return a.tell(ctx)
}

// RemoveLeft ends what a command left that an earlier process of this service began, by its ID.
func (c *Container) RemoveLeft(ctx context.Context, id string) error {
	_, err := c.tidy(ctx, id, "KILL", 0)
	return err
}
