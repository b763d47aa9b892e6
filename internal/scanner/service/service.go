// Package service runs scans: it has the pools of workers of one stellad, decides
// what runs where, and answers for the jobs.
//
// Vocabulary: a slot is a place for one worker; its process comes and goes, its
// name stays. The ledger is the memory that all workers together may have; a
// worker's whole limit is reserved before it starts. A turn is one pass of the
// control loop, which alone starts and stops workers and claims jobs; everything that changes
// what it would do wakes it.
//
// Hazards:
//
//   - What a job's attempt led to is decided here and written by the queue in one
//     transaction, which refuses it if the attempt is no longer ours. Until that
//     has succeeded the slot keeps the attempt and tries again: a database that is
//     full or gone costs time, not scans.
//   - The lock is never held while the database, a process or a file is waited for.
//   - A worker that waits for memory is no fault: its pool's jobs wait, and idle
//     workers of other pools make room.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"stella/internal/scanner"
	"stella/internal/scanner/logs"
	"stella/internal/scanner/queue"
	"stella/internal/scanner/resolve"
	"stella/internal/scanner/worker"
	"stella/internal/telemetry"
)

const (
	// tick bounds how late something is seen that wakes nobody, such as a job that
	// another stellad queued.
	tick = 250 * time.Millisecond
	// heartbeat is how often this instance says that it lives; expiry is after how
	// long without it others take its attempts. Together with their heartbeat that is below the ten seconds that we promise.
	heartbeat = 2 * time.Second
	expiry    = 6 * time.Second
	// pruneEvery is how often what is too old is removed.
	pruneEvery = time.Minute
	// resolving bounds how many references are opened at the same time: each may
	// hold a manifest of 4 MiB and a configuration of 8 MiB.
	resolving = 2
	// resolveTime bounds opening a reference for a request.
	resolveTime = 30 * time.Second
)

// Options say what a service works with. All fields but those that say so are needed.
type Options struct {
	Queue *queue.Queue
	Logs  *logs.Logs
	Log   *slog.Logger
	// Telemetry counts what happens.
	Telemetry *telemetry.Scanner
	Instance  scanner.Instance
	// Store names what keeps the jobs, "sqlite" or "postgres".
	Store string
	// Program is the stella that workers run.
	Program string
	// Group begins the names of the workers' cgroups. It must be this instance's alone.
	Group string
	// DataDir is for what a job needs while it runs, CacheDir for layers that later
	// jobs use too, TempDir for temporary files of scans.
	DataDir, CacheDir, TempDir string
	// Policy says which references may be opened for whom.
	Policy resolve.Policy
	// AllowAttach lets callers that are not local push SBOMs with this server's credentials.
	AllowAttach bool
	// Memory is what all workers together may have, in bytes.
	Memory int64
}

// Service is a running scanner service. Its methods may be called from several goroutines.
type Service struct {
	o         Options
	queue     *queue.Queue
	logs      *logs.Logs
	log       *slog.Logger
	telemetry *telemetry.Scanner
	instance  scanner.Instance
	store     string

	wake    chan struct{}
	opening *semaphore.Weighted
	watches watches

	mu      sync.Mutex
	plan    scanner.Plan
	version int64 // of the plan
	slots   map[string]*slot
	ledger  ledger
	// pending are the pools that may have a job to claim.
	pending map[string]bool
	due     time.Time // when a delayed job may begin
	stop    bool
	beatErr error          // of the last heartbeat, which shows whether the database can be written
	work    sync.WaitGroup // goroutines of slots

	cache struct {
		sync.Mutex
		bytes int64
		at    time.Time
	}
}

// Start takes up the work that an earlier process of this instance left, and
// makes the service. [Service.Run] runs it.
func Start(ctx context.Context, o Options) (*Service, error) {
	s := &Service{
		o: o, queue: o.Queue, logs: o.Logs, log: o.Log, telemetry: o.Telemetry, instance: o.Instance, store: o.Store,
		wake:    make(chan struct{}, 1),
		opening: semaphore.NewWeighted(resolving),
		slots:   map[string]*slot{},
		ledger:  ledger{total: o.Memory},
		pending: map[string]bool{},
	}
	for _, dir := range []string{s.outDir(), s.keepDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("the data directory: %w", err)
		}
	}
	if err := worker.CleanUp(o.Group); err != nil {
		return nil, fmt.Errorf("clean up after workers of an earlier process: %w", err)
	}
	if err := clear(s.outDir()); err != nil {
		return nil, fmt.Errorf("clean up after an earlier process: %w", err)
	}
	n, err := o.Queue.Recover(ctx)
	if err != nil {
		return nil, fmt.Errorf("take up the attempts of an earlier process: %w", err)
	}
	if o.Store == "sqlite" { // nobody else lives: this is what it left under another name
		others, err := o.Queue.TakeAll(ctx)
		if err != nil {
			return nil, fmt.Errorf("take up the attempts of an earlier process: %w", err)
		}
		n += others
	}
	if n > 0 {
		s.log.Info("took up attempts that an earlier process of this server left", "attempts", n)
	}
	if err := s.reload(ctx); err != nil {
		return nil, err
	}
	s.all()
	return s, nil
}

// outDir has what workers write for the attempt that runs.
func (s *Service) outDir() string { return filepath.Join(s.o.DataDir, "attempts") }

// clear removes what is in a directory.
func clear(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// Run works until ctx ends; then it ends the workers, and their attempts wait
// for the next process or another instance.
func (s *Service) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	loops.Go(func() { s.every(ctx, heartbeat, "say that this server lives", s.beat) })
	loops.Go(func() { s.every(ctx, pruneEvery, "remove what is too old", s.prune) })
	s.control(ctx)
	loops.Wait()
	s.shutdown()
	return nil
}

// every calls f again and again; an error is logged and its next success, too.
func (s *Service) every(ctx context.Context, pause time.Duration, what string, f func(context.Context) error) {
	timer := time.NewTicker(pause)
	defer timer.Stop()
	failing := false
	for {
		err := f(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			s.log.Error("cannot "+what+"; trying again", "error", err)
		case err == nil && failing:
			s.log.Info("can " + what + " again")
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
	}
}

// beat renews this instance's claim on its attempts, and takes those of instances that are gone.
func (s *Service) beat(ctx context.Context) (err error) {
	defer func() {
		s.mu.Lock()
		s.beatErr = err
		s.mu.Unlock()
	}()
	cancelled, err := s.queue.Renew(ctx, s.localWorkers())
	if err != nil {
		return err
	}
	for _, id := range cancelled {
		s.interrupt(id, worker.ErrCancelled)
	}
	n, err := s.queue.TakeOver(ctx, expiry)
	if n > 0 {
		s.log.Warn("took over attempts of servers that were not heard of", "attempts", n)
		s.all()
	}
	return err
}

func (s *Service) prune(ctx context.Context) error {
	s.mu.Lock()
	settings := s.plan.Settings
	s.mu.Unlock()
	now := time.Now()
	jobs, blobs, err := s.queue.Prune(ctx, now.Add(-settings.ResultRetention))
	if jobs > 0 {
		s.log.Info("removed jobs that ended too long ago", "jobs", jobs, "results", blobs, "retention", settings.ResultRetention)
	}
	return errors.Join(err, s.dropKept(ctx), s.logs.Prune(ctx, now.Add(-settings.LogRetention), maxLogBytes))
}

// maxLogBytes bounds the log kept in the database, whatever its age.
const maxLogBytes = 64 << 20

// nudge wakes the control loop.
func (s *Service) nudge() {
	select {
	case s.wake <- struct{}{}:
	default: // it is about to wake anyway
	}
}

// all says that any pool may have a job to claim.
func (s *Service) all() {
	s.mu.Lock()
	for _, p := range s.plan.Pools {
		s.pending[p.Name] = true
	}
	s.mu.Unlock()
	s.nudge()
}

// mayClaim says that a pool may have a job.
func (s *Service) mayClaim(pool string) {
	s.mu.Lock()
	s.pending[pool] = true
	s.mu.Unlock()
	s.nudge()
}
