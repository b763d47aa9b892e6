package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"stella/internal/incident"
	"stella/internal/oom"
	"stella/internal/sse"
)

var nodeAgent = peer{
	name: "stella-agent", start: "start one as root with stella-agent or stella up, or give the address of one that runs", refused: refusedByScanner,
}

// Agent talks to the agent of one node. It may be used by several goroutines.
type Agent struct{ c *Client }

// NewAgent makes a client of an agent. It does not connect: the first request does.
func NewAgent(o Options) (*Agent, error) {
	c, err := dial(o, nodeAgent)
	if err != nil {
		return nil, err
	}
	return &Agent{c}, nil
}

// Close closes connections that are not in use.
func (a *Agent) Close() { a.c.Close() }

// Kills returns kills, the oldest first, without their tables of processes, which [Agent.Kill] has.
func (a *Agent) Kills(ctx context.Context, f oom.Filter) ([]oom.Kill, error) {
	q := url.Values{}
	setTime(q, "since", f.Since)
	set(q, "namespace", f.Namespace)
	set(q, "pod", f.Pod)
	set(q, "container", f.Container)
	set(q, "workload", f.Workload)
	setInt(q, "limit", int64(f.Limit))
	var kills []oom.Kill
	err := a.c.call(ctx, get("/v1/kills", q), &kills)
	return kills, err
}

// Kill returns one kill.
func (a *Agent) Kill(ctx context.Context, id string) (oom.Kill, error) {
	var kill oom.Kill
	err := a.c.call(ctx, get("/v1/kills/"+url.PathEscape(id), nil), &kill)
	return kill, err
}

// Watch calls fn with each kill as it becomes known, and again when more is known of it: those
// behind the cursor after, or for "" from now on. It ends with ctx, or with the error of
// fn, and comes back by itself when the connection breaks.
func (a *Agent) Watch(ctx context.Context, after string, fn func(oom.KillEvent) error) error {
	r := request{method: http.MethodGet, path: "/v1/kills/events", accept: sse.ContentType, lastID: after}
	return a.c.follow(ctx, r, func(sent sse.Event) (bool, error) {
		var e oom.KillEvent
		if err := json.Unmarshal(sent.Data, &e); err != nil {
			return false, a.c.strange(err)
		}
		return false, fn(e)
	})
}

// Usage returns what each container uses now, and those that ended lately used at last.
func (a *Agent) Usage(ctx context.Context) ([]oom.Usage, error) {
	var usage []oom.Usage
	err := a.c.call(ctx, get("/v1/containers", nil), &usage)
	return usage, err
}

// Series returns the samples of one cgroup, the oldest first.
func (a *Agent) Series(ctx context.Context, cgroup string) ([]oom.Sample, error) {
	var series []oom.Sample
	err := a.c.call(ctx, get("/v1/series", url.Values{"cgroup": {cgroup}}), &series)
	return series, err
}

// Limits returns the memory limits of a cgroup and of those above it, the cgroup's own first, as the kernel has them now.
func (a *Agent) Limits(ctx context.Context, cgroup string) ([]oom.CgroupLimit, error) {
	var limits []oom.CgroupLimit
	err := a.c.call(ctx, get("/v1/limits", url.Values{"cgroup": {cgroup}}), &limits)
	return limits, err
}

// Gauges returns what the agent read of the metrics of the application in a cgroup.
func (a *Agent) Gauges(ctx context.Context, cgroup string) ([]oom.Gauge, error) {
	var gauges []oom.Gauge
	err := a.c.call(ctx, get("/v1/gauges", url.Values{"cgroup": {cgroup}}), &gauges)
	return gauges, err
}

// Heaps returns the heap profiles that the agent took of a cgroup, the oldest first.
func (a *Agent) Heaps(ctx context.Context, cgroup string) ([]oom.Heap, error) {
	var heaps []oom.Heap
	err := a.c.call(ctx, get("/v1/heaps", url.Values{"cgroup": {cgroup}}), &heaps)
	return heaps, err
}

// Heap gives a heap profile to fn, as the program wrote it.
func (a *Agent) Heap(ctx context.Context, id string, fn func(io.Reader) error) error {
	return a.c.read(ctx, get("/v1/heaps/"+url.PathEscape(id), nil), fn)
}

// Processes returns the processes with the most memory.
func (a *Agent) Processes(ctx context.Context, limit int) ([]oom.ProcessUsage, error) {
	var processes []oom.ProcessUsage
	err := a.c.call(ctx, get("/v1/processes", url.Values{"limit": {strconv.Itoa(limit)}}), &processes)
	return processes, err
}

// Node returns what the machine uses now.
func (a *Agent) Node(ctx context.Context) (oom.NodeUsage, error) {
	var node oom.NodeUsage
	err := a.c.call(ctx, get("/v1/node", nil), &node)
	return node, err
}

// Status returns what the agent says of itself.
func (a *Agent) Status(ctx context.Context) (oom.AgentStatus, error) {
	var status oom.AgentStatus
	err := a.c.call(ctx, get("/v1/status", nil), &status)
	return status, err
}

// Incidents returns incidents of the node, the newest first.
func (a *Agent) Incidents(ctx context.Context, f incident.Filter) ([]incident.Incident, error) {
	return a.c.Incidents(ctx, f)
}

// Incident returns one incident of the node with its timeline.
func (a *Agent) Incident(ctx context.Context, id string) (incident.Details, error) {
	return a.c.Incident(ctx, id)
}

// AppendEvents adds to incidents of the node what people did, and what came of it, at most [incident.MaxBatch] events. An error says that not all of them are kept.
func (a *Agent) AppendEvents(ctx context.Context, events []incident.Event) error {
	return a.c.AppendEvents(ctx, events)
}

// FollowIncidents calls fn with each event of the node's incidents as it comes, without its data, as [Client.FollowIncidents] does.
func (a *Agent) FollowIncidents(ctx context.Context, after string, fn func(incident.Event) error) error {
	return a.c.FollowIncidents(ctx, after, fn)
}
