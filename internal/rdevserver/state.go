package rdevserver

import (
	"github.com/prometheus/client_golang/prometheus"
)

// watch shows the state of the parts from now on.
func (m *metrics) watch(p *parts) { m.registry.MustRegister(states{p}) }

// states is a prometheus.Collector that asks the parts at each scrape, so that nothing is kept that could be stale.
type states struct{ p *parts }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// The first two have the names that the runbook greps for.
var (
	streamsActive  = desc("sse_connections_active", "Streams of events that are open.")
	commandsActive = desc("commands_active", "Commands that run.")

	queued        = desc("rdev_commands_queued", "Commands that wait.")
	reserved      = desc("rdev_commands_memory_reserved_bytes", "Memory limits of the commands that run, together.")
	reservable    = desc("rdev_commands_memory_total_bytes", "What these may be at most.")
	streamsOpened = desc("rdev_sse_connections_opened_total", "Streams of events that were opened.")
	streamsClosed = desc("rdev_sse_connections_closed_total", "Streams of events that were closed.", "reason")
	streamsNoRoom = desc("rdev_sse_connections_refused_total", "Streams of events that were refused for want of room.")
	streamsLagged = desc("rdev_sse_lagged_total", "How often a subscriber did not take what there was, and was left behind the others.")
	streamBytes   = desc("rdev_sse_bytes_total", "Bytes of events that were sent.")
	logs          = desc("rdev_output_logs", "Outputs that are kept.", "state")
	logBytes      = desc("rdev_output_bytes", "What outputs take on the disk, or have reserved there.")
	logFiles      = desc("rdev_output_files_open", "Files of outputs that are open.")
	logsRemoved   = desc("rdev_output_removed_total", "Outputs that were removed.", "reason")
	recordsLost   = desc("rdev_output_records_lost_total", "Records of outputs that could not be written, for instance because the disk was full.")
	logsTruncated = desc("rdev_outputs_truncated_total", "Outputs that were longer than is kept of one: what is between head and tail was dropped.")
	cacheEntries  = desc("rdev_projects_cached", "Projects in the cache.")
	cacheBytes    = desc("rdev_projects_cache_bytes", "About what the cache of projects takes in memory.")
	cacheLooks    = desc("rdev_projects_lookups_total", "Questions for projects.", "from")
	eventsWaiting = desc("rdev_incident_events_queued", "Events of incidents that wait for stellad.")
	eventsBytes   = desc("rdev_incident_events_queued_bytes", "What these take on disk.")
	eventsTold    = desc("rdev_incident_events_total", "Events of incidents by what became of them.", "result")
	memoryUsed    = desc("rdev_memory_used_bytes", "What is used of the memory limit of which the most is used.")
	memoryLimit   = desc("rdev_memory_limit_bytes", "That limit: of the cgroup, or GOMEMLIMIT.")
	memoryLevel   = desc("rdev_memory_level", "0 is normal; at 1 new commands are refused, at 2 new streams, too.")
)

// Describe implements prometheus.Collector.
func (states) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{streamsActive, commandsActive, queued, reserved, reservable, streamsOpened, streamsClosed, streamsNoRoom, streamsLagged, streamBytes,
		logs, logBytes, logFiles, logsRemoved, recordsLost, logsTruncated, cacheEntries, cacheBytes, cacheLooks, memoryUsed, memoryLimit, memoryLevel, eventsWaiting, eventsBytes, eventsTold} {
		c <- d
	}
}

// Collect implements prometheus.Collector.
func (s states) Collect(c chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	count := func(d *prometheus.Desc, v int64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	now := s.p.commands.Counts()
	gauge(commandsActive, int64(now.Running))
	gauge(queued, int64(now.Queued))
	gauge(reserved, now.Reserved)
	gauge(reservable, now.Memory)

	streams := s.p.hub.Stats()
	gauge(streamsActive, streams.Active)
	count(streamsOpened, streams.Opened)
	count(streamsNoRoom, streams.Refused)
	count(streamsLagged, streams.Lagged)
	count(streamBytes, streams.Bytes)
	for reason, n := range streams.Closed {
		count(streamsClosed, n, string(reason))
	}

	outputs := s.p.logs.Stats()
	gauge(logs, int64(outputs.Writing), "writing")
	gauge(logs, int64(outputs.Logs), "ended")
	gauge(logBytes, outputs.Bytes)
	gauge(logFiles, int64(outputs.Files))
	count(logsRemoved, outputs.RemovedForAge, "age")
	count(logsRemoved, outputs.RemovedForSpace, "space")
	count(recordsLost, outputs.LostRecords)
	count(logsTruncated, outputs.Truncated)

	cache := s.p.projects.Stats()
	gauge(cacheEntries, int64(cache.Entries))
	gauge(cacheBytes, cache.Bytes)
	count(cacheLooks, cache.Looks, "source")
	count(cacheLooks, cache.Answers, "cache")

	if s.p.incidents != nil {
		told := s.p.incidents.Stats()
		gauge(eventsWaiting, told.Queued)
		gauge(eventsBytes, told.Bytes)
		count(eventsTold, told.Sent, "sent")
		count(eventsTold, told.Refused, "refused")
		count(eventsTold, told.Dropped, "dropped")
	}
	memory := s.p.memory.State()
	gauge(memoryLevel, int64(memory.Level))
	if memory.Fullest.Limit > 0 {
		gauge(memoryUsed, memory.Fullest.Used)
		gauge(memoryLimit, memory.Fullest.Limit)
	}
}
