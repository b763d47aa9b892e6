package agent

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"time"

	"stella/internal/agent/incidents"
	"stella/internal/client"
	"stella/internal/explain"
	"stella/internal/incident"
	"stella/internal/incident/spool"
	"stella/internal/oom"
	"stella/internal/oom/owner"
)

// openIncidents opens the incidents of the node. Where they cannot be kept, the agent goes on without, and says why to whoever asks.
func (n *node) openIncidents() error {
	stellad, err := openStellad(n.o)
	if err != nil {
		return err
	}
	o := incidents.Options{
		Dir: filepath.Join(n.o.StateDir, "incidents"), Node: n.o.Node, Ledger: n.ledger, Explain: n.explain, Before: n.beforeKill, Usage: n.Usage, CommandsTold: n.o.CommandsTold, Log: n.log,
	}
	if stellad != nil {
		if n.outgoing, err = spool.Open(filepath.Join(n.o.StateDir, "outgoing"), spool.Options{Send: stellad.SendEvents, Log: n.log}); err != nil {
			return err
		}
		o.Send, o.Elsewhere = n.outgoing.Add, elsewhere{stellad}.ended
	}
	if n.incidents, n.noIncidents = incidents.Open(o); n.noIncidents != nil {
		n.log.Error("this agent keeps no incidents; the ledger has the kills", "why", n.noIncidents)
	}
	return nil
}

// explain says why the last of some processes was killed, and from which samples.
func (n *node) explain(kills []oom.Kill, since, now time.Time) (explain.Report, []oom.Sample) {
	last := &kills[len(kills)-1]
	in := explain.Input{Container: last.Container, Now: now, Kills: kills}
	cgroup := last.Cgroup
	if place := owner.Parse(cgroup); place.ContainerPath != "" {
		cgroup = place.ContainerPath
	}
	for ; n.samples != nil && len(cgroup) > 1; cgroup = path.Dir(cgroup) { // what is below a cgroup that is sampled belongs to it
		if in.Samples = n.samples.SeriesSince(cgroup, since); len(in.Samples) > 0 {
			break
		}
	}
	in.AddGauges(n.Gauges(cgroup))
	if n.samples != nil && last.Limit.Scope == oom.ScopeNode {
		_ = in.AddNeighbours(n.Usage(), []string{cgroup}, func(of string) ([]oom.Sample, error) { return n.samples.SeriesSince(of, since), nil }) // which cannot fail
	}
	return explain.Explain(in), in.Samples
}

// incidentsStatus says how they do.
func (n *node) incidentsStatus() (s oom.IncidentsStatus) {
	if n.outgoing != nil {
		sent := n.outgoing.Stats()
		s.Queued, s.Sent, s.Refused, s.Dropped = sent.Queued, sent.Sent, sent.Refused, sent.Dropped
	}
	if n.noIncidents != nil {
		s.Fault = n.noIncidents.Error()
		return s
	}
	s.Going, s.Bytes, s.Fault = n.incidents.Status()
	return s
}

// openStellad makes a client of the stellad that is told of incidents; nil where there is none.
func openStellad(o Options) (*client.Client, error) {
	if o.IncidentsTo == "" {
		return nil, nil
	}
	c, err := client.New(client.Options{Address: o.IncidentsTo, KeyFile: o.IncidentsKeyFile, CAFile: o.IncidentsCA, UserAgent: "stella-agent/" + o.Version})
	if err != nil {
		return nil, fmt.Errorf("--incidents-to: %w", err)
	}
	return c, nil
}

// elsewhere is the stellad that is told of incidents.
type elsewhere struct{ *client.Client }

// ended are the events that people told there of incidents that ended: of those with something new since a time that are meant.
func (e elsewhere) ended(ctx context.Context, since time.Time, mine func(id string) bool) (events []incident.Event, err error) {
	all, err := e.Incidents(ctx, incident.Filter{State: incident.AllEnded, Since: since})
	if err != nil {
		return nil, err
	}
	for i := range all {
		if !mine(all[i].ID) {
			continue
		}
		d, err := e.Incident(ctx, all[i].ID)
		if err != nil {
			return nil, err
		}
		for _, event := range d.Timeline {
			if slices.Contains(told, event.Kind) {
				events = append(events, event)
			}
		}
	}
	return events, nil
}
