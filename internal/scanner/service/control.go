package service

import (
	"cmp"
	"context"
	"slices"
	"time"

	"stella/internal/bytesize"
	"stella/internal/scanner"
	"stella/internal/scanner/worker"
)

// control is the loop that starts and stops workers and gives them jobs.
func (s *Service) control(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var failing bool
	for {
		err := s.turn(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			s.log.Error("cannot give jobs to workers; trying again", "error", err)
		case err == nil && failing:
			s.log.Info("can give jobs to workers again")
		}
		failing = err != nil
		if !s.await(ctx, ticker.C, failing) {
			return
		}
	}
}

// await returns when a turn may find something to do, or false when ctx has ended.
func (s *Service) await(ctx context.Context, tick <-chan time.Time, failing bool) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-s.wake:
			if !failing { // else with the next tick, not in a tight loop
				return true
			}
		case <-tick:
			if s.lookAround() || failing {
				return true
			}
		}
	}
}

// lookAround reports whether there may be something to do of which nobody says so: jobs and
// settings of other instances, delayed jobs whose time has come, workers whose rest is
// over. The next turn asks for such jobs.
func (s *Service) lookAround() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	rested := false
	for _, l := range s.slots {
		rested = rested || l.state == scanner.WorkerWaiting && !l.resume.IsZero() && now.After(l.resume)
	}
	if s.store == "sqlite" && (s.due.IsZero() || now.Before(s.due)) {
		return rested // there are no other instances
	}
	s.due = time.Time{}
	for _, p := range s.plan.Pools {
		s.pending[p.Name] = true
	}
	return true
}

// turn brings the workers in line with the plan and gives them jobs.
func (s *Service) turn(ctx context.Context) error {
	if err := s.reload(ctx); err != nil {
		return err
	}
	if starved := s.arrange(ctx); len(starved) > 0 {
		if err := s.feed(ctx, starved); err != nil {
			return err
		}
	}
	return s.assign(ctx)
}

// reload reads settings and pools where they have changed.
func (s *Service) reload(ctx context.Context) error {
	version, err := s.queue.Version(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	same := version == s.version
	s.mu.Unlock()
	if same {
		return nil
	}
	settings, _, version, err := s.queue.Settings(ctx)
	if err != nil {
		return err
	}
	pools, err := s.queue.Pools(ctx)
	if err != nil {
		return err
	}
	for _, p := range pools { // those of a larger machine, or of a time when there was more
		if p.Memory > s.o.Memory {
			s.log.Warn("workers of a pool cannot be started: one alone needs more memory than there is for all on this server",
				"pool", p.Name, "needs", bytesize.Text(p.Memory), "memory", bytesize.Text(s.o.Memory))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plan, s.version = scanner.Plan{Pools: pools, Settings: settings}, version
	for _, p := range pools {
		s.pending[p.Name] = true
	}
	return nil
}

// arrange makes the slots what the plan wants, as far as there is memory. It
// returns pools that may have jobs and got less than they want.
func (s *Service) arrange(ctx context.Context) (starved []scanner.Pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := map[string]scanner.Pool{}
	for _, p := range s.plan.Pools {
		for n := range p.Count {
			name := slotName(p.Name, n)
			wanted[name] = p
			if s.slots[name] == nil {
				s.slots[name] = &slot{name: name, pool: p.Name, state: scanner.WorkerWaiting, restarts: map[scanner.RestartReason]int64{}}
			}
		}
	}
	for name, l := range s.slots {
		p, ok := wanted[name]
		l.retired = !ok
		l.restart = l.restart || ok && l.process != nil && l.generation != p.Generation
		switch {
		case l.process != nil && l.state == scanner.WorkerIdle && l.attempt == 0 && (l.retired || l.restart):
			s.end(l)
		case l.retired && l.process == nil && l.state == scanner.WorkerWaiting && l.attempt == 0:
			delete(s.slots, name)
		}
	}
	for _, l := range s.hungry() {
		if !l.retired && time.Now().After(l.resume) {
			p := wanted[l.name]
			if s.ledger.reserve(p.Memory) {
				s.begin(ctx, l, p)
			} else if s.pending[l.pool] && !slices.ContainsFunc(starved, func(x scanner.Pool) bool { return x.Name == p.Name }) {
				starved = append(starved, p)
			}
		}
	}
	return starved
}

// feed makes room for those pools that really have jobs.
func (s *Service) feed(ctx context.Context, starved []scanner.Pool) error {
	status, err := s.queue.QueueStatus(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range starved {
		s.pending[p.Name] = slices.ContainsFunc(status.Pools, func(q scanner.QueuePool) bool { return q.Pool == p.Name && q.Pending > q.Delayed })
		if s.pending[p.Name] {
			s.makeRoom(p.Name, p.Memory)
		}
	}
	return nil
}

// hungry are the slots without a process, those first whose pools have jobs.
func (s *Service) hungry() []*slot {
	var all []*slot
	for _, l := range s.slots {
		if l.state == scanner.WorkerWaiting {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(a, b *slot) int {
		if pa, pb := s.pending[a.pool], s.pending[b.pool]; pa != pb {
			if pa {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.name, b.name)
	})
	return all
}

// makeRoom ends idle workers of pools that have no job, where that makes room for
// one of this pool. Their slots wait then; they are not started again before this
// pool's job, because its slots come first.
func (s *Service) makeRoom(pool string, memory int64) {
	room := s.ledger.total - s.ledger.reserved
	var idle []*slot
	for _, l := range s.slots {
		switch {
		case l.pool == pool && (l.state == scanner.WorkerIdle || l.state == scanner.WorkerStarting):
			return // it will take the job
		case l.state == scanner.WorkerDraining && l.attempt == 0:
			room += l.limit // on its way out
		case l.pool != pool && !s.pending[l.pool] && l.free():
			idle = append(idle, l)
		}
	}
	enough := room
	for _, l := range idle {
		enough += l.limit
	}
	if enough < memory {
		return
	}
	slices.SortFunc(idle, func(a, b *slot) int { return cmp.Compare(b.limit, a.limit) }) // as few as possible
	for _, l := range idle {
		if room >= memory {
			return
		}
		room += l.limit
		s.end(l)
	}
}

// assign claims jobs for free workers.
func (s *Service) assign(ctx context.Context) error {
	for {
		l, process := s.next()
		if l == nil {
			return nil
		}
		claim, err := s.queue.Claim(ctx, l.pool, l.name, l.limit)
		if err != nil {
			return err
		}
		if claim == nil {
			if err := s.nothingFor(ctx, l.pool); err != nil {
				return err
			}
			continue
		}
		s.give(ctx, l, process, claim)
	}
}

// next is a free worker of a pool that may have a job, and its process.
func (s *Service) next() (*slot, *worker.Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var best *slot
	for _, l := range s.slots {
		if s.pending[l.pool] && l.free() && (best == nil || l.name < best.name) {
			best = l
		}
	}
	if best == nil {
		return nil, nil
	}
	return best, best.process
}

// nothingFor notes that a pool has no job now, and when the next delayed one is due.
func (s *Service) nothingFor(ctx context.Context, pool string) error {
	s.mu.Lock()
	s.pending[pool] = false
	s.mu.Unlock()
	due, err := s.queue.NextDue(ctx, pool)
	if err != nil || due.IsZero() {
		return err
	}
	// Where the clock was set back, a heartbeat lets the job begin earlier, without a word to this loop.
	if latest := time.Now().Add(2 * heartbeat); due.After(latest) {
		due = latest
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.due.IsZero() || due.Before(s.due) {
		s.due = due
	}
	return nil
}

// shutdown ends the workers and waits for them. What they had waits again.
func (s *Service) shutdown() {
	s.mu.Lock()
	s.stop = true
	for _, l := range s.slots {
		l.retired = true
		l.interruptWith(errShutdown)
		if l.process != nil && l.attempt == 0 {
			s.end(l)
		}
	}
	s.mu.Unlock()
	s.work.Wait()
}
