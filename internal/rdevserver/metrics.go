package rdevserver

import (
	"errors"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"stella/internal/rdev"
	"stella/internal/rdev/webhook"
)

// refusals are the kinds of errors for which commands are refused, and their label.
var refusals = []struct {
	kind error
	name string
}{
	{rdev.ErrInvalid, "invalid"}, {rdev.ErrNotFound, "not_found"}, {rdev.ErrConflict, "conflict"},
	{rdev.ErrTooMany, "too_many"}, {rdev.ErrUnavailable, "unavailable"},
}

// other is the label of what is in no list.
const other = "other"

var reasons = []rdev.Reason{rdev.ReasonExit, rdev.ReasonSignal, rdev.ReasonTimeout, rdev.ReasonCancelled, rdev.ReasonOOM, rdev.ReasonFailed, rdev.ReasonLost}

// metrics count what happens; [metrics.watch] adds the state of now. No label has a name that a caller chose.
type metrics struct {
	registry     *prometheus.Registry
	ended        *prometheus.CounterVec
	refused      *prometheus.CounterVec
	waited       prometheus.Histogram
	took         *prometheus.HistogramVec
	requests     *prometheus.CounterVec
	unauthorized prometheus.Counter
	webhooks     *prometheus.CounterVec
}

func newMetrics(version string) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	seconds := []float64{.01, .05, .1, .5, 1, 5, 15, 60, 300, 900, 3600}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		ended:    counter("rdev_commands_ended_total", "Commands that ran and ended.", "reason"),
		refused:  counter("rdev_commands_refused_total", "Commands that were not taken in.", "kind"),
		waited:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "rdev_command_wait_seconds", Help: "How long commands were queued before they started.", Buckets: seconds}),
		took:     prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "rdev_command_duration_seconds", Help: "How long commands ran.", Buckets: seconds}, []string{"reason"}),
		requests: counter("rdev_http_requests_total", "Requests by the status of their answer; stream is a stream of events.", "code"),
		unauthorized: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rdev_http_unauthorized_total", Help: "Requests without a key, or with one that is not valid."}),
		webhooks: counter("rdev_webhooks_total", "Tries to call webhooks.", "result"),
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "stella_build_info", Help: "Always 1; the labels say which program this is."}, []string{"version", "goversion"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	m.registry.MustRegister(m.ended, m.refused, m.waited, m.took, m.requests, m.unauthorized, m.webhooks, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	// increase() does not see the first event of a series that was not there before it.
	for _, r := range reasons {
		m.ended.WithLabelValues(string(r))
		m.took.WithLabelValues(string(r))
	}
	for _, r := range refusals {
		m.refused.WithLabelValues(r.name)
	}
	for _, r := range []webhook.Result{webhook.Delivered, webhook.Failed, webhook.GivenUp} {
		m.webhooks.WithLabelValues(string(r))
	}
	return m
}

// CommandRefused implements service.Metrics.
func (m *metrics) CommandRefused(kind error) {
	for _, r := range refusals {
		if errors.Is(kind, r.kind) {
			m.refused.WithLabelValues(r.name).Inc()
			return
		}
	}
	m.refused.WithLabelValues(other).Inc()
}

// CommandStarted implements service.Metrics.
func (m *metrics) CommandStarted(waited time.Duration) { m.waited.Observe(waited.Seconds()) }

// CommandEnded implements service.Metrics.
func (m *metrics) CommandEnded(reason rdev.Reason, took time.Duration) {
	m.ended.WithLabelValues(string(reason)).Inc()
	m.took.WithLabelValues(string(reason)).Observe(took.Seconds())
}

// answered counts a request. Statuses are those that the API has, so they are few.
func (m *metrics) answered(status int) {
	code := "stream"
	if status != 0 {
		code = strconv.Itoa(status)
	}
	m.requests.WithLabelValues(code).Inc()
}

func (m *metrics) webhook(r webhook.Result) { m.webhooks.WithLabelValues(string(r)).Inc() }
