package pods

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/run"
)

// greetingTimeout is how long a command that is to be ended may take to say its process group.
const greetingTimeout = 5 * time.Second

// attempt is one command in one container.
type attempt struct {
	*Container
	spec   run.Spec
	before state
	hello  greeting
	// err is how the exec ended.
	err error
	// ended is why this service ended it, "" where it did not, and why a sentence; forced, that it took SIGKILL.
	ended  rdev.Reason
	why    string
	forced bool
}

func newAttempt(c *Container, s run.Spec, before state) *attempt {
	return &attempt{Container: c, spec: s, before: before, hello: greeting{
		id: s.ID, stdout: s.Stdout, stderr: s.Stderr, began: make(chan struct{}), kills: -1,
	}}
}

// run runs an exec to its end, and ends the command when ctx ends.
func (a *attempt) run(ctx context.Context, e *exec, started func()) {
	// The exec outlives ctx, so that the command's end is heard.
	open, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	exited := make(chan error, 1)
	go func() { exited <- e.run(open, a.runner.Kube) }()
	began := a.hello.began
	for {
		select {
		case a.err = <-exited:
			return
		case <-began:
			began = nil
			if started != nil {
				started()
			}
		case <-ctx.Done():
			a.ended, a.why = run.EndedBy(ctx)
			a.stop(open, hangUp, exited)
			return
		}
	}
}

// stop ends the command, as it is ended on this machine.
func (a *attempt) stop(ctx context.Context, hangUp func(), exited <-chan error) {
	late := time.NewTimer(greetingTimeout)
	defer late.Stop()
	select {
	case a.err = <-exited:
		return
	case <-late.C: // there is nothing yet that could be told to end
	case <-a.hello.began:
		if a.signal(ctx, "TERM", a.runner.Grace, exited) {
			return
		}
		a.forced = true
	}
	if !a.signal(ctx, "KILL", killTimeout, exited) {
		hangUp()
		a.err = <-exited
	}
}

// signal signals the command, and reports whether it ended within that time.
func (a *attempt) signal(ctx context.Context, signal string, wait time.Duration, exited <-chan error) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	if _, err := a.tidy(ctx, a.spec.ID, signal, a.group()); err != nil {
		a.runner.Log.Warn("a command could not be sent a signal", "id", a.spec.ID, "signal", signal, "error", err)
	}
	select {
	case a.err = <-exited:
		return true
	case <-timer.C:
		return false
	}
}

// group is the command's process group, or 0 as long as it has not said so.
func (a *attempt) group() int {
	select {
	case <-a.hello.began:
		return a.hello.group
	default:
		return 0
	}
}

// tidy signals a command in an exec of its own, and says how many kills the container has counted, -1 where it does not
// say.
func (c *Container) tidy(ctx context.Context, id, signal string, group int) (int64, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
	defer cancel()
	var line strings.Builder
	e := exec{
		project: c.project, argv: []string{"sh", "-c", ending, "sh", id, signal, strconv.Itoa(group)},
		stdout: func(piece []byte) error {
			line.Write(piece[:min(len(piece), maxGreeting-line.Len())])
			return nil
		},
		stderr: func([]byte) error { return nil },
	}
	if err := e.run(ctx, c.runner.Kube); err != nil {
		return -1, err
	}
	f := strings.Fields(line.String())
	if len(f) == 0 || f[0] != id {
		return -1, nil
	}
	return parseKills(f[1:]), nil
}

// noShell reports whether there was no sh to run the wrapper.
func (a *attempt) noShell() bool {
	var refused *refusedError
	if a.hello.done || a.ended != "" || !errors.As(a.err, &refused) {
		return false
	}
	// Runtimes say it in words of their own.
	return strings.Contains(refused.message, "not found") || strings.Contains(refused.message, "no such file")
}

// runWithoutShell runs a program in a container that has nothing else.
func (c *Container) runWithoutShell(ctx context.Context, s run.Spec, started func()) rdev.End {
	if s.Shell != "" || s.Dir != "" || len(s.Env) > 0 {
		return failed("the container has no sh, so it can run a program with arguments, but no line for the shell, in no directory and with no variables of its own")
	}
	if started != nil {
		started() // it is not told when it is
	}
	err := (&exec{
		project: c.project, argv: s.Argv, stdin: s.Stdin,
		stdout: func(p []byte) error { return write(s.Stdout, p) },
		stderr: func(p []byte) error { return write(s.Stderr, p) },
	}).run(ctx, c.runner.Kube)
	if ctx.Err() != nil {
		reason, why := run.EndedBy(ctx)
		return rdev.End{Reason: reason, ExitCode: -1, Detail: why + "; it may still run: the container has no sh that could end it"}
	}
	code, end := exitOf(err)
	if end != nil {
		return *end
	}
	return rdev.End{Reason: rdev.ReasonExit, ExitCode: code, Detail: exitSentence(code)}
}
