package incidents

import (
	"encoding/json"
	"slices"
	"time"

	"stella/internal/incident"
	"stella/internal/oom"
	"stella/internal/oom/ledger"
)

// maxTold bounds the kills that can be corrected, at some 500 bytes each: those of the last ten minutes, in which that happens, but for a storm's.
const maxTold = 512

// sight is what is corrected of a kill when it turns out to be otherwise.
type sight struct {
	cgroup string
	count  int64
	pid    int
	scope  oom.Scope
}

func sightOf(k *oom.Kill) sight { return sight{k.Cgroup, k.Count, k.Process.PID, k.Limit.Scope} }

// toldKill is where a kill was told.
type toldKill struct {
	sight
	incident, event string
}

// told are the kills that were told last, by ID.
type told struct {
	kills map[string]toldKill
	order []string // the oldest first
}

func (t *told) get(id string) (toldKill, bool) {
	k, ok := t.kills[id]
	return k, ok
}

func (t *told) put(k *oom.Kill, incident, event string) {
	if t.kills == nil {
		t.kills = map[string]toldKill{}
	}
	if _, known := t.kills[k.ID]; !known {
		if len(t.order) == maxTold {
			for _, id := range t.order[:maxTold/4] {
				delete(t.kills, id)
			}
			t.order = slices.Delete(t.order, 0, maxTold/4)
		}
		t.order = append(t.order, k.ID)
	}
	t.kills[k.ID] = toldKill{sightOf(k), incident, event}
}

// forget forgets one. Its place in the order stays, and is of no use.
func (t *told) forget(id string) { delete(t.kills, id) }

// recall takes in an incident of an earlier run.
func (o *opener) recall(d incident.Details) {
	if d.Source != incident.SourceNode && d.Source != incident.SourceDaemon {
		return
	}
	g := &going{id: d.ID, kills: int(min(d.Kills, incident.MaxKills))}
	var unexplained bool
	for i := range d.Timeline {
		e := &d.Timeline[i]
		switch e.Kind {
		case incident.Killed:
			unexplained = true
			o.recallKill(g, e)
		case incident.Explained:
			unexplained = false
			g.burst.explained, g.burst.cause, g.burst.confidence = e.Time, e.Cause, e.Confidence
		}
	}
	if d.State.Ended() || g.newest == "" {
		return
	}
	if unexplained {
		g.burst.since, g.burst.last = o.began, o.began
	}
	o.going = append(o.going, g)
}

// recallKill takes in that a kill was told, or several together.
func (o *opener) recallKill(g *going, e *incident.Event) {
	var k struct {
		oom.Kill
		Together
	}
	if json.Unmarshal(e.Data, &k) != nil {
		return
	}
	newest := k.Last
	if k.ID != "" {
		newest = k.ID
		if e.Time.After(o.recent) {
			o.told.put(&k.Kill, g.id, e.ID)
		}
		g.who = aboutKill(&k.Kill, o.node)
	}
	if g.newest == "" || ledger.Later(newest, g.newest) {
		g.newest = newest
	}
}

// burst is how far the explanation of an incident is.
type burst struct {
	// since and last are when the first and the last kill were told that are not explained; zero is none.
	since, last time.Time
	// explained is when that was done last, with what result.
	explained  time.Time
	cause      string
	confidence float64
}

func (b *burst) add(now time.Time) {
	if b.since.IsZero() {
		b.since = now
	}
	b.last = now
}
