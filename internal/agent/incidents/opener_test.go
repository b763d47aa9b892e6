package incidents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"stella/internal/explain"
	"stella/internal/incident"
	"stella/internal/oom"
)

var began = time.Date(2026, 11, 21, 3, 33, 0, 0, time.UTC)

// world is a ledger whose versions a test writes down, and the incidents that are made of it.
type world struct {
	*testing.T
	*Incidents
	dir      string
	versions []oom.KillEvent
	now      time.Time
	sent     []incident.Event
	explains int
	samples  []oom.Sample
	usage    []oom.Usage
	at       string
	before   []incident.Event
}

func (w *world) Newest() string { return cursor(len(w.versions)) }

func cursor(n int) string { return "abcd-" + strconv.Itoa(n) }

// Replay implements Ledger: kills are heard by it alone.
func (w *world) Replay(after string, fn func(string, oom.KillEvent) error) (string, error) {
	n, err := strconv.Atoi(after[5:])
	if err != nil {
		return "", err
	}
	for ; n < len(w.versions); n++ {
		if err := fn(cursor(n+1), w.versions[n]); err != nil {
			return "", err
		}
	}
	return w.Newest(), nil
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, dir: filepath.Join(t.TempDir(), "incidents"), now: began}
	w.start()
	return w
}

// start is a start of the agent, also after its death.
func (w *world) start() {
	w.Helper()
	var err error
	w.Incidents, err = Open(Options{
		Dir: w.dir, Node: "n1", Ledger: struct {
			*world
			follower
		}{w, follower{}}, Log: slog.New(slog.DiscardHandler),
		Send: func(events ...incident.Event) error { w.sent = append(w.sent, events...); return nil },
		Explain: func(kills []oom.Kill, _, now time.Time) (explain.Report, []oom.Sample) {
			w.explains++
			return explain.Explain(explain.Input{Container: kills[0].Container, Kills: kills, Samples: w.samples, Now: now}), w.samples
		},
		Before: func(*oom.Kill, time.Time) []incident.Event { return w.before },
		Usage:  func() []oom.Usage { return w.usage },
	})
	if err != nil {
		w.Fatal(err)
	}
	if !w.opener.first.IsZero() {
		w.opener.first = w.now // this world has its own clock
	}
	w.at = w.saved
}

// kill is the nth kill, in a container of a pod.
func (w *world) kill(n int) oom.Kill {
	return oom.Kill{
		ID: fmt.Sprintf("abcd%x", n), Boot: "boot", Time: w.now, Count: 1, Cgroup: "/kubepods/pod1/c1", Process: oom.Process{PID: 100 + n, Comm: "web", Anon: 60 << 20},
		Limit:     oom.Limit{Scope: oom.ScopeContainer, Cgroup: "/kubepods/pod1/c1", Bytes: 64 << 20, Usage: 64 << 20},
		Container: oom.Container{ID: "c1", Name: "web", Pod: "web-1", Namespace: "shop", Workload: "Deployment/web", Image: "web:1"},
		Witnesses: []oom.Witness{oom.WitnessLog}, Confidence: oom.Certain,
	}
}

// tell writes a version down.
func (w *world) tell(k oom.Kill, updated bool) {
	w.versions = append(w.versions, oom.KillEvent{Kill: k, Updated: updated})
}

// pass lets time pass, as Run does.
func (w *world) pass(d time.Duration) {
	w.Helper()
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(tick) {
		w.hear()
		w.step(w.now)
		w.explain(w.now)
		w.change(w.now)
	}
}

func (w *world) hear() {
	_, _ = w.Replay(w.at, func(c string, e oom.KillEvent) error {
		if !w.opener.hear(c, &e, w.now) {
			return errFull
		}
		w.at = c
		return nil
	})
}

// What was killed before the first start is of no incident, also where the ledger reads of it in the kernel's log only now; after that nothing is left out.
func TestFirstStart(t *testing.T) {
	w := newWorld(t)
	old := w.kill(1)
	old.Time = w.now.Add(-time.Minute)
	w.tell(old, false)
	w.tell(w.kill(2), false)
	w.pass(10 * time.Second)
	if d := w.one(); d.Kills != 1 {
		t.Errorf("%+v", d.Incident)
	}
	away := w.kill(3)
	w.now = w.now.Add(time.Minute)
	w.start()
	w.tell(away, false)
	w.pass(10 * time.Second)
	if d := w.one(); d.Kills != 2 {
		t.Errorf("%+v", d.Incident)
	}
}

// one is the only incident.
func (w *world) one() incident.Details {
	w.Helper()
	all := w.List(incident.Filter{})
	if len(all) != 1 {
		w.Fatalf("%d incidents: %+v", len(all), all)
	}
	d, err := w.Details(all[0].ID)
	if err != nil {
		w.Fatal(err)
	}
	return d
}

func kinds(d incident.Details) (all []incident.Kind) {
	for _, e := range d.Timeline {
		all = append(all, e.Kind)
	}
	return all
}

func TestBurst(t *testing.T) {
	w := newWorld(t)
	for i := range 60 {
		w.samples = append(w.samples, oom.Sample{Time: began.Add(time.Duration(i-60) * time.Second), WorkingSet: int64(i) << 20, Usage: int64(i) << 20, Anon: int64(i) << 20, Limit: 64 << 20})
	}
	for n := 1; n <= 3; n++ {
		w.tell(w.kill(n), false)
	}
	lived := true
	k := w.kill(2)
	k.MainSurvived = &lived
	w.tell(k, true)
	w.pass(20 * time.Second)
	d := w.one()
	if d.Subject.Name != "shop/web" || d.Kills != 3 || d.State != incident.Open || d.Limit.Bytes != 64<<20 || d.Peak != 64<<20 || d.Source != incident.SourceNode || d.Cause == "" {
		t.Errorf("%+v", d.Incident)
	}
	want := []incident.Kind{incident.Opened, incident.Killed, incident.Killed, incident.Killed, incident.Explained, incident.Sampled}
	if got := kinds(d); !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	var told oom.Kill
	if err := json.Unmarshal(d.Timeline[2].Data, &told); err != nil || !reflect.DeepEqual(told.MainSurvived, &lived) && d.Timeline[2].ID == d.Timeline[1].ID {
		t.Errorf("%+v: %v", told, err)
	}
	var points []incident.Sample
	if err := json.Unmarshal(d.Timeline[5].Data, &points); err != nil || len(points) != 60 || points[59].WorkingSet != 59<<20 {
		t.Errorf("%d samples: %v", len(points), err)
	}
	for i := range d.Timeline {
		if err := d.Timeline[i].Check(w.now); err != nil {
			t.Error(err)
		}
	}
	// Another burst of the same is no other explanation.
	w.tell(w.kill(4), false)
	w.pass(15 * time.Minute)
	if d := w.one(); d.Kills != 4 || len(d.Timeline) != 7 || w.explains != 2 {
		t.Errorf("%d explanations: %v", w.explains, kinds(d))
	}
	if !reflect.DeepEqual(eventIDs(w.sent), eventIDs(w.one().Timeline)) {
		t.Errorf("sent were %v", eventIDs(w.sent))
	}
	// When a person has ended it, a kill opens another.
	if _, err := w.Add(incident.Event{Incident: d.ID, ID: "end", Time: w.now, Kind: incident.Ended, Actor: "uid 0", Text: "more memory"}); err != nil {
		t.Fatal(err)
	}
	w.tell(w.kill(5), false)
	w.tell(w.kill(6), false)
	w.pass(10 * time.Second)
	if all := w.List(incident.Filter{}); len(all) != 2 || all[0].Kills != 2 || all[1].Kills != 4 || all[1].State != incident.Closed {
		t.Errorf("%+v", all)
	}
}

func eventIDs(events []incident.Event) map[string]bool {
	ids := map[string]bool{}
	for _, e := range events {
		ids[e.ID] = true
	}
	return ids
}

// What people ended elsewhere has ended here, and is not sent back.
func TestEndedElsewhere(t *testing.T) {
	w := newWorld(t)
	w.tell(w.kill(1), false)
	w.pass(5 * time.Second)
	d, sent := w.one(), len(w.sent)
	var asked []bool
	w.o.Elsewhere = func(_ context.Context, _ time.Time, mine func(string) bool) ([]incident.Event, error) {
		asked = append(asked, mine(d.ID), mine("other"))
		return []incident.Event{{Incident: d.ID, ID: "end", Time: w.now, Kind: incident.Ended, Actor: "key ops", Text: "fixed"}}, nil
	}
	if err := errors.Join(w.learnSince(t.Context(), time.Time{}), w.learnSince(t.Context(), time.Time{})); err != nil || fmt.Sprint(asked) != "[true false]" || w.one().State != incident.Closed || len(w.sent) != sent {
		t.Errorf("asked %v: %+v", asked, w.one().Incident)
	}
	w.tell(w.kill(2), false)
	w.pass(5 * time.Second)
	if all := w.List(incident.Filter{}); len(all) != 2 {
		t.Errorf("%+v", all)
	}
	w.o.Elsewhere = func(context.Context, time.Time, func(string) bool) ([]incident.Event, error) { return nil, errFull }
	w.tell(w.kill(3), false)
	w.pass(5 * time.Second)
	if err := w.learnSince(t.Context(), time.Time{}); !errors.Is(err, errFull) {
		t.Errorf("nothing was learned: %v", err)
	}
}

func TestWhoseKillsBelongTogether(t *testing.T) {
	for name, c := range map[string]struct {
		other func(k *oom.Kill)
		want  int
	}{
		"another pod of the workload": {func(k *oom.Kill) { k.Cgroup, k.Container.Pod, k.Container.ID = "/kubepods/pod2/c2", "web-2", "c2" }, 1},
		"another container":           {func(k *oom.Kill) { k.Cgroup, k.Container.Name = "/kubepods/pod1/c2", "proxy" }, 2},
		"another namespace":           {func(k *oom.Kill) { k.Cgroup, k.Container.Namespace = "/kubepods/pod2/c2", "x" }, 2},
		"the pod's limit":             {func(k *oom.Kill) { k.Limit.Scope = oom.ScopePod }, 2},
		"the node":                    {func(k *oom.Kill) { k.Limit = oom.Limit{Scope: oom.ScopeNode} }, 2},
		"a limit that is not known":   {func(k *oom.Kill) { k.Limit = oom.Limit{Scope: oom.ScopeUnknown} }, 1},
		"a unit":                      {func(k *oom.Kill) { k.Cgroup, k.Container = "/system.slice/a.service", oom.Container{Unit: "a.service"} }, 2},
		"a cgroup":                    {func(k *oom.Kill) { k.Cgroup, k.Container = "/a", oom.Container{} }, 2},
		"nowhere":                     {func(k *oom.Kill) { k.Cgroup, k.Container = "", oom.Container{} }, 2},
		"a worker of stellad":         {func(k *oom.Kill) { k.Cgroup, k.Container = "/a/stella-worker-1234-5/b", oom.Container{} }, 1},
		"a command of rdev-api":       {func(k *oom.Kill) { k.Cgroup, k.Container = "/stella-rdev-1234-5", oom.Container{} }, 2},
		"its pod is not known yet":    {func(k *oom.Kill) { k.Container = oom.Container{} }, 1},
	} {
		for _, first := range []bool{true, false} {
			w := newWorld(t)
			a, b := w.kill(1), w.kill(2)
			if c.other(&b); !first {
				a, b = w.kill(1), a
				c.other(&a)
				b.ID = "abcd2"
			}
			w.tell(a, false)
			w.pass(5 * time.Second)
			w.tell(b, false)
			w.pass(5 * time.Second)
			if all := w.List(incident.Filter{}); len(all) != c.want {
				t.Errorf("%s, %v: %+v", name, first, all)
			}
		}
	}
}

func TestCorrections(t *testing.T) {
	w := newWorld(t)
	counted := w.kill(1)
	counted.Count, counted.Process = 3, oom.Process{UID: -1}
	w.tell(counted, false)
	w.pass(5 * time.Second)
	if d := w.one(); d.Kills != 3 {
		t.Errorf("%+v", d.Incident)
	}
	// Its lines come late: two here, one elsewhere.
	counted.Count = 1
	w.tell(counted, true)
	w.tell(w.kill(2), false)
	w.pass(5 * time.Second)
	if d := w.one(); d.Kills != 2 || len(d.Timeline) != 3 {
		t.Errorf("%+v", d)
	}
	counted.Count = 0
	w.tell(counted, true)
	w.tell(w.kill(3), false)
	w.pass(5 * time.Second)
	if d := w.one(); d.Kills != 2 {
		t.Errorf("%+v", d)
	}
	moved := w.kill(3)
	moved.Cgroup, moved.Container = "/b", oom.Container{}
	w.tell(moved, true)
	w.pass(5 * time.Second)
	all := w.List(incident.Filter{})
	if len(all) != 2 || all[0].Kills+all[1].Kills != 2 {
		t.Errorf("%+v", all)
	}
	// What becomes known of the owner changes whom it is about.
	w = newWorld(t)
	early := w.kill(1)
	early.Container = oom.Container{ID: "c1"}
	w.tell(early, false)
	w.pass(5 * time.Second)
	w.tell(w.kill(1), true)
	w.pass(5 * time.Second)
	if d := w.one(); d.Subject.Name != "shop/web" || d.Kills != 1 {
		t.Errorf("%+v", d)
	}
}

// Whenever the agent dies, after the next start every kill was told once, in one incident.
func TestDeath(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		w := newWorld(t)
		kills := 1 + rng.IntN(3*incident.MaxKills)
		for n := 1; n <= kills; n++ {
			w.tell(w.kill(n), false)
			if rng.IntN(2) == 0 {
				w.tell(w.kill(n), true)
			}
			w.now = w.now.Add(time.Duration(rng.IntN(1000)) * time.Millisecond)
			if rng.IntN(20) == 0 {
				w.pass(time.Second)
			}
			if rng.IntN(50) == 0 {
				w.start()
			}
			if rng.IntN(100) == 0 { // between the events and the position
				w.hear()
				w.outbox = w.opener.due(w.now)
				if err := w.keep(); err != nil {
					t.Fatal(err)
				}
				w.start()
			}
		}
		w.pass(3 * time.Minute)
		d := w.one()
		if d.Kills != int64(kills) {
			t.Fatalf("seed %d: %d kills, want %d", seed, d.Kills, kills)
		}
		if kills > incident.MaxKills+70 && len(d.Timeline) > incident.MaxKills+60 {
			t.Errorf("%d events of %d kills", len(d.Timeline), kills)
		}
	}
}

// What waits has a bound: in a storm kills are told earlier, and none is left out.
func TestStorm(t *testing.T) {
	w := newWorld(t)
	for n := 1; n <= 5*maxWaiting; n++ {
		k := w.kill(n)
		k.Cgroup = fmt.Sprintf("/c%d", n%100)
		k.Container = oom.Container{}
		w.tell(k, false)
	}
	w.pass(time.Minute)
	all := w.List(incident.Filter{})
	var kills int64
	for _, in := range all {
		kills += in.Kills
	}
	if len(all) != 100 || kills != 5*maxWaiting || len(w.opener.told.kills) > maxTold || w.opener.waiting != nil {
		t.Errorf("%d incidents, %d kills, %d told", len(all), kills, len(w.opener.told.kills))
	}
}

func TestChanges(t *testing.T) {
	w := newWorld(t)
	w.tell(w.kill(1), false)
	use := func(image string, limit int64) {
		k := w.kill(1)
		k.Container.Image = image
		w.usage = []oom.Usage{{Container: k.Container, Cgroup: k.Cgroup, Sample: oom.Sample{Time: w.now, Limit: limit}}}
		w.pass(changesEvery + 2*tick)
	}
	use("web:1", 64<<20)
	use("web:1", 128<<20)
	use("web:2", 128<<20)
	use("web:2", 128<<20)
	d := w.one()
	n := 0
	for _, e := range d.Timeline {
		if e.Kind == incident.Changed {
			n++
			t.Log(e.Text)
		}
	}
	if n != 2 || d.Limit.Bytes != 128<<20 {
		t.Errorf("%+v", d.Incident)
	}
}

// What was known before a kill is in the timeline, once, and does not change when the incident was opened.
func TestBefore(t *testing.T) {
	w := newWorld(t)
	opened := w.now
	w.before = []incident.Event{{ID: "1", Kind: incident.Warned, Time: w.now.Add(-time.Minute), Text: "soon"}, {ID: "h", Kind: incident.Profiled, Time: w.now.Add(-30 * time.Second), Text: "a profile"}}
	w.tell(w.kill(1), false)
	w.pass(30 * time.Second)
	w.start() // which knows of no explanation
	w.tell(w.kill(2), false)
	w.pass(again + time.Minute)
	w.before = append(w.before, incident.Event{ID: "2", Kind: incident.Warned, Time: w.now, Text: "again"})
	w.tell(w.kill(3), false)
	w.pass(again + time.Minute)
	d := w.one()
	var got []string
	for _, e := range d.Timeline {
		if e.Kind == incident.Warned || e.Kind == incident.Profiled {
			got = append(got, e.Text)
		}
	}
	if want := []string{"soon", "a profile", "again"}; !slices.Equal(got, want) || !d.Opened.Equal(opened) || d.Kills != 3 {
		t.Errorf("%q; %+v", got, d.Incident)
	}
}

func TestThin(t *testing.T) {
	var all []oom.Sample
	for i := range 5000 {
		all = append(all, oom.Sample{Time: began.Add(time.Duration(i) * time.Second), WorkingSet: 1 << 40, Usage: 1 << 40, Anon: 1 << 40, File: 1 << 40, Shmem: 1 << 40, Kernel: 1 << 40, Sock: -1, Limit: 1 << 40})
	}
	all[1234].WorkingSet, all[4321].WorkingSet = 1<<41, 1
	kept := Thin(all)
	has := func(ws int64) bool {
		return slices.ContainsFunc(kept, func(s incident.Sample) bool { return s.WorkingSet == ws })
	}
	sorted := slices.IsSortedFunc(kept, func(a, b incident.Sample) int { return a.Time.Compare(b.Time) })
	if len(kept) > incident.MaxSamples || len(marshal(kept)) > incident.MaxData || !has(1<<41) || !has(1) || !sorted {
		t.Errorf("%d samples in %d bytes, sorted %v", len(kept), len(marshal(kept)), sorted)
	}
}
