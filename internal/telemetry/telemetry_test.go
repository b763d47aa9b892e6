package telemetry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"stella/internal/scanner"
)

// source is a scanner in a state that a test wants.
type source struct {
	mu    sync.Mutex
	state State
	err   error
}

func (s *source) State(context.Context) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, s.err
}

func (s *source) set(state State, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.err = state, err
}

// example is a state with everything in it.
var example = State{
	Workers: []Worker{
		{Pool: "default", Name: "default-0", Memory: 60 << 20, Limit: 64 << 20, Quiet: 1.5},
		{Pool: "default", Name: "default-1", Memory: 20 << 20, Limit: 64 << 20},
	},
	Pools:      []Pool{{Name: "default", Limit: 64 << 20, Workers: map[string]int{"busy": 1, "idle": 1}}},
	Queues:     []Queue{{Pool: "default", Pending: 3, Running: 1, Oldest: 12.5}},
	CacheBytes: 1 << 20,
}

// watched is a scanner in that state, in which everything has happened once.
func watched(t *testing.T) (*Scanner, *source) {
	t.Helper()
	s, from := NewScanner("1.2.3"), &source{state: example}
	s.Watch(from)
	s.WorkerRestarted("default", "oom")
	s.AttemptEnded("default", "oom", time.Second, 3, 0)
	s.AttemptEnded("large", "succeeded", 2*time.Second, 3, 2)
	s.AttemptEnded("large", "timeout", time.Minute, 0, 0)
	s.Rerouted("default", "large")
	return s, from
}

func TestLint(t *testing.T) {
	s, _ := watched(t)
	s.Admin(nil, nil) // which adds its own
	problems, err := testutil.GatherAndLint(s.Registry())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestCounters(t *testing.T) {
	s, _ := watched(t)
	err := testutil.GatherAndCompare(s.Registry(), strings.NewReader(`
# HELP scanner_layer_cache_hits_total Layers of scanner_layers_total that were not read, because the cache had them.
# TYPE scanner_layer_cache_hits_total counter
scanner_layer_cache_hits_total 2
# HELP scanner_layers_total Layers that attempts had to have, counting each distinct layer of an image once.
# TYPE scanner_layers_total counter
scanner_layers_total 6
# HELP scanner_oom_reroutes_total Jobs that went on in a larger pool after a worker was OOM-killed.
# TYPE scanner_oom_reroutes_total counter
scanner_oom_reroutes_total{from="default",to="large"} 1
# HELP scanner_sbom_generation_failures_total Attempts that ended without an SBOM, other than by somebody's will or by a restart of the server.
# TYPE scanner_sbom_generation_failures_total counter
scanner_sbom_generation_failures_total{reason="error"} 0
scanner_sbom_generation_failures_total{reason="killed"} 0
scanner_sbom_generation_failures_total{reason="memory"} 0
scanner_sbom_generation_failures_total{reason="oom"} 1
scanner_sbom_generation_failures_total{reason="timeout"} 1
# HELP scanner_scan_timeout_total Attempts that took longer than timeouts.scan, or than their request's own time.
# TYPE scanner_scan_timeout_total counter
scanner_scan_timeout_total 1
# HELP scanner_worker_restarts_total Processes of workers that ended and were replaced.
# TYPE scanner_worker_restarts_total counter
scanner_worker_restarts_total{pool="default",reason="cancelled"} 0
scanner_worker_restarts_total{pool="default",reason="crash"} 0
scanner_worker_restarts_total{pool="default",reason="oom"} 1
scanner_worker_restarts_total{pool="default",reason="requested"} 0
scanner_worker_restarts_total{pool="default",reason="timeout"} 0
scanner_worker_restarts_total{pool="large",reason="cancelled"} 0
scanner_worker_restarts_total{pool="large",reason="crash"} 0
scanner_worker_restarts_total{pool="large",reason="oom"} 0
scanner_worker_restarts_total{pool="large",reason="requested"} 0
scanner_worker_restarts_total{pool="large",reason="timeout"} 0
`), "scanner_layer_cache_hits_total", "scanner_layers_total", "scanner_oom_reroutes_total", "scanner_sbom_generation_failures_total",
		"scanner_scan_timeout_total", "scanner_worker_restarts_total")
	if err != nil {
		t.Error(err)
	}
	if got := testutil.ToFloat64(s.attempts.WithLabelValues("large", "timeout")); got != 1 {
		t.Errorf("%v attempts", got)
	}
}

const gaugeText = `
# HELP scanner_jobs_pending Jobs that wait for a pool, over all instances.
# TYPE scanner_jobs_pending gauge
scanner_jobs_pending{pool="default"} 3
# HELP scanner_pool_workers Workers of a pool on this instance, by state.
# TYPE scanner_pool_workers gauge
scanner_pool_workers{pool="default",state="busy"} 1
scanner_pool_workers{pool="default",state="draining"} 0
scanner_pool_workers{pool="default",state="idle"} 1
scanner_pool_workers{pool="default",state="starting"} 0
scanner_pool_workers{pool="default",state="waiting"} 0
# HELP scanner_store_up 1 where the database answered this scrape, 0 where it did not.
# TYPE scanner_store_up gauge
scanner_store_up 1
# HELP scanner_worker_memory_usage_bytes Memory in use by a worker's cgroup, without page cache that can be dropped.
# TYPE scanner_worker_memory_usage_bytes gauge
scanner_worker_memory_usage_bytes{pool="default",worker="default-0"} 6.291456e+07
scanner_worker_memory_usage_bytes{pool="default",worker="default-1"} 2.097152e+07
`

// Gauges are of the moment of the scrape: what is gone or unknown is not shown.
func TestGauges(t *testing.T) {
	s, from := watched(t)
	names := []string{"scanner_jobs_pending", "scanner_pool_workers", "scanner_store_up", "scanner_worker_memory_usage_bytes"}
	if err := testutil.GatherAndCompare(s.Registry(), strings.NewReader(gaugeText), names...); err != nil {
		t.Error(err)
	}
	from.set(State{CacheBytes: -1, Workers: example.Workers[:1]}, errors.New("the database does not answer"))
	err := testutil.GatherAndCompare(s.Registry(), strings.NewReader(`
# HELP scanner_store_up 1 where the database answered this scrape, 0 where it did not.
# TYPE scanner_store_up gauge
scanner_store_up 0
# HELP scanner_worker_memory_usage_bytes Memory in use by a worker's cgroup, without page cache that can be dropped.
# TYPE scanner_worker_memory_usage_bytes gauge
scanner_worker_memory_usage_bytes{pool="default",worker="default-0"} 6.291456e+07
`), append(names, "scanner_cache_bytes")...)
	if err != nil {
		t.Error(err)
	}
}

// Values of labels are bounded, whatever is put in.
func TestLabelsAreBounded(t *testing.T) {
	s, from := NewScanner("1.2.3"), &source{}
	s.Watch(from)
	for i := range 1000 {
		pool := fmt.Sprintf("pool-%d", i)
		s.WorkerRestarted(pool, fmt.Sprint("reason", i))
		s.AttemptEnded(pool, fmt.Sprint("outcome", i), time.Second, -1, -1)
		s.Rerouted(pool, pool)
		from.set(State{Workers: []Worker{{Pool: pool, Name: pool + "-0"}}, Pools: []Pool{{Name: pool, Workers: map[string]int{fmt.Sprint(i): 1}}}, Queues: []Queue{{Pool: pool}}}, nil)
		if i%100 == 0 {
			if _, err := s.Registry().Gather(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, most := range map[string]int{
		"scanner_worker_restarts_total": (maxPools + 1) * (len(reasons) + 1),
		"scanner_attempts_total":        (maxPools + 1) * (len(outcomes) + 1),
		"scanner_oom_reroutes_total":    maxPools + 1,
		"scanner_scan_duration_seconds": len(outcomes) + 1,
		"scanner_jobs_pending":          1,
	} {
		n, err := testutil.GatherAndCount(s.Registry(), name)
		if err != nil || n > most {
			t.Errorf("%s has %d series, at most %d: %v", name, n, most, err)
		}
	}
}

// The lists here are the scanner's, which this package does not know.
func TestWordsAreTheScanners(t *testing.T) {
	var want []string
	for _, o := range scanner.Outcomes {
		want = append(want, string(o))
	}
	if !slices.Equal(outcomes, want) {
		t.Errorf("outcomes %q, the scanner has %q", outcomes, want)
	}
	want = nil
	for _, r := range scanner.RestartReasons {
		want = append(want, string(r))
	}
	if !slices.Equal(reasons, want) {
		t.Errorf("reasons %q, the scanner has %q", reasons, want)
	}
	want = nil
	for _, s := range []scanner.WorkerState{scanner.WorkerStarting, scanner.WorkerIdle, scanner.WorkerBusy, scanner.WorkerDraining, scanner.WorkerWaiting} {
		want = append(want, string(s))
	}
	if !slices.Equal(states, want) {
		t.Errorf("states %q, the scanner has %q", states, want)
	}
	if scanner.CheckPoolName(other) == nil {
		t.Errorf("a pool can be called %q", other)
	}
	if maxPools < scanner.MaxPools {
		t.Errorf("%d names of pools are labels, and there can be %d pools", maxPools, scanner.MaxPools)
	}
}

func TestConcurrentUse(t *testing.T) {
	s, _ := watched(t)
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for j := range 20 {
				s.WorkerRestarted(fmt.Sprint("p", j%5), "oom")
				s.AttemptEnded(fmt.Sprint("p", i), "succeeded", time.Millisecond, 1, 1)
				if _, err := s.Registry().Gather(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
}
