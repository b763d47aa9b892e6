package agent

import (
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"stella/internal/explain"
	"stella/internal/oom"
)

// maxSeries bounds the series of one metric with containers as labels: twice the pods
// of a large node (110 is the kubelet's default, 500 what some set), with the containers
// that were there before. What is beyond is counted under [others].
const maxSeries = 4096

// others is the label of containers beyond maxSeries.
const others = "(other)"

// scopes are the values of the label constraint.
var scopes = []oom.Scope{oom.ScopeContainer, oom.ScopePod, oom.ScopeParent, oom.ScopeCgroup, oom.ScopeNode, oom.ScopeCpuset, oom.ScopeUnknown}

// source is what the metrics show.
type source interface {
	// Totals calls fn for each container with kills; none falls while the agent or its ledger lives.
	Totals(fn func(c oom.Container, cgroup string, kills int64))
	// Scopes are all kills by whose limit fired.
	Scopes() map[oom.Scope]int64
	Status() oom.AgentStatus
	// Each calls fn for the containers that are there now.
	Each(fn func(c oom.Container, cgroup string))
	// Forecasts calls fn for the containers that grow towards their limit, of which there are few, and Warnings is how many warnings came of it.
	Forecasts(fn func(c oom.Container, cgroup string, f *explain.Forecast, warned bool))
	Warnings() int64
}

// metrics is the registry of an agent.
type metrics struct {
	registry *prometheus.Registry
	lag      prometheus.Histogram
}

func newMetrics(version string, from source) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "stella_oom_ledger_lag_seconds", Help: "From the kernel's line about a kill to the kill in the ledger; kills from before the agent's start are left out.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .025, .05, .1, .5, 1, 5, 60},
		}),
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "stella_build_info", Help: "Always 1; the labels say which program this is."}, []string{"version", "goversion"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	m.registry.MustRegister(m.lag, build, &states{from},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// seen observes how late a kill came into the ledger.
func (m *metrics) seen(lag time.Duration) { m.lag.Observe(max(lag, 0).Seconds()) }

// states is a prometheus.Collector that asks the parts of the agent at each scrape.
type states struct{ from source }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	events          = desc("container_oom_events_total", "OOM kills of processes in a container, also of children; with cAdvisor's labels.", "container", "id", "image", "name", "namespace", "pod")
	kills           = desc("stella_oom_kills_total", "OOM kills, by whose limit fired.", "constraint")
	incidentsGoing  = desc("stella_incidents_going", "Incidents of this node that have not ended.")
	incidentsBytes  = desc("stella_incidents_bytes", "What the node's incidents take on disk.")
	incidentsUp     = desc("stella_incidents_writable", "1 where incidents can be kept, 0 where kills wait in the ledger until they can.")
	incidentsQueued = desc("stella_incidents_queued", "Events of incidents that wait to be sent to stellad.")
	incidentsTold   = desc("stella_incidents_events_total", "Events of incidents that stellad took, that it refused, and that were dropped before they got there.", "result")

	unattributed = desc("stella_oom_unattributed_total", "OOM kills that the node counted, and of which nothing else is known.")
	lostRecords  = desc("stella_kmsg_records_lost_total", "Records of the kernel log that were overwritten before they were read.")
	dropped      = desc("stella_oom_ledger_dropped_total", "Kills that the ledger dropped for their age or for space.")
	ledgerBytes  = desc("stella_oom_ledger_bytes", "What the ledger takes on disk.")
	ledgerUp     = desc("stella_oom_ledger_writable", "1 where kills are on disk, 0 where they are only in memory, for instance because the disk is full.")
	witnessUp    = desc("stella_oom_witness_up", "1 for a source that is read, 0 for one that failed; those that are not on this machine are left out.", "witness")
	forecast     = desc("stella_oom_forecast_seconds", "In how many seconds a container that grows without an end will be at its memory limit; only those that grow so have one.", "container", "id", "namespace", "pod")
	due          = desc("stella_oom_forecast_warning", "1 where that is so near, and so sure, that it is a warning, 0 where it is not yet.", "container", "id", "namespace", "pod")
	warnings     = desc("stella_oom_warnings_total", "Warnings that a container is about to reach its memory limit.")
	containers   = desc("stella_agent_containers", "Containers that are sampled.")
	targets      = desc("stella_inspect_targets", "Containers, and cgroups of --inspect, that are asked about themselves.")
	asked        = desc("stella_inspect_requests_total", "Requests to applications for gauges (metrics) and heap profiles (pprof), by how they went: ok or failed.", "kind", "result")
	heapBytes    = desc("stella_inspect_heap_bytes", "What heap profiles take on disk.")
)

// Describe implements prometheus.Collector.
func (*states) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{events, kills, unattributed, lostRecords, dropped, ledgerBytes, ledgerUp, witnessUp, forecast, due, warnings, containers, targets, asked, heapBytes, incidentsGoing, incidentsBytes, incidentsUp, incidentsQueued, incidentsTold} {
		c <- d
	}
}

// Collect implements prometheus.Collector.
func (s *states) Collect(c chan<- prometheus.Metric) {
	set := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	s.events(func(v int64, labels ...string) { set(events, prometheus.CounterValue, float64(v), labels...) })
	count := s.from.Scopes()
	for _, scope := range scopes {
		set(kills, prometheus.CounterValue, float64(count[scope]), string(scope))
	}
	st := s.from.Status()
	set(unattributed, prometheus.CounterValue, float64(st.Ledger.Unattributed))
	set(lostRecords, prometheus.CounterValue, float64(st.Ledger.LostRecords))
	set(dropped, prometheus.CounterValue, float64(st.Ledger.Dropped))
	set(ledgerBytes, prometheus.GaugeValue, float64(st.Ledger.Bytes))
	set(ledgerUp, prometheus.GaugeValue, truth(st.Ledger.Fault == ""))
	for _, w := range st.Witnesses {
		if w.State != stateOff {
			set(witnessUp, prometheus.GaugeValue, truth(w.State == stateOK), string(w.Name))
		}
	}
	set(containers, prometheus.GaugeValue, float64(st.Containers))
	s.forecasts(time.Now(), set)
	set(warnings, prometheus.CounterValue, float64(s.from.Warnings()))
	set(incidentsGoing, prometheus.GaugeValue, float64(st.Incidents.Going))
	set(incidentsBytes, prometheus.GaugeValue, float64(st.Incidents.Bytes))
	set(incidentsUp, prometheus.GaugeValue, truth(st.Incidents.Fault == ""))
	set(incidentsQueued, prometheus.GaugeValue, float64(st.Incidents.Queued))
	set(incidentsTold, prometheus.CounterValue, float64(st.Incidents.Sent), "sent")
	set(incidentsTold, prometheus.CounterValue, float64(st.Incidents.Refused), "refused")
	set(incidentsTold, prometheus.CounterValue, float64(st.Incidents.Dropped), "dropped")
	in := st.Inspect
	set(targets, prometheus.GaugeValue, float64(in.Targets))
	set(heapBytes, prometheus.GaugeValue, float64(in.HeapBytes))
	set(asked, prometheus.CounterValue, float64(in.Metrics), "metrics", "ok")
	set(asked, prometheus.CounterValue, float64(in.MetricsFailed), "metrics", "failed")
	set(asked, prometheus.CounterValue, float64(in.Heaps), "pprof", "ok")
	set(asked, prometheus.CounterValue, float64(in.HeapsFailed), "pprof", "failed")
}

// events gives the series of container_oom_events_total. A container has one, with zero, before
// its first kill: increase() does not see the first event of a series that was not there.
func (s *states) events(emit func(v int64, labels ...string)) {
	values := make(map[[6]string]int64)
	var beyond int64
	add := func(c oom.Container, cgroup string, n int64) {
		key := [6]string{valid(c.Name), valid(cgroup), valid(c.Image), valid(c.ID), valid(c.Namespace), valid(c.Pod)}
		if _, there := values[key]; !there && len(values) >= maxSeries {
			beyond += n
			return
		}
		values[key] += n
	}
	s.from.Totals(add)
	s.from.Each(func(c oom.Container, cgroup string) { add(c, cgroup, 0) })
	for key, v := range values {
		emit(v, key[:]...)
	}
	if beyond > 0 {
		emit(beyond, others, "", "", "", "", "")
	}
}

// forecasts gives the series of those that grow towards their limit.
func (s *states) forecasts(now time.Time, set func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string)) {
	told := make(map[string]bool)
	s.from.Forecasts(func(c oom.Container, cgroup string, f *explain.Forecast, warned bool) {
		labels := []string{valid(c.Name), valid(cgroup), valid(c.Namespace), valid(c.Pod)}
		if told[labels[1]] {
			return // two names that are no UTF-8 can be the same here
		}
		told[labels[1]] = true
		set(forecast, prometheus.GaugeValue, max(f.At.Sub(now), 0).Seconds(), labels...)
		set(due, prometheus.GaugeValue, truth(warned), labels...)
	})
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// valid is a label's value: names of cgroups and images are whatever somebody chose.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
