package inspect

import (
	"log/slog"
	"sync/atomic"
	"time"

	"stella/internal/oom"
)

const (
	// patient is how long a target that failed once is left alone; it doubles each time, up to longest.
	patient = 2 * time.Second
	longest = 5 * time.Minute
)

// trouble is what is wrong with one address, and when it is asked again. One goroutine uses it at a time.
type trouble struct {
	failures int // in a row
	told     string
	until    time.Time
}

// ready reports whether it is to be asked now.
func (t *trouble) ready() bool { return !time.Now().Before(t.until) }

// tell notes how it went, and logs what is news. A first failure is none: a program that is started listens some moments later.
func (t *trouble) tell(log *slog.Logger, what string, w *watch, err error) {
	if err == nil {
		if t.told != "" {
			log.Info("an application answers again", "what", what, "cgroup", w.Cgroup, "container", nameOf(w))
		}
		*t = trouble{}
		return
	}
	if t.failures++; t.failures > 1 && err.Error() != t.told {
		t.told = err.Error()
		log.Warn("an application that says it may be asked does not answer as it should", "what", what, "cgroup", w.Cgroup, "container", nameOf(w), "why", err)
	}
	t.until = time.Now().Add(min(patient<<min(t.failures-1, 16), longest))
}

// counts counts what was asked.
type counts struct{ metricsOK, metricsFailed, heapsOK, heapsFailed atomic.Int64 }

func (c *counts) metrics(err error) { count(err, &c.metricsOK, &c.metricsFailed) }
func (c *counts) heaps(err error)   { count(err, &c.heapsOK, &c.heapsFailed) }

func count(err error, ok, failed *atomic.Int64) {
	if err != nil {
		ok = failed
	}
	ok.Add(1)
}

func (c *counts) status() oom.InspectStatus {
	return oom.InspectStatus{
		Metrics: c.metricsOK.Load(), MetricsFailed: c.metricsFailed.Load(), Heaps: c.heapsOK.Load(), HeapsFailed: c.heapsFailed.Load(),
	}
}
