package incidents

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"stella/internal/bytesize"
	"stella/internal/explain"
	"stella/internal/incident"
	"stella/internal/oom"
)

const (
	// quiet is how long after the last kill of a burst it is explained, and longest how long after the first one at the latest.
	quiet, longest = 5 * time.Second, time.Minute
	// again is how long after an explanation there can be another one, and soon where that could not tell; differs is by how much it has to be surer, or less sure,
	// to be told.
	again, soon, differs = 10 * time.Minute, time.Minute, 0.1
	// lookBack is of how long before an explanation samples and kills are looked at.
	lookBack = time.Hour
)

// next is the incident whose kills are to be explained now, of several the one with the newest; nil is none.
func (o *opener) next(now time.Time) *going {
	var newest *going
	for _, g := range o.going {
		b, pause := &g.burst, again
		if b.cause == string(explain.CannotTell) {
			pause = soon
		}
		if !b.since.IsZero() && (now.Sub(b.last) >= quiet || now.Sub(b.since) >= longest) && now.Sub(b.explained) >= pause && (newest == nil || b.last.After(newest.burst.last)) {
			newest = g
		}
	}
	return newest
}

// explained makes the events of an explanation: the report, and the samples that it is from. One that says what the last one said is not told.
func (o *opener) explained(g *going, r *explain.Report, samples []oom.Sample, now time.Time) []incident.Event {
	b := &g.burst
	b.explained = now
	f := &r.Findings[0]
	if string(f.Cause) == b.cause && math.Abs(f.Confidence-b.confidence) < differs {
		return nil
	}
	b.cause, b.confidence = string(f.Cause), f.Confidence
	e := o.event(g.id, incident.Explained, incident.NewID("explained", g.id, g.newest), now)
	e.Text = cut(fmt.Sprintf("%s (%.0f %%): %s", strings.ReplaceAll(string(f.Cause), "_", " "), 100*f.Confidence, f.Summary), incident.MaxText)
	e.Cause, e.Confidence, e.Data = string(f.Cause), f.Confidence, reportData(*r)
	events := []incident.Event{e}
	if points := Thin(samples); len(points) > 0 {
		s := o.event(g.id, incident.Sampled, incident.NewID("sampled", g.id, g.newest), now)
		s.Data = marshal(points)
		for _, p := range points {
			s.Peak = max(s.Peak, p.WorkingSet)
		}
		s.Text = fmt.Sprintf("%d samples of its memory, of %d that there are, from %s on; the working set was %s at most",
			len(points), len(samples), points[0].Time.UTC().Format(time.RFC3339), bytesize.Text(s.Peak))
		if len(s.Data) <= incident.MaxData {
			events = append(events, s)
		}
	}
	return events
}

// before makes events of what else is known of the time before the kills, and was not told with the last explanation.
func (o *opener) before(g *going, all []incident.Event) (events []incident.Event) {
	for _, e := range all {
		if !e.Time.After(g.burst.explained) {
			continue
		}
		t := o.event(g.id, e.Kind, incident.NewID(string(e.Kind), g.id, e.ID), e.Time)
		t.Text, t.Peak, t.Data = cut(e.Text, incident.MaxText), e.Peak, e.Data
		events = append(events, t)
	}
	return events
}

// reportData is a report as data, without the least likely findings and their evidence where it would be too large.
func reportData(r explain.Report) []byte {
	data := marshal(r)
	for n := len(r.Findings) - 1; len(data) > incident.MaxData && n > 0; n-- {
		r.Findings = r.Findings[:n]
		data = marshal(r)
	}
	if len(data) > incident.MaxData {
		return nil
	}
	return data
}

// Thin leaves at most [incident.MaxSamples] samples: all of them, or of each of as many parts with the same number of them the one with the least and the one with the
// most working set, so that peaks stay. Samples lie the closer together the younger they are, and so do those that are left.
func Thin(samples []oom.Sample) []incident.Sample {
	var kept []incident.Sample
	if len(samples) <= incident.MaxSamples {
		for i := range samples {
			kept = append(kept, sampleOf(&samples[i]))
		}
		return kept
	}
	const parts = incident.MaxSamples / 2
	for part := range parts {
		from, to := part*len(samples)/parts, (part+1)*len(samples)/parts
		least, most := from, from
		for i := from; i < to; i++ {
			if samples[i].WorkingSet < samples[least].WorkingSet {
				least = i
			}
			if samples[i].WorkingSet > samples[most].WorkingSet {
				most = i
			}
		}
		kept = append(kept, sampleOf(&samples[min(least, most)]))
		if least != most {
			kept = append(kept, sampleOf(&samples[max(least, most)]))
		}
	}
	return kept
}

func sampleOf(s *oom.Sample) incident.Sample {
	return incident.Sample{
		Time: s.Time.UTC().Truncate(time.Millisecond), Usage: max(s.Usage, 0), WorkingSet: max(s.WorkingSet, 0), Limit: max(s.Limit, 0),
		Anon: max(s.Anon, 0), File: max(s.File, 0), Shmem: max(s.Shmem, 0), Kernel: max(s.Kernel, 0) + max(s.Sock, 0),
	}
}

// changes tells what changed of the subjects of incidents that have not ended: their limit, and the image of their pods.
func (o *opener) changes(all []oom.Usage) (events []incident.Event) {
	for i := range all {
		u := &all[i]
		if !u.Gone.IsZero() {
			continue
		}
		who := aboutKill(&oom.Kill{Cgroup: u.Cgroup, Container: u.Container, Limit: oom.Limit{Scope: oom.ScopeContainer}}, o.node)
		j := slices.IndexFunc(o.going, func(g *going) bool { return g.who.key == who.key && !o.over(g) })
		if j < 0 {
			continue
		}
		g := o.going[j]
		if now, was := u.Container.Image, g.who.subject.Image; now != "" && was != "" && now != was {
			events = append(events, o.changed(g, u, fmt.Sprintf("its image is %s now, and was %s", now, was)))
			g.who.subject.Image = now
		}
		limit := u.Sample.Limit
		if was := g.limit; limit > 0 && was > 0 && limit != was {
			e := o.changed(g, u, fmt.Sprintf("its limit is %s now, and was %s", bytesize.Text(limit), bytesize.Text(was)))
			if limitIsOwn(g.who.limit) {
				e.Limit = &incident.Limit{Scope: g.who.limit, Bytes: limit}
			}
			events = append(events, e)
		}
		g.limit = limit
	}
	return events
}

// limitIsOwn reports whether an incident's limit is that of the subject's own cgroup, which is what samples are compared with.
func limitIsOwn(scope string) bool {
	return scope == string(oom.ScopeContainer) || scope == string(oom.ScopeCgroup)
}

func (o *opener) changed(g *going, u *oom.Usage, text string) incident.Event {
	e := o.event(g.id, incident.Changed, incident.NewID("changed", g.id, u.Cgroup, strconv.FormatInt(u.Sample.Time.UnixMilli(), 10), text), u.Sample.Time)
	where := u.Container.Pod
	if where == "" {
		where = u.Cgroup
	}
	e.Text = cut(where+": "+text, incident.MaxText)
	return e
}
