package incidents

import (
	"encoding/json"
	"slices"
	"time"

	"stella/internal/incident"
	"stella/internal/oom"
	"stella/internal/oom/ledger"
)

const (
	// settle is how long a kill waits to be told: by then the witnesses had their time, and it rarely changes again.
	settle = 3 * time.Second
	// maxWaiting bounds the kills that wait, at some KiB each: five seconds of a storm of a hundred a second. When there are more, the oldest are told at once.
	maxWaiting = 512
	// late is how long after a minute its kills are told together.
	late = settle + time.Second
)

// opener makes events of kills. It keeps nothing on disk and reads no clock: what it was told of before follows from the timelines ([opener.recall]), and the rest it is told
// again, from [opener.position] on. It is used by one goroutine at a time.
type opener struct {
	node, actor string
	began       time.Time
	recent      time.Time // kills from then on are known one by one
	first       time.Time // kills before are of no incident
	// ended reports whether an incident takes no more kills.
	ended func(id string) bool
	// left reports whether somebody else tells of kills in a cgroup.
	left func(cgroup string) bool

	waiting []waiting
	heard   place // behind the newest version
	going   []*going
	told    told
}

// waiting is a kill that is not told yet.
type waiting struct {
	kill   oom.Kill
	heard  time.Time
	before place // of its first version
	// moved says that it was told of another incident before.
	moved bool
}

// place is between two versions: a cursor, and how many were heard before it in this run.
type place struct {
	cursor string
	number uint64
}

// going is an incident that takes more kills.
type going struct {
	id  string
	who about
	// fresh says that it is not kept yet.
	fresh bool
	// kills is how many were told one by one, and newest the ID of the last that was told.
	kills  int
	newest string
	// limit is what the samples of its cgroup say, in bytes; 0 is not known yet.
	limit  int64
	minute *minute

	burst burst
}

// minute are the kills of one minute that are told together.
type minute struct {
	at          time.Time
	first, last oom.Kill
	n, peak     int64
	before      place // of its first kill
}

// hear takes in a version of a kill. It reports whether there was room for it.
func (o *opener) hear(cursor string, e *oom.KillEvent, now time.Time) bool {
	k := &e.Kill
	k.Tasks, k.TasksLeftOut = nil, k.TasksLeftOut+len(k.Tasks) // several times the rest; the ledger has them
	i := slices.IndexFunc(o.waiting, func(w waiting) bool { return w.kill.ID == k.ID })
	_, known := o.told.get(k.ID)
	switch {
	case i >= 0:
		o.waiting[i].kill = *k
	case e.Updated && !known: // it was told together with others, is not told here, or was told too long ago
	case k.Time.Before(o.first):
	case len(o.waiting) >= maxWaiting:
		return false
	default:
		o.waiting = append(o.waiting, waiting{kill: *k, heard: now, before: o.heard})
	}
	o.heard = place{cursor, o.heard.number + 1}
	return true
}

// position is the cursor up to which everything was told.
func (o *opener) position() string {
	at := o.heard
	if len(o.waiting) > 0 {
		at = o.waiting[0].before
	}
	for _, g := range o.going {
		if g.minute != nil && g.minute.before.number < at.number {
			at = g.minute.before
		}
	}
	return at.cursor
}

// due makes the events of what has waited long enough.
func (o *opener) due(now time.Time) (events []incident.Event) {
	n := 0
	for n < len(o.waiting) && (now.Sub(o.waiting[n].heard) >= settle || len(o.waiting)-n > maxWaiting*3/4) {
		events = append(events, o.tell(&o.waiting[n], now)...)
		n++
	}
	o.waiting = slices.Delete(o.waiting, 0, n)
	if len(o.waiting) == 0 {
		o.waiting = nil
	}
	for _, g := range o.going {
		if g.minute != nil && !now.Before(g.minute.at.Add(time.Minute+late)) {
			events = append(events, o.together(g))
		}
	}
	return events
}

// tell makes the events of one kill.
func (o *opener) tell(w *waiting, now time.Time) (events []incident.Event) {
	k := &w.kill
	if old, ok := o.told.get(k.ID); ok {
		return o.correct(k, old, now)
	}
	if k.Count == 0 || o.left(k.Cgroup) {
		return nil
	}
	who := aboutKill(k, o.node)
	g := o.find(&who, k.Cgroup)
	if g == nil {
		g = &going{id: incident.NewID("incident", o.node, k.Boot, k.ID), who: who, fresh: true}
		o.going = append(o.going, g)
		events = append(events, o.opened(g, k, k.Time))
	} else {
		if !w.moved && (k.ID == g.newest || ledger.Later(g.newest, k.ID)) {
			return nil // it was told together with others, before a restart
		}
		events = o.learn(g, k)
	}
	if !ledger.Later(g.newest, k.ID) {
		g.newest = k.ID
	}
	g.burst.add(now)
	if g.kills < incident.MaxKills {
		g.kills++
		e := o.killed(g, k, incident.NewID("kill", k.Boot, k.ID))
		o.told.put(k, g.id, e.ID)
		return append(events, e)
	}
	if m := g.minute; m != nil && m.at != k.Time.Truncate(time.Minute) {
		events = append(events, o.together(g))
	}
	g.add(w)
	return events
}

// find is the incident that a kill in a cgroup belongs to; nil is none. Whose cgroup it is may have become known since the last one.
func (o *opener) find(who *about, cgroup string) *going {
	o.going = slices.DeleteFunc(o.going, func(g *going) bool { return g.minute == nil && o.over(g) })
	for _, same := range []func(g *going) bool{
		func(g *going) bool { return g.who.key == who.key },
		func(g *going) bool { return cgroup != "" && g.who.subject.Cgroup == cgroup && who.subject.Cgroup != "" },
	} {
		if i := slices.IndexFunc(o.going, func(g *going) bool { return same(g) && fits(g.who.limit, who.limit) && !o.over(g) }); i >= 0 {
			return o.going[i]
		}
	}
	return nil
}

// over reports whether an incident takes no more kills.
func (o *opener) over(g *going) bool { return !g.fresh && o.ended(g.id) }

// kept takes in that all events that were made are kept.
func (o *opener) kept() {
	for _, g := range o.going {
		g.fresh = false
	}
}

// add adds a kill to those of its minute.
func (g *going) add(w *waiting) {
	k := &w.kill
	if g.minute == nil {
		g.minute = &minute{at: k.Time.Truncate(time.Minute), first: *k, before: w.before}
	}
	m := g.minute
	m.last, m.n, m.peak = *k, m.n+k.Count, max(m.peak, peak(k))
}

// together is the event of the kills of a minute.
func (o *opener) together(g *going) incident.Event {
	m := g.minute
	g.minute = nil
	e := o.event(g.id, incident.Killed, incident.NewID("kills", m.first.Boot, m.first.ID), m.last.Time)
	e.Text, e.Kills, e.Peak = togetherText(m.n, m.at, &m.first, &m.last), m.n, m.peak
	e.Data = marshal(Together{First: m.first.ID, Last: m.last.ID})
	return e
}

// Together is the data of an event about several kills: the IDs of the first and the last of them in the ledger.
type Together struct {
	First string `json:"first"`
	Last  string `json:"last"`
}

// learn tells what a kill says of an incident that was not known of it, and takes it in.
func (o *opener) learn(g *going, k *oom.Kill) []incident.Event {
	who := aboutKill(k, o.node)
	known := g.who.key == who.key && (g.who.limit == who.limit || who.limit == "")
	if image := who.subject.Image; known && (image == "" || image == g.who.subject.Image) {
		return nil
	}
	if who.limit == "" {
		who.limit = g.who.limit
	}
	g.who = who
	return []incident.Event{o.opened(g, k, k.Time)}
}

// correct makes the events of a kill that was told, and of which something else is known now.
func (o *opener) correct(k *oom.Kill, old toldKill, now time.Time) (events []incident.Event) {
	who := aboutKill(k, o.node)
	i := slices.IndexFunc(o.going, func(g *going) bool { return g.id == old.incident })
	var g *going
	if i >= 0 {
		g = o.going[i]
	}
	elsewhere := k.Cgroup != old.cgroup && (g == nil || g.who.key != who.key)
	if g != nil && !elsewhere && k.Count > 0 {
		events = o.learn(g, k)
	}
	if !elsewhere && sightOf(k) == old.sight {
		return events
	}
	e := o.event(old.incident, incident.Killed, incident.NewID("amended", k.Boot, k.ID, string(marshal(k))), k.Time)
	e.Replaces = old.event
	if k.Count == 0 || elsewhere {
		e.Text = cut("a kill that was told turned out to be none of this: "+killText(k), incident.MaxText)
		o.told.forget(k.ID)
		events = append(events, e)
		if k.Count > 0 {
			events = append(events, o.tell(&waiting{kill: *k, heard: now, before: o.heard, moved: true}, now)...)
		}
		return events
	}
	e.Text, e.Kills, e.Peak, e.Data = killText(k), k.Count, peak(k), marshal(k)
	o.told.put(k, old.incident, e.ID)
	return append(events, e)
}

// opened is the event that opens an incident, or tells more of whom it is about.
func (o *opener) opened(g *going, k *oom.Kill, at time.Time) incident.Event {
	subject := g.who.subject
	for _, name := range []*string{&subject.Name, &subject.Namespace, &subject.Workload, &subject.Pod, &subject.Container, &subject.Image, &subject.Node, &subject.Cgroup} {
		*name = cut(*name, incident.MaxName)
	}
	e := o.event(g.id, incident.Opened, incident.NewID("opened", g.id, string(marshal(g.who.subject)), g.who.limit), at)
	e.Text, e.Source, e.Subject = openedText(&g.who, &k.Limit), sourceOf(k), &subject
	if k.Limit.Scope != oom.ScopeUnknown && k.Limit.Scope != "" {
		e.Limit = &incident.Limit{Scope: string(k.Limit.Scope), Bytes: k.Limit.Bytes}
	}
	return e
}

// killed is the event of one kill.
func (o *opener) killed(g *going, k *oom.Kill, id string) incident.Event {
	e := o.event(g.id, incident.Killed, id, k.Time)
	e.Text, e.Kills, e.Peak, e.Data = killText(k), k.Count, peak(k), marshal(k)
	return e
}

func (o *opener) event(id string, kind incident.Kind, event string, at time.Time) incident.Event {
	return incident.Event{Incident: id, ID: event, Time: at.UTC(), Kind: kind, Actor: o.actor}
}

// peak is the most memory that a kill tells of below the limit that fired; of the node that is not what an incident is about.
func peak(k *oom.Kill) int64 {
	if k.Limit.Scope == oom.ScopeNode || k.Limit.Scope == oom.ScopeCpuset {
		return 0
	}
	return max(k.Limit.Usage, k.Process.Resident())
}

// marshal is for types that always have a JSON.
func marshal(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		panic("incidents: an event cannot be written as JSON: " + err.Error())
	}
	return text
}
