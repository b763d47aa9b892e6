// Package postmortem writes up an incident: Markdown with the parts that people know from post-mortems, and a picture of the memory. It is pure.
//
// Words: see [stella/internal/incident]. What follows from the events is written with links to them; what only people know, such as how severe it was and what was
// learned, is left for them and marked so. A sentence about what was hard to see is there only where the events show it.
//
// Hazard: names and texts come from kernels, registries and workloads, so everything is escaped: what is in an event cannot become Markdown, HTML or SVG.
package postmortem

import (
	"encoding/json"
	"slices"
	"time"

	"stella/internal/explain"
	"stella/internal/incident"
	"stella/internal/oom"
)

// PostMortem is an incident, read.
type PostMortem struct {
	incident.Details
	kills   []kill
	report  *explain.Report // the newest; nil is none
	told    string          // the ID of the event that has it
	samples []incident.Sample
	doings  []incident.Event // what people and remedies did
}

// kill is an event about one kill, or about several of which less is known.
type kill struct {
	*incident.Event
	n int64
	// one is nil where it is about several.
	one *oom.Kill
}

// doing are the kinds of events that the part "Fix" is made of.
var doing = []incident.Kind{
	incident.Planned, incident.Approved, incident.Remedied, incident.ReadBack, incident.Verified, incident.Failed, incident.RolledBack, incident.Ended,
}

// Of reads an incident. Data that it does not understand it leaves out: another version may have written it.
func Of(d incident.Details) *PostMortem {
	p := &PostMortem{Details: d}
	for i := range p.Timeline {
		e := &p.Timeline[i]
		switch {
		case e.Kind == incident.Killed:
			if e.Kills == 0 && e.Replaces != "" {
				continue // a correction: it was none
			}
			k := kill{Event: e, n: max(e.Kills, 1)}
			var one oom.Kill
			if json.Unmarshal(e.Data, &one) == nil && one.ID != "" {
				k.one = &one
			}
			p.kills = append(p.kills, k)
		case e.Kind == incident.Explained:
			var r explain.Report
			if json.Unmarshal(e.Data, &r) == nil && len(r.Findings) > 0 {
				p.report, p.told = &r, e.ID
			}
		case e.Kind == incident.Sampled:
			var s []incident.Sample
			if json.Unmarshal(e.Data, &s) == nil {
				p.samples = append(p.samples, s...)
			}
		case slices.Contains(doing, e.Kind):
			p.doings = append(p.doings, *e)
		}
	}
	p.samples = slices.DeleteFunc(p.samples, func(s incident.Sample) bool { return s.Time.IsZero() || outside(s) })
	slices.SortStableFunc(p.samples, func(a, b incident.Sample) int { return a.Time.Compare(b.Time) })
	p.samples = slices.CompactFunc(p.samples, func(a, b incident.Sample) bool { return a.Time.Equal(b.Time) })
	return p
}

// most is beyond any memory in bytes.
const most = 1 << 56

// outside reports whether a sample has a value that cannot be.
func outside(s incident.Sample) bool {
	return slices.ContainsFunc([]int64{s.Usage, s.WorkingSet, s.Limit, s.Anon, s.File, s.Shmem, s.Kernel}, func(n int64) bool { return n < 0 || n > most })
}

// event is the ID of the event about a kill of the ledger; empty where it is none's alone.
func (p *PostMortem) event(killID string) string {
	for _, k := range p.kills {
		if k.one != nil && k.one.ID == killID && killID != "" {
			return k.ID
		}
	}
	return ""
}

// span is the time that the picture shows, with some room.
func (p *PostMortem) span() (from, to time.Time) {
	add := func(t time.Time) {
		if from.IsZero() || t.Before(from) {
			from = t
		}
		if to.IsZero() || t.After(to) {
			to = t
		}
	}
	for _, s := range p.samples {
		add(s.Time)
	}
	for _, k := range p.kills {
		add(k.Time)
	}
	for _, e := range p.doings {
		add(e.Time)
	}
	if from.IsZero() {
		from, to = p.Opened, p.Opened
	}
	margin := max(to.Sub(from)/50, time.Second)
	return from.Add(-margin), to.Add(margin)
}
