package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"stella/internal/scanner"
	"stella/internal/scanner/logs"
	"stella/internal/scanner/worker"
)

const (
	// firstRest is before a process is started again that ended by itself while it
	// had nothing to do; it doubles up to maxRest while that goes on.
	firstRest = 100 * time.Millisecond
	maxRest   = 30 * time.Second
	// sampleAge is how old a worker's figures may be when they are shown.
	sampleAge = 200 * time.Millisecond
)

var (
	errShutdown = errors.New("the server is being stopped")
	errRestart  = errors.New("the worker is being restarted")
)

// slot is a place for one worker. The service's lock guards it.
type slot struct {
	name string
	pool string

	state   scanner.WorkerState
	process *worker.Process
	limit   int64 // reserved in the ledger while there is a process, or one starts
	started time.Time
	// generation is of the pool when the process was started.
	generation int64
	// retired slots end with the attempt they have.
	retired bool
	// restart says that the process is to be replaced after its attempt.
	restart bool
	// rest is the pause before the next start, which is not before then.
	rest   time.Duration
	resume time.Time

	job       *scanner.Job
	attempt   int
	progress  scanner.Progress
	moved     time.Time               // when progress last changed, apart from the resident set
	interrupt context.CancelCauseFunc // of the attempt

	restarts map[scanner.RestartReason]int64
	lastExit *scanner.Exit
	sample   worker.Sample
	sampled  time.Time
}

// free reports whether the slot can take a job. A process that has just ended
// cannot, though watch has not booked that yet.
func (l *slot) free() bool {
	if l.state != scanner.WorkerIdle || l.process == nil || l.attempt != 0 || l.restart || l.retired {
		return false
	}
	select {
	case <-l.process.Exited():
		return false
	default:
		return true
	}
}

// begin starts the slot's process in the background. The caller holds the lock and has reserved the memory.
func (s *Service) begin(ctx context.Context, l *slot, p scanner.Pool) {
	l.state, l.limit, l.generation, l.restart = scanner.WorkerStarting, p.Memory, p.Generation, false
	s.work.Go(func() {
		process, err := worker.Start(ctx, worker.Config{
			Program: s.o.Program,
			Name:    l.name,
			Group:   s.o.Group,
			Limit:   p.Memory,
			Log: func(level slog.Level, source, message string) {
				s.workerSaid(l, level, source, message)
			},
		})
		s.mu.Lock()
		if err != nil {
			s.ledger.release(l.limit)
			l.state = scanner.WorkerWaiting
			l.backOff()
		} else {
			l.process, l.started, l.state = process, time.Now(), scanner.WorkerIdle
			if s.stop { // since it was started
				s.end(l)
			}
		}
		rest := l.rest
		s.mu.Unlock()
		if err != nil {
			s.log.Error("a worker could not be started; trying again", "worker", l.name, "error", err, "again in", rest)
			return
		}
		s.nudge()
		s.watch(l, process)
	})
}

// backOff makes the next start wait, longer each time.
func (l *slot) backOff() {
	l.rest = min(max(2*l.rest, firstRest), maxRest)
	l.resume = time.Now().Add(l.rest)
}

// watch waits for the end of a process and books it.
func (s *Service) watch(l *slot, process *worker.Process) {
	<-process.Exited()
	if err := process.Close(); err != nil {
		s.log.Warn("what a worker left could not be removed", "worker", l.name, "error", err)
	}
	exit := process.Exit()
	s.mu.Lock()
	if exit.Job == 0 && exit.Reason == scanner.RestartCrash { // it had nothing to do
		l.backOff()
	}
	l.lastExit = &exit
	l.restarts[exit.Reason]++
	l.process = nil
	l.state = scanner.WorkerWaiting
	s.ledger.release(l.limit)
	s.mu.Unlock()
	s.telemetry.WorkerRestarted(l.pool, string(exit.Reason))
	s.nudge()
}

// end ends the slot's process, which must have no attempt. The caller holds the lock; watch books the end.
func (s *Service) end(l *slot) {
	process := l.process
	l.state = scanner.WorkerDraining
	s.work.Go(func() {
		if err := process.Close(); err != nil {
			s.log.Warn("a worker would not end", "worker", l.name, "error", err)
		}
	})
}

// interruptWith ends the attempt of a slot. The caller holds the lock.
func (l *slot) interruptWith(cause error) {
	if l.interrupt != nil {
		l.interrupt(cause)
	}
}

// interrupt ends the attempt at a job, where this instance has it.
func (s *Service) interrupt(job int64, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.slots {
		if l.job != nil && l.job.ID == job {
			l.interruptWith(cause)
		}
	}
}

// workerSaid keeps a line that a worker's process wrote.
func (s *Service) workerSaid(l *slot, level slog.Level, source, message string) {
	line := scanner.LogLine{
		At: time.Now(), Level: logs.LevelName(level), Instance: s.instance.Name,
		Source: source, Worker: l.name, Message: message,
	}
	s.mu.Lock()
	if l.job != nil {
		line.Job, line.Attempt = l.job.ID, l.attempt
	}
	s.mu.Unlock()
	s.logs.Append(line)
}

// view is the slot as others see it. The caller holds the lock. A slot whose
// process has died has its job until how that ended is written: the queue takes a
// job that no worker has for lost.
func (l *slot) view(instance string, wanted int64) scanner.Worker {
	w := scanner.Worker{
		Name: l.name, Instance: instance, Pool: l.pool, State: l.state, Limit: wanted,
		Restarts: maps.Clone(l.restarts), LastExit: l.lastExit,
	}
	if l.job != nil {
		w.Job, w.Image, w.Progress, w.Moved = l.job.ID, l.job.Image, l.progress, l.moved
	}
	if l.process == nil {
		return w
	}
	if l.limit != wanted {
		w.Limit, w.Wanted = l.limit, wanted
	}
	if (l.restart || l.retired) && l.state == scanner.WorkerBusy {
		w.State = scanner.WorkerDraining
	}
	w.PID, w.Started, w.Isolation = l.process.PID(), l.started, l.process.Isolation()
	w.Memory, w.Peak, w.CPU = l.sample.Memory, l.sample.Peak, l.sample.CPU
	return w
}

// slotName is POOL-NUMBER.
func slotName(pool string, n int) string { return fmt.Sprintf("%s-%d", pool, n) }
