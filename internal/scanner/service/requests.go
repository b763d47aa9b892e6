package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"stella/internal/bytesize"
	"stella/internal/scanner"
	"stella/internal/scanner/queue"
	"stella/internal/scanner/resolve"
	"stella/internal/scanner/worker"
)

// Submit opens the reference, so that what is wrong with it is said at once, and
// queues a scan of what it leads to, or joins one that waits or runs.
func (s *Service) Submit(ctx context.Context, by scanner.Caller, r scanner.Request) (scanner.Job, error) {
	plan := s.currentPlan()
	if _, ok := plan.Pool(r.Pool); r.Pool != "" && !ok {
		return scanner.Job{}, noPool(r.Pool, plan)
	}
	if r.Attach && !by.Local && !s.o.AllowAttach {
		return scanner.Job{}, scanner.Errorf(scanner.ErrDenied, "an SBOM is attached with the server's credentials for the registry, which this server lends to nobody from elsewhere: scan without --attach, or have whoever runs the server allow it: stellad --allow-attach")
	}
	target, err := s.resolve(ctx, by, r)
	if err != nil {
		return scanner.Job{}, err
	}
	job, created, err := s.queue.Submit(ctx, queue.Submission{
		Request: r, Target: target, Pool: plan.First(r.Pool, target), By: by.Name, Local: by.Local,
	}, plan)
	if err != nil {
		return scanner.Job{}, err
	}
	s.log.Debug("a scan was asked for", "job", job.ID, "image", r.Image, "by", by.Name, "new", created)
	s.mayClaim(job.Pool)
	s.watches.changed(job.ID)
	return job, nil
}

// resolve finds out what a reference leads to now.
func (s *Service) resolve(ctx context.Context, by scanner.Caller, r scanner.Request) (scanner.Target, error) {
	ctx, stop := context.WithTimeout(ctx, resolveTime)
	defer stop()
	if err := s.opening.Acquire(ctx, 1); err != nil {
		return scanner.Target{}, scanner.Errorf(scanner.ErrUnavailable, "too many references are being opened: %w", err)
	}
	defer s.opening.Release(1)
	image, err := resolve.Open(ctx, r.Image, r.Platform, s.o.Policy, by.Local, resolve.Options{
		TempDir: s.o.TempDir, UserAgent: "stellad/" + s.instance.Version, Log: s.log,
	})
	if err != nil {
		return scanner.Target{}, err
	}
	target := resolve.Target(image)
	return target, image.Close()
}

func noPool(name string, plan scanner.Plan) error {
	var names []string
	for _, p := range plan.Pools {
		names = append(names, p.Name)
	}
	return scanner.Errorf(scanner.ErrNotFound, "there is no pool %q; there are %s", name, strings.Join(names, ", "))
}

func (s *Service) currentPlan() scanner.Plan {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plan
}

// Cancel ends a job that has not ended.
func (s *Service) Cancel(ctx context.Context, by scanner.Caller, id int64) (scanner.Job, error) {
	job, err := s.queue.Cancel(ctx, id, by.Name)
	if err != nil {
		return scanner.Job{}, err
	}
	s.interrupt(id, worker.ErrCancelled)
	s.watches.changed(id)
	return job, nil
}

// Retry queues a job again that has failed, with a new number of attempts, also
// where its image is in quarantine.
func (s *Service) Retry(ctx context.Context, by scanner.Caller, id int64) (scanner.Job, error) {
	job, err := s.queue.Job(ctx, id)
	if err != nil {
		return scanner.Job{}, err
	}
	job, err = s.queue.Retry(ctx, id, s.currentPlan().First("", job.Target), by.Name)
	if err != nil {
		return scanner.Job{}, err
	}
	s.mayClaim(job.Pool)
	s.watches.changed(id)
	return job, nil
}

// eventsAtOnce is how many events are read from the queue at a time.
const eventsAtOnce = 100

// Events calls f for each event of a job after the one with that ID, waiting for
// more until the job has ended, ctx ends, or f fails.
func (s *Service) Events(ctx context.Context, id, after int64, f func(scanner.Event) error) error {
	job, err := s.queue.Job(ctx, id)
	if err != nil {
		return err
	}
	watch, stop := s.watches.watch(id)
	defer stop()
	ticker := time.NewTicker(time.Second) // for what another instance does
	defer ticker.Stop()
	var last scanner.Progress
	for {
		for watch.events.Swap(false) {
			n, err := s.newEvents(ctx, &job, &after, f)
			if err != nil {
				return err
			}
			if n == eventsAtOnce { // there may be more
				watch.events.Store(true)
			}
		}
		if job.Status.Final() {
			return nil
		}
		if p := s.progressOf(ctx, id); p != nil && *p != last {
			last = *p
			if err := f(scanner.Event{Job: id, At: time.Now(), Kind: scanner.EventProgress, Status: scanner.StatusRunning, Progress: p}); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-watch.changed:
		case <-ticker.C:
			watch.events.Store(true)
		}
	}
}

// newEvents calls f with the next events of a job, notes in job whether it has ended, and
// returns how many there were.
func (s *Service) newEvents(ctx context.Context, job *scanner.Job, after *int64, f func(scanner.Event) error) (int, error) {
	events, err := s.queue.Events(ctx, job.ID, *after, eventsAtOnce)
	if err != nil {
		return 0, err
	}
	for _, e := range events {
		if err := f(e); err != nil {
			return 0, err
		}
		*after = e.ID
		if e.Kind == scanner.EventEnded {
			job.Status = e.Status
		} else {
			job.Status = scanner.StatusPending // it was queued again
		}
	}
	return len(events), nil
}

// progressOf is how far the attempt at a job is, nil where none is known.
func (s *Service) progressOf(ctx context.Context, id int64) *scanner.Progress {
	s.mu.Lock()
	for _, l := range s.slots {
		if l.job != nil && l.job.ID == id {
			p := l.progress
			s.mu.Unlock()
			return &p
		}
	}
	s.mu.Unlock()
	for _, w := range s.otherWorkers(ctx) {
		if w.Job == id {
			return &w.Progress
		}
	}
	return nil
}

// Job is everything about one job.
func (s *Service) Job(ctx context.Context, id int64) (scanner.JobDetails, error) {
	d, err := s.queue.Details(ctx, id)
	if err == nil && d.Status == scanner.StatusRunning {
		d.Progress = s.progressOf(ctx, id)
	}
	return d, err
}

// Set changes a setting for all instances.
func (s *Service) Set(ctx context.Context, by scanner.Caller, key, value string) (scanner.SettingChange, error) {
	plan := s.currentPlan()
	wanted := plan.Settings
	if err := wanted.Set(key, value); err != nil {
		return scanner.SettingChange{}, scanner.Errorf(scanner.ErrInvalid, "%w", err)
	}
	if err := (scanner.Pool{Name: scanner.DefaultPool, Memory: wanted.WorkerMemory, Count: wanted.WorkerCount}).Check(s.o.Memory); err != nil {
		return scanner.SettingChange{}, scanner.Errorf(scanner.ErrInvalid, "%s: %w", key, err)
	}
	change, err := s.queue.Set(ctx, key, value, by.Name)
	if err != nil {
		return scanner.SettingChange{}, err
	}
	return s.changed(ctx, by, change, wanted)
}

// Unset gives a setting its default again.
func (s *Service) Unset(ctx context.Context, by scanner.Caller, key string) (scanner.SettingChange, error) {
	change, err := s.queue.Unset(ctx, key)
	if err != nil {
		return scanner.SettingChange{}, err
	}
	wanted := s.currentPlan().Settings
	if err := wanted.Set(key, change.Default); err != nil {
		return scanner.SettingChange{}, err
	}
	return s.changed(ctx, by, change, wanted)
}

// changed adds to a change what it means for the workers.
func (s *Service) changed(ctx context.Context, by scanner.Caller, change scanner.SettingChange, wanted scanner.Settings) (scanner.SettingChange, error) {
	s.log.Info("a setting was changed", "key", change.Key, "old", change.Old, "new", change.Value, "by", by.Name)
	s.nudge() // whatever becomes of this request
	if err := s.reload(ctx); err != nil {
		return change, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if change.Key == "worker.memory_limit" {
		for _, l := range s.slots {
			if l.pool == scanner.DefaultPool && l.process != nil && l.limit != wanted.WorkerMemory {
				change.Workers = append(change.Workers, l.name)
			}
		}
		slices.Sort(change.Workers)
	}
	if _, ok := s.plan.Pool(wanted.LargePool); change.Key == "routing.large_image_pool" && wanted.LargePool != "" && !ok {
		change.Warnings = append(change.Warnings, fmt.Sprintf("there is no pool %s yet; until there is, large images begin in %s", wanted.LargePool, scanner.DefaultPool))
	}
	if strings.HasPrefix(change.Key, "worker.") {
		change.Warnings = append(change.Warnings, s.crowded()...)
	}
	return change, nil
}

// crowded says that not all workers can run at once. The caller holds the lock.
func (s *Service) crowded() []string {
	var sum int64
	for _, p := range s.plan.Pools {
		sum += p.Memory * int64(p.Count)
	}
	if sum <= s.o.Memory {
		return nil
	}
	return []string{fmt.Sprintf("all workers together would have %s, and this machine has %s for them: some wait until others are idle", bytesize.Text(sum), bytesize.Text(s.o.Memory))}
}

// PutPool adds a pool, or changes one.
func (s *Service) PutPool(ctx context.Context, by scanner.Caller, p scanner.Pool) (scanner.PoolChange, error) {
	if err := p.Check(s.o.Memory); err != nil {
		return scanner.PoolChange{}, scanner.Errorf(scanner.ErrInvalid, "%w", err)
	}
	p, err := s.queue.PutPool(ctx, p)
	if err != nil {
		return scanner.PoolChange{}, err
	}
	s.log.Info("a pool was set", "pool", p.Name, "memory", bytesize.Size(p.Memory), "count", p.Count, "by", by.Name)
	s.nudge()
	if err := s.reload(ctx); err != nil {
		return scanner.PoolChange{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	change := s.poolChange(p)
	change.Warnings = s.crowded()
	return change, nil
}

// RemovePool removes a pool; its workers end after their attempts, and jobs that
// wait for it are routed again.
func (s *Service) RemovePool(ctx context.Context, by scanner.Caller, name string) error {
	if err := s.queue.RemovePool(ctx, name); err != nil {
		return err
	}
	s.log.Info("a pool was removed", "pool", name, "by", by.Name)
	err := s.reload(ctx)
	s.all()
	return err
}

// RestartWorkers replaces workers, each after its attempt, or at once.
func (s *Service) RestartWorkers(ctx context.Context, by scanner.Caller, r scanner.RestartRequest) ([]scanner.PoolChange, error) {
	plan := s.currentPlan()
	if _, ok := plan.Pool(r.Pool); r.Pool != "" && !ok {
		return nil, noPool(r.Pool, plan)
	}
	if err := s.queue.RestartPools(ctx, r.Pool); err != nil {
		return nil, err
	}
	s.log.Info("workers are restarted", "pool", r.Pool, "now", r.Now, "by", by.Name)
	s.nudge()
	if err := s.reload(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	var changes []scanner.PoolChange
	for _, p := range s.plan.Pools {
		if r.Pool != "" && p.Name != r.Pool {
			continue
		}
		changes = append(changes, s.poolChange(p))
		for _, l := range s.slots {
			if r.Now && l.pool == p.Name {
				l.interruptWith(errRestart)
			}
		}
	}
	s.mu.Unlock()
	return changes, nil
}

// poolChange counts the pool's workers. The caller holds the lock.
func (s *Service) poolChange(p scanner.Pool) scanner.PoolChange {
	change := scanner.PoolChange{Pool: p}
	for _, l := range s.slots {
		if l.pool != p.Name || l.process == nil {
			continue
		}
		change.Running++
		switch {
		case l.generation == p.Generation && !l.restart:
		case l.attempt != 0:
			change.Draining = append(change.Draining, l.name)
		default:
			change.Restarted++
		}
	}
	slices.Sort(change.Draining)
	return change
}

// Ready reports whether jobs can be taken now.
func (s *Service) Ready(ctx context.Context) error {
	s.mu.Lock()
	stop, beatErr := s.stop, s.beatErr
	s.mu.Unlock()
	switch {
	case stop:
		return errors.New("it is being stopped")
	case beatErr != nil: // such as a full disk, which can still be read
		return beatErr
	}
	_, err := s.queue.Version(ctx)
	return err
}
