package cli

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"stella/internal/client"
	"stella/internal/rdev"
)

const (
	// endLinger is how long the end of a cancelled command is waited for: the service gives it ten seconds after SIGTERM,
	// and needs a few more to end what is left of it.
	endLinger = 30 * time.Second
	// queueLook is how often it is asked how many commands are before one that waits. Most wait for milliseconds.
	queueLook = time.Second
	// cancelHint is after what time somebody is told that a command is being cancelled.
	cancelHint = time.Second
)

// attached is a command that is shown as if it ran here.
type attached struct {
	app         *app
	service     rdevService
	project, id string
}

// run shows the command until its end. When ctx ends, it cancels it. The error is an [exitError], unless what became of
// the command is not known.
func (r *attached) run(ctx context.Context) error {
	staying, stop := lingering(ctx, endLinger)
	defer stop()
	uncancelled := context.AfterFunc(ctx, func() {
		hint := time.AfterFunc(cancelHint, func() { r.app.note("cancelling the command; Ctrl-C again does not wait for its end") })
		context.AfterFunc(staying, func() { hint.Stop() })
		r.cancel(staying)
	})
	defer uncancelled()
	queued := r.showQueue(staying)
	defer queued()
	out := &printer{app: r.app, stdout: r.app.stdout, stderr: r.app.console}
	err := out.show(func(event func(client.OutputEvent) error) error {
		return r.service.Follow(staying, r.project, r.id, client.From{}, func(e client.OutputEvent) error {
			queued()
			return event(e)
		})
	})
	switch {
	case errors.Is(err, syscall.EPIPE):
		asking, stop := context.WithTimeout(staying, askLinger)
		defer stop()
		r.cancel(asking)
		return &exitError{code: 128 + ExitCode(syscall.SIGPIPE)} // as a program ends that runs here
	case err != nil && ctx.Err() != nil:
		return &exitError{ExitInterrupted, fmt.Errorf("interrupted, and how the command ended was not seen; see: stella rdev ps -p %s", r.project)}
	case err != nil:
		return fmt.Errorf("%w; the command may go on: stella rdev logs -f %s -p %s", err, r.id, r.project)
	}
	return r.ended(ctx, out.end)
}

// cancel asks for the end of the command.
func (r *attached) cancel(ctx context.Context) {
	if _, err := r.service.Cancel(ctx, r.project, r.id); err != nil && ctx.Err() == nil {
		r.app.warn(fmt.Sprintf("the command %s could not be cancelled: %v", r.id, err))
	}
}

// ended is how this program ends after the command has.
func (r *attached) ended(ctx context.Context, end *rdev.End) error {
	switch {
	case end.Reason == rdev.ReasonCancelled && ctx.Err() != nil:
		return &exitError{code: ExitInterrupted}
	case end.Reason != rdev.ReasonExit:
		return &exitError{endCode(end), errors.New(sentence(endText(end), endNext(end)))}
	}
	if end.OOM != nil {
		r.app.warn(endText(end))
	}
	if end.ExitCode == 0 {
		return nil
	}
	return &exitError{code: endCode(end)}
}

// showQueue says that the command waits, where it does for longer: on a terminal in a line that goes away. The
// function that it returns ends that.
func (r *attached) showQueue(ctx context.Context) func() {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.queue(ctx)
	}()
	return sync.OnceFunc(func() {
		cancel()
		<-done
	})
}

func (r *attached) queue(ctx context.Context) {
	if r.app.quiet {
		return
	}
	console := r.app.console
	if console.terminal {
		defer console.setLine("")
	}
	tick := time.NewTicker(queueLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c, err := r.service.Command(ctx, r.project, r.id)
		if err != nil || c.Status != rdev.Queued {
			return // its output will say it
		}
		text := fmt.Sprintf("the command waits as number %d of the queue", c.Place)
		if !console.terminal {
			r.app.note("%s", text)
			return
		}
		console.setLine("stella: " + text)
	}
}
