package telemetry

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Source tells the state of a scanner.
type Source interface {
	// State is the state of this instance now. An error says that the store does not
	// answer; State has then what is known without it.
	State(ctx context.Context) (State, error)
}

// State is what the gauges show.
type State struct {
	Workers []Worker
	Pools   []Pool
	// Queues are of all instances that share the store; left out where it does not answer.
	Queues []Queue
	// CacheBytes is what the cache of layers holds on this machine, -1 where unknown.
	CacheBytes int64
}

// Worker is one worker's process. Those that have none are left out.
type Worker struct {
	Pool, Name    string
	Memory, Limit int64 // bytes
	// Quiet is for how many seconds its attempt has not got further; 0 without an attempt.
	Quiet float64
}

// Pool is one pool on this instance.
type Pool struct {
	Name  string
	Limit int64 // bytes, of each worker
	// Workers counts them by state; see docs/metrics.md for the states.
	Workers map[string]int
}

// Queue is what waits for a pool and what runs there.
type Queue struct {
	Pool             string
	Pending, Running int64
	Oldest           float64 // seconds that the oldest pending job has waited
}

// stateTime bounds asking for the state: well below Prometheus' default of 10 s for a scrape.
const stateTime = 5 * time.Second

// Watch shows the state of a source in the metrics from now on. It is called once.
func (s *Scanner) Watch(source Source) {
	s.registry.MustRegister(&gauges{scanner: s, source: source})
}

// gauges is a prometheus.Collector that asks at each scrape.
type gauges struct {
	scanner *Scanner
	source  Source
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	workerUsage = desc("scanner_worker_memory_usage_bytes", "Memory in use by a worker's cgroup, without page cache that can be dropped.", "pool", "worker")
	workerLimit = desc("scanner_worker_memory_limit_bytes", "Memory limit that a worker's process runs with.", "pool", "worker")
	workerQuiet = desc("scanner_worker_quiet_seconds", "For how long a worker's attempt has not got further; 0 without an attempt.", "pool", "worker")
	poolLimit   = desc("scanner_pool_memory_limit_bytes", "Memory limit of a pool's workers, as it is set.", "pool")
	poolWorkers = desc("scanner_pool_workers", "Workers of a pool on this instance, by state.", "pool", "state")
	pending     = desc("scanner_jobs_pending", "Jobs that wait for a pool, over all instances.", "pool")
	running     = desc("scanner_jobs_running", "Jobs that a pool's workers have, over all instances.", "pool")
	oldest      = desc("scanner_queue_oldest_seconds", "How long the oldest job that waits for a pool has waited.", "pool")
	cacheBytes  = desc("scanner_cache_bytes", "What the cache of layers holds on this machine.")
	storeUp     = desc("scanner_store_up", "1 where the database answered this scrape, 0 where it did not.")
	stateTook   = desc("scanner_state_duration_seconds", "How long it took to ask the service and its database for this scrape.")
)

// Describe implements prometheus.Collector.
func (*gauges) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{workerUsage, workerLimit, workerQuiet, poolLimit, poolWorkers, pending, running, oldest, cacheBytes, storeUp, stateTook} {
		c <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(c chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), stateTime)
	defer cancel()
	start := time.Now()
	state, err := g.source.State(ctx)
	up := 1.0
	if err != nil {
		up = 0
	}
	set := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	set(storeUp, up)
	set(stateTook, time.Since(start).Seconds())
	if state.CacheBytes >= 0 {
		set(cacheBytes, float64(state.CacheBytes))
	}
	for _, w := range state.Workers {
		if g.scanner.pool(w.Pool) == other {
			continue // their sum would say nothing
		}
		set(workerUsage, float64(w.Memory), w.Pool, w.Name)
		set(workerLimit, float64(w.Limit), w.Pool, w.Name)
		set(workerQuiet, w.Quiet, w.Pool, w.Name)
	}
	for _, p := range state.Pools {
		if g.scanner.pool(p.Name) == other {
			continue
		}
		set(poolLimit, float64(p.Limit), p.Name)
		for _, s := range states {
			set(poolWorkers, float64(p.Workers[s]), p.Name, s)
		}
	}
	for _, q := range state.Queues {
		if g.scanner.pool(q.Pool) == other {
			continue
		}
		set(pending, float64(q.Pending), q.Pool)
		set(running, float64(q.Running), q.Pool)
		set(oldest, q.Oldest, q.Pool)
	}
}
