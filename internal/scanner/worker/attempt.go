package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"stella/internal/cgroup"
	"stella/internal/scanner"
)

// attempt is a task that a worker has.
type attempt struct {
	task     Task
	progress func(scanner.Progress)
	done     chan struct{} // closed when the worker has told the end
	end      *ended        // set before done is closed

	// Guarded by the process's lock while it runs.
	last scanner.Progress
	rss  int64
	// kills is the counter of the cgroup when the attempt began.
	kills int64
}

// Run gives the worker a task and waits for its end. progress is called for each
// step that the worker tells, never at the same time as itself, and not after Run
// has returned. When ctx ends, the process is killed and waited for, and its cause says how
// the attempt ended: by ErrTimeout, ErrCancelled, or any other, which makes it lost.
func (p *Process) Run(ctx context.Context, t Task, progress func(scanner.Progress)) Report {
	if p.group == nil { // nobody would see memory that is not mapped
		t.Mode = scanner.ModeStreaming
	}
	a := &attempt{task: t, progress: progress, done: make(chan struct{}), last: scanner.Progress{Layer: -1}}
	line, err := json.Marshal(t)
	if err == nil && len(line) >= maxTask {
		err = fmt.Errorf("it is described by %d bytes, at most %d are sent to a worker", len(line), maxTask)
	}
	if err != nil {
		return Report{Outcome: scanner.OutcomeError, End: scanner.End{Message: "the task cannot be given to a worker: " + err.Error()}}
	}
	if err := p.begin(a); err != nil {
		r := Report{Outcome: scanner.OutcomeKilled, Retryable: true, End: scanner.End{Message: err.Error()}}
		if errors.Is(err, errEnded) {
			r.Outcome = scanner.OutcomeLost // which the image had no part in
		}
		return r
	}
	stop := context.AfterFunc(ctx, func() { p.interrupt(a, killingOf(context.Cause(ctx))) })
	defer stop()
	if _, err := p.stdin.Write(append(line, '\n')); err != nil {
		p.awaitEnd("took no task (" + err.Error() + ")")
	}
	select {
	case <-a.done:
		return p.report(a)
	case <-p.exited:
	}
	select {
	case <-a.done: // it ended after its task
		return p.report(a)
	default:
		return p.reportExit(a)
	}
}

// awaitEnd gives a worker that has closed its standard input, most likely by
// ending, time to do so: how it ends says more than that it reads no more.
func (p *Process) awaitEnd(what string) {
	t := time.NewTimer(drainTime)
	defer t.Stop()
	select {
	case <-p.exited:
	case <-t.C:
		p.refuse(what)
	}
}

func killingOf(cause error) killing {
	switch {
	case errors.Is(cause, ErrTimeout):
		return killing{scanner.OutcomeTimeout, cause.Error()}
	case errors.Is(cause, ErrCancelled):
		return killing{scanner.OutcomeCancelled, cause.Error()}
	}
	return killing{scanner.OutcomeLost, cause.Error()}
}

// errEnded is the error of a task for a process that takes none any more.
var errEnded = errors.New("the worker had ended before it got the task")

// begin makes a the current attempt, and begins new peaks.
func (p *Process) begin(a *attempt) error {
	err := p.beginPeak(a)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.finished: // and its cgroup may be gone
		return fmt.Errorf("%w: %s", errEnded, p.exit.Message)
	case err != nil:
		return err
	}
	p.usage.peak = 0
	p.current = a
	return nil
}

// beginPeak sets the cgroup's counters back, or notes where they stand.
func (p *Process) beginPeak(a *attempt) error {
	if p.group == nil {
		return nil
	}
	switch err := p.group.ResetPeak(); {
	case errors.Is(err, cgroup.ErrNoReset):
		p.oldPeak.Do(func() {
			p.cfg.Log(slog.LevelDebug, "worker", "peaks are since the start of worker "+p.cfg.Name+": "+err.Error())
		})
	case err != nil:
		return err
	}
	stats, err := p.group.Stats()
	a.kills = stats.OOMKills
	return err
}

// noteProgress keeps what the worker told, and passes it on.
func (p *Process) noteProgress(a *attempt, m *progressMessage) {
	m.Phase, m.Path = cut(m.Phase), cut(m.Path)
	p.mu.Lock()
	a.last, a.rss = m.Progress, max(a.rss, m.Peak, m.RSS)
	p.mu.Unlock()
	a.progress(m.Progress)
}

// report is about an attempt whose worker lives on.
func (p *Process) report(a *attempt) Report {
	r := Report{Outcome: a.end.Outcome, Retryable: a.end.Retryable}
	r.End = scanner.End{RSS: a.rss, Progress: a.last, Message: cut(a.end.Message)}
	if p.group != nil {
		if stats, err := p.group.Stats(); err == nil {
			r.Kills, r.Peak = stats.OOMKills-a.kills, stats.Peak
		}
	}
	if r.Outcome == scanner.OutcomeSucceeded {
		r.Result = *a.end.Result
		r.SubjectFile, r.InventoryFile = a.task.subjectFile(), a.task.inventoryFile()
	}
	return r
}

// reportExit is about an attempt whose worker has ended in it.
func (p *Process) reportExit(a *attempt) Report {
	code := p.exit.ExitCode
	return Report{
		Outcome: p.outcome,
		// A worker that was killed from elsewhere, or crashed, may do better the next time.
		Retryable: p.outcome == scanner.OutcomeKilled,
		End: scanner.End{
			ExitCode: &code, Kills: p.exit.Kills, Peak: p.exit.Peak, RSS: a.rss,
			Progress: a.last, Message: p.exit.Message,
		},
	}
}
