package service

import (
	"cmp"
	"context"
	"slices"
	"time"

	"stella/internal/scanner"
)

// Workers are the workers of all instances that live.
func (s *Service) Workers(ctx context.Context) ([]scanner.Worker, error) {
	all := append(s.localWorkers(), s.otherWorkers(ctx)...)
	slices.SortFunc(all, func(a, b scanner.Worker) int {
		return cmp.Or(cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Pool, b.Pool), cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

// localWorkers are this instance's, with figures of now.
func (s *Service) localWorkers() []scanner.Worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]scanner.Worker, 0, len(s.slots))
	for _, l := range s.slots {
		if l.process != nil && time.Since(l.sampled) > sampleAge {
			if sample, err := l.process.Sample(); err == nil { // it may be ending
				l.sample, l.sampled = sample, time.Now()
			}
		}
		wanted := l.limit
		if p, ok := s.plan.Pool(l.pool); ok {
			wanted = p.Memory
		}
		all = append(all, l.view(s.instance.Name, wanted))
	}
	slices.SortFunc(all, func(a, b scanner.Worker) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// otherWorkers are those of the other instances as they last said.
func (s *Service) otherWorkers(ctx context.Context) []scanner.Worker {
	if s.store == "sqlite" {
		return nil
	}
	_, workers, err := s.queue.Instances(ctx, expiry)
	if err != nil {
		s.log.Warn("the workers of other servers are not known now", "error", err)
		return nil
	}
	return slices.DeleteFunc(workers, func(w scanner.Worker) bool { return w.Instance == s.instance.Name })
}

// Pools are the pools with their workers counted.
func (s *Service) Pools(ctx context.Context) ([]scanner.PoolStatus, error) {
	workers, err := s.Workers(ctx)
	if err != nil {
		return nil, err
	}
	waiting, err := s.queue.QueueStatus(ctx)
	if err != nil {
		return nil, err
	}
	var all []scanner.PoolStatus
	for _, p := range s.currentPlan().Pools {
		status := scanner.PoolStatus{Pool: p}
		for _, w := range workers {
			if w.Pool != p.Name {
				continue
			}
			switch w.State {
			case scanner.WorkerIdle:
				status.Idle++
			case scanner.WorkerBusy, scanner.WorkerDraining:
				status.Busy++
			default:
				status.Waiting++
			}
		}
		for _, q := range waiting.Pools {
			if q.Pool == p.Name {
				status.Pending = q.Pending
			}
		}
		all = append(all, status)
	}
	return all, nil
}

// Status is the service at a glance.
func (s *Service) Status(ctx context.Context) (scanner.ServiceStatus, error) {
	pools, err := s.Pools(ctx)
	if err != nil {
		return scanner.ServiceStatus{}, err
	}
	queue, err := s.queue.QueueStatus(ctx)
	if err != nil {
		return scanner.ServiceStatus{}, err
	}
	instances, _, err := s.queue.Instances(ctx, expiry)
	if err != nil {
		return scanner.ServiceStatus{}, err
	}
	stats, err := s.queue.Stats(ctx, time.Now().Add(-time.Hour))
	if err != nil {
		return scanner.ServiceStatus{}, err
	}
	status := scanner.ServiceStatus{
		Version: s.instance.Version, Instances: instances, Store: s.store, Pools: pools,
		Pending: queue.Pending, Running: queue.Running, Incidents: stats.Incidents,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	status.Memory, status.Reserved = s.ledger.total, s.ledger.reserved
	for _, l := range s.slots {
		if l.process != nil {
			status.Isolation = l.process.Isolation()
		}
	}
	return status, nil
}
