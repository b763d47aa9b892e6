// Package telemetry measures the scanner for Prometheus, and answers whether it
// lives and is ready.
//
// A counter is pushed when something happened, by the methods of [Scanner]. A
// gauge is never kept: each scrape asks a [Source] for the state of now, so none
// is stale, and what cannot be known now is left out, which Prometheus sees as an end
// of the series. docs/metrics.md lists all of them.
//
// Hazards:
//
//   - A label's values are bounded. Images and digests are none; names of pools
//     are counted, and those above [maxPools] become "other"; what is in no list here
//     becomes "other" as well.
//   - increase() does not see the first event of a series that was not there
//     before it. So the series of every pool are made, with zero, once it is known.
//   - pprof's handlers show memory and can cost a processor for as long as they are
//     asked for: [Scanner.Admin] is for a listener that strangers do not reach.
package telemetry

import (
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

const (
	// maxPools bounds the names of pools that become labels in the life of a
	// process: twice as many as there can be at once.
	maxPools = 128
	// other stands for values that are too many, or in no list.
	other = "(other)"
)

// The values of labels, apart from the names of pools and workers.
var (
	outcomes = []string{"succeeded", "oom", "memory", "error", "timeout", "cancelled", "killed", "lost"}
	reasons  = []string{"oom", "crash", "timeout", "cancelled", "requested"}
	// failures are the outcomes that are a failure to make an SBOM, not somebody's will.
	failures = []string{"oom", "memory", "error", "timeout", "killed"}
	states   = []string{"starting", "idle", "busy", "draining", "waiting"}
)

// Scanner measures one scanner service. Its methods may be called from several goroutines.
type Scanner struct {
	registry *prometheus.Registry

	restarts     *prometheus.CounterVec
	attempts     *prometheus.CounterVec
	failed       *prometheus.CounterVec
	timeouts     prometheus.Counter
	duration     *prometheus.HistogramVec
	reroutes     *prometheus.CounterVec
	layers, hits prometheus.Counter

	mu    sync.Mutex
	pools map[string]bool
}

// NewScanner makes the metrics of a scanner of that version, in a registry of their own.
func NewScanner(version string) *Scanner {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	s := &Scanner{
		registry: prometheus.NewRegistry(),
		restarts: counter("scanner_worker_restarts_total", "Processes of workers that ended and were replaced.", "pool", "reason"),
		attempts: counter("scanner_attempts_total", "Attempts of jobs that ended.", "pool", "outcome"),
		failed:   counter("scanner_sbom_generation_failures_total", "Attempts that ended without an SBOM, other than by somebody's will or by a restart of the server.", "reason"),
		reroutes: counter("scanner_oom_reroutes_total", "Jobs that went on in a larger pool after a worker was OOM-killed.", "from", "to"),
		timeouts: prometheus.NewCounter(prometheus.CounterOpts{Name: "scanner_scan_timeout_total", Help: "Attempts that took longer than timeouts.scan, or than their request's own time."}),
		layers:   prometheus.NewCounter(prometheus.CounterOpts{Name: "scanner_layers_total", Help: "Layers that attempts had to have, counting each distinct layer of an image once."}),
		hits:     prometheus.NewCounter(prometheus.CounterOpts{Name: "scanner_layer_cache_hits_total", Help: "Layers of scanner_layers_total that were not read, because the cache had them."}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "scanner_scan_duration_seconds", Help: "How long attempts took.",
			// From a cached image (milliseconds) to the default time limit of 30 minutes.
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800},
			// For servers that take them: within 10 %, in at most 100 buckets.
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}, []string{"outcome"}),
		pools: map[string]bool{},
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "stella_build_info", Help: "Always 1; the labels say which program this is."}, []string{"version", "goversion"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	s.registry.MustRegister(s.restarts, s.attempts, s.failed, s.reroutes, s.timeouts, s.layers, s.hits, s.duration, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, reason := range failures {
		s.failed.WithLabelValues(reason)
	}
	for _, outcome := range outcomes {
		s.duration.WithLabelValues(outcome)
	}
	return s
}

// Registry has the metrics, to be gathered or served.
func (s *Scanner) Registry() *prometheus.Registry { return s.registry }

// WorkerRestarted counts a worker's process that ended.
func (s *Scanner) WorkerRestarted(pool, reason string) {
	s.restarts.WithLabelValues(s.pool(pool), known(reasons, reason)).Inc()
}

// AttemptEnded counts an attempt: how it ended, what it took, how many distinct
// layers its image has as far as it knew, and how many of them the cache had.
func (s *Scanner) AttemptEnded(pool, outcome string, took time.Duration, layers, cached int) {
	outcome = known(outcomes, outcome)
	s.attempts.WithLabelValues(s.pool(pool), outcome).Inc()
	s.duration.WithLabelValues(outcome).Observe(took.Seconds())
	s.layers.Add(float64(max(layers, 0)))
	s.hits.Add(float64(max(cached, 0)))
	if outcome == "timeout" {
		s.timeouts.Inc()
	}
	if slices.Contains(failures, outcome) {
		s.failed.WithLabelValues(outcome).Inc()
	}
}

// Rerouted counts a job that an OOM kill sent to a larger pool.
func (s *Scanner) Rerouted(from, to string) {
	s.reroutes.WithLabelValues(s.pool(from), s.pool(to)).Inc()
}

// pool is the label of a pool. The first time it makes the pool's series.
func (s *Scanner) pool(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pools[name] {
		return name
	}
	if len(s.pools) == maxPools {
		return other
	}
	s.pools[name] = true
	for _, reason := range reasons {
		s.restarts.WithLabelValues(name, reason)
	}
	for _, outcome := range outcomes {
		s.attempts.WithLabelValues(name, outcome)
	}
	return name
}

func known(list []string, value string) string {
	if slices.Contains(list, value) {
		return value
	}
	return other
}
