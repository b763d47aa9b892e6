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

// maxExplained is how many kills are looked at for an explanation, the newest.
const maxExplained = 200

// openIncidents opens the incidents of the node. Where they cannot be kept, the agent goes on without, and says why to whoever asks.
func (n *node) openIncidents() error {
	stellad, err := openStellad(n.o)
	if err != nil {
		return err
	}
	o := incidents.Options{
		Dir: filepath.Join(n.o.StateDir, "incidents"), Node: n.o.Node, Ledger: n.ledger, Explain: n.explain, Usage: n.Usage, CommandsTold: n.o.CommandsTold, Log: n.log,
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

// explain says why a process was killed, and from which samples.
func (n *node) explain(k oom.Kill, since, now time.Time) (explain.Report, []oom.Sample) {
	in := explain.Input{Container: k.Container, Now: now, Kills: []oom.Kill{k}}
	cgroup := k.Cgroup
	if place := owner.Parse(k.Cgroup); place.ContainerPath != "" {
		cgroup = place.ContainerPath
	}
	if cgroup == "" { // it is not known where it was
		return explain.Explain(in), nil
	}
	for at := cgroup; n.samples != nil && len(at) > 1; at = path.Dir(at) { // what is below a cgroup that is sampled belongs to it
		if in.Samples = n.samples.SeriesSince(at, since); len(in.Samples) > 0 {
			cgroup = at
			break
		}
	}
	in.AddGauges(n.Gauges(cgroup))
	for _, other := range n.ledger.Kills(oom.Filter{Since: since, Cgroup: cgroup, Limit: maxExplained}) {
		if other.ID != k.ID {
			in.Kills = append(in.Kills, other)
		}
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
