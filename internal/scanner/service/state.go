package service

import (
	"context"
	"io/fs"
	"path/filepath"
	"time"

	"stella/internal/scanner"
	"stella/internal/telemetry"
)

// cacheAge is how old the size of the cache may be when it is shown: to know it,
// a directory of up to 100,000 files is read.
const cacheAge = 30 * time.Second

// State is what the gauges of this instance's metrics show.
func (s *Service) State(ctx context.Context) (telemetry.State, error) {
	state := telemetry.State{CacheBytes: s.cacheBytes()}
	workers := s.localWorkers()
	for _, p := range s.currentPlan().Pools {
		pool := telemetry.Pool{Name: p.Name, Limit: p.Memory, Workers: map[string]int{}}
		for _, w := range workers {
			if w.Pool == p.Name {
				pool.Workers[string(w.State)]++
			}
		}
		state.Pools = append(state.Pools, pool)
	}
	for _, w := range workers {
		if w.PID != 0 {
			state.Workers = append(state.Workers, telemetry.Worker{Pool: w.Pool, Name: w.Name, Memory: w.Memory, Limit: w.Limit, Quiet: quiet(w)})
		}
	}
	queue, err := s.queue.QueueStatus(ctx)
	for _, q := range queue.Pools {
		state.Queues = append(state.Queues, telemetry.Queue{Pool: q.Pool, Pending: q.Pending, Running: q.Running, Oldest: q.Oldest})
	}
	return state, err
}

// quiet is for how many seconds a worker's attempt has not got further.
func quiet(w scanner.Worker) float64 {
	if w.Moved.IsZero() {
		return 0
	}
	return time.Since(w.Moved).Seconds()
}

// cacheBytes is what the cache of layers holds, -1 where it cannot be read.
func (s *Service) cacheBytes() int64 {
	s.cache.Lock()
	defer s.cache.Unlock()
	if time.Since(s.cache.at) < cacheAge {
		return s.cache.bytes
	}
	s.cache.bytes, s.cache.at = 0, time.Now()
	err := filepath.WalkDir(s.o.CacheDir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if info, err := e.Info(); err == nil { // a scan may have removed it
			s.cache.bytes += info.Size()
		}
		return nil
	})
	if err != nil {
		s.cache.bytes = -1
	}
	return s.cache.bytes
}
