package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"stella/internal/bytesize"
	"stella/internal/scanner"
	"stella/internal/scanner/queue"
	"stella/internal/scanner/worker"
)

const (
	// workerShare is what a worker's limit has beside the budget of its scan: page
	// tables, inodes, page cache, which a memory cgroup counts too.
	workerShare = 16 << 20
	// finishPause is between two tries to write how an attempt ended.
	finishPause = 500 * time.Millisecond
	// finishTime bounds those tries once the server is being stopped; its next
	// process takes the attempt up then.
	finishTime = 5 * time.Second
)

// give starts an attempt in a slot's process. That can have ended since it was seen to
// be free; then the slot is not busy, and the process says how it ended.
func (s *Service) give(ctx context.Context, l *slot, process *worker.Process, c *queue.Claim) {
	attemptCtx, interrupt := context.WithCancelCause(ctx)
	s.mu.Lock()
	if l.process == process {
		l.state = scanner.WorkerBusy
	}
	l.job, l.attempt, l.progress, l.interrupt = &c.Job, c.Attempt.Number, scanner.Progress{Layer: -1}, interrupt
	l.moved = time.Now()
	limit, plan := c.Attempt.Limit, s.plan
	if s.stop {
		interrupt(errShutdown)
	}
	s.mu.Unlock()
	s.watches.changed(c.Job.ID)
	s.work.Go(func() {
		defer interrupt(nil)
		s.attempt(attemptCtx, l, process, limit, plan, c)
	})
}

// attempt runs one and writes how it ended.
func (s *Service) attempt(ctx context.Context, l *slot, process *worker.Process, limit int64, plan scanner.Plan, c *queue.Claim) {
	log := s.log.With("job", c.Job.ID, "attempt", c.Attempt.Number, "worker", l.name)
	timeout := plan.Settings.ScanTimeout
	if c.Job.Timeout > 0 {
		timeout = time.Duration(c.Job.Timeout)
	}
	ctx, stop := context.WithTimeoutCause(ctx, timeout, worker.ErrTimeout)
	defer stop()

	log.Debug("an attempt begins", "image", c.Job.Image, "pool", l.pool, "limit", bytesize.Size(limit))
	task := s.task(c, process, limit, plan)
	var report worker.Report
	if err := os.MkdirAll(task.OutDir, 0o700); err != nil {
		report = worker.Report{Outcome: scanner.OutcomeError, Retryable: true, End: scanner.End{Message: fmt.Sprintf("the data directory: %v", err)}}
	} else {
		report = process.Run(ctx, task, func(p scanner.Progress) { s.progress(l, p) })
	}
	ended := s.decide(c, report, task, limit, plan)
	job, incident := s.finish(ctx, log, ended, report, func(err error) queue.Ended {
		broken := worker.Report{Outcome: scanner.OutcomeError, End: report.End, Retryable: true}
		broken.Message = fmt.Sprintf("the result cannot be kept: %v", err)
		return s.decide(c, broken, task, limit, plan)
	})
	if err := os.RemoveAll(task.OutDir); err != nil {
		log.Warn("what an attempt left could not be removed", "error", err)
	}
	if job.Status.Final() {
		if err := os.RemoveAll(s.keep(job.ID)); err != nil {
			log.Warn("what a job left could not be removed", "error", err)
		}
	}
	s.count(l.pool, c, report, ended, incident)
	s.release(l)
	if job.Status == scanner.StatusPending {
		s.mayClaim(job.Pool)
	}
	s.watches.changed(c.Job.ID)
}

// task says what the worker is to do.
func (s *Service) task(c *queue.Claim, process *worker.Process, limit int64, plan scanner.Plan) worker.Task {
	t := worker.Task{
		Job: c.Job.ID, Attempt: c.Attempt.Number,
		Image: c.Job.Image, Digest: c.Job.Digest, Platform: c.Job.Platform,
		Mode:    plan.Mode(c.Job.Target, process.Limited()),
		Memory:  limit - workerShare,
		TempDir: s.o.TempDir,
		OutDir:  filepath.Join(s.outDir(), fmt.Sprintf("%d-%d", c.Job.ID, c.Attempt.Number)),
		Policy:  s.o.Policy,
		Local:   c.Job.Local,
		Attach:  c.Job.Attach,
	}
	switch {
	case plan.Settings.LayerDedup:
		t.CacheDir, t.CacheSize = s.o.CacheDir, plan.Settings.CacheSize
	case plan.Settings.Incremental:
		t.CacheDir, t.CacheSize = s.keep(c.Job.ID), plan.Settings.CacheSize
	}
	return t
}

// decide routes a job after an attempt.
func (s *Service) decide(c *queue.Claim, r worker.Report, t worker.Task, limit int64, plan scanner.Plan) queue.Ended {
	failures := c.Failures
	switch r.Outcome {
	case scanner.OutcomeError, scanner.OutcomeKilled, scanner.OutcomeOOM, scanner.OutcomeMemory:
		failures++
	}
	s.mu.Lock()
	if s.version != 0 { // settings may have changed while it ran
		plan = s.plan
	}
	s.mu.Unlock()
	e := queue.Ended{
		Job: c.Job.ID, Number: c.Attempt.Number, Outcome: r.Outcome, End: r.End, Mode: t.Mode,
		Decision: plan.Route(c.Job, r.Outcome, limit, r.Retryable, failures, r.End.Message),
	}
	if r.Outcome == scanner.OutcomeSucceeded {
		e.Result = &r.Result
	}
	return e
}

// finish writes how an attempt ended: again and again while the database cannot be
// written, until the attempt is no longer ours. A result that cannot be kept for another
// reason, such as a file that is not what the worker said, is an error of the scan.
func (s *Service) finish(ctx context.Context, log logger, e queue.Ended, r worker.Report, failed func(error) queue.Ended) (scanner.Job, *scanner.WorkerKill) {
	// The attempt's context has often ended; the writing goes on.
	ctx = context.WithoutCancel(ctx)
	var deadline time.Time
	for tries := 0; ; tries++ {
		job, incident, err := s.finishOnce(ctx, e, r)
		switch {
		case err == nil:
			s.say(log, job, e, incident)
			return job, incident
		case errors.Is(err, queue.ErrFenced):
			log.Warn("an attempt's end was not kept, because the job went on without it", "outcome", e.Outcome)
			return scanner.Job{ID: e.Job}, nil
		case !errors.Is(err, scanner.ErrUnavailable) && e.Result != nil:
			e = failed(err)
			continue
		case !errors.Is(err, scanner.ErrUnavailable):
			log.Error("how an attempt ended cannot be kept; it will count as lost", "outcome", e.Outcome, "error", err)
			return scanner.Job{ID: e.Job}, nil
		case tries == 0:
			log.Error("cannot write how an attempt ended; trying again", "error", err)
		}
		s.mu.Lock()
		if s.stop && deadline.IsZero() {
			deadline = time.Now().Add(finishTime)
		}
		s.mu.Unlock()
		if !deadline.IsZero() && time.Now().After(deadline) {
			log.Error("gave up writing how an attempt ended; the next process of this server makes another", "error", err)
			return scanner.Job{ID: e.Job}, nil
		}
		time.Sleep(finishPause)
	}
}

func (s *Service) finishOnce(ctx context.Context, e queue.Ended, r worker.Report) (scanner.Job, *scanner.WorkerKill, error) {
	if e.Result == nil {
		return s.queue.Finish(ctx, e)
	}
	subject, err := readSubject(r.SubjectFile)
	if err != nil {
		return scanner.Job{}, nil, err
	}
	inventory, err := os.Open(r.InventoryFile)
	if err != nil {
		return scanner.Job{}, nil, err
	}
	defer inventory.Close()
	e.Subject, e.Inventory = subject, inventory
	return s.queue.Finish(ctx, e)
}

// readSubject reads no more than the queue takes, whatever a worker wrote.
func readSubject(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, queue.MaxSubject+1))
}

// say logs what became of a job, in the words that people look for.
func (s *Service) say(log logger, job scanner.Job, e queue.Ended, incident *scanner.WorkerKill) {
	switch {
	case incident != nil:
		log.Error(e.End.Message, "image", job.Image, "action", incident.Action)
	case e.Outcome == scanner.OutcomeSucceeded:
		log.Info("sbom generated", "image", job.Image, "components", e.Result.Components, "problems", e.Result.Problems, "peak", bytesize.Text(e.End.Peak))
	case job.Status == scanner.StatusPending:
		log.Warn("an attempt failed; the job waits for another", "image", job.Image, "outcome", e.Outcome, "pool", job.Pool, "error", e.End.Message)
	case job.Status == scanner.StatusCancelled:
		log.Info("the job was cancelled", "image", job.Image)
	default:
		log.Error("sbom generation failed", "image", job.Image, "outcome", e.Outcome, "status", job.Status, "error", e.End.Message)
	}
}

type logger interface {
	Debug(string, ...any)
	Info(string, ...any)
	Warn(string, ...any)
	Error(string, ...any)
}

// count adds to the metrics.
func (s *Service) count(pool string, c *queue.Claim, r worker.Report, e queue.Ended, incident *scanner.WorkerKill) {
	s.telemetry.AttemptEnded(pool, string(r.Outcome), time.Since(c.Attempt.Started), r.End.Progress.Layers, r.End.Progress.Cached)
	if incident != nil && e.Decision.Status == scanner.StatusPending { // a larger pool has it now
		s.telemetry.Rerouted(pool, e.Decision.Pool)
	}
}

// release takes the attempt from its slot.
func (s *Service) release(l *slot) {
	s.mu.Lock()
	l.job, l.attempt, l.progress, l.interrupt = nil, 0, scanner.Progress{}, nil
	if l.state == scanner.WorkerBusy {
		l.state = scanner.WorkerIdle
		l.rest = 0
	}
	if s.stop && l.process != nil && l.state == scanner.WorkerIdle {
		s.end(l)
	}
	s.pending[l.pool] = true
	s.mu.Unlock()
	s.nudge()
}

func (s *Service) progress(l *slot, p scanner.Progress) {
	s.mu.Lock()
	before := l.progress
	before.RSS = p.RSS
	if before != p {
		l.moved = time.Now()
	}
	l.progress = p
	id := int64(0)
	if l.job != nil {
		id = l.job.ID
	}
	s.mu.Unlock()
	s.watches.progressed(id)
}
