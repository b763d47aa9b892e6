package incident

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var began = time.Date(2026, 5, 30, 3, 33, 0, 0, time.UTC)

// timeline makes events of kinds, a minute apart.
func timeline(kinds ...Kind) []Event {
	var events []Event
	for i, kind := range kinds {
		e := Event{Incident: "i", ID: NewID(string(kind), string(rune('a'+i))), Time: began.Add(time.Duration(i) * time.Minute), Kind: kind, Actor: "test"}
		switch kind {
		case Opened:
			e.Source, e.Subject, e.Limit = SourceNode, &Subject{Name: "shop/web"}, &Limit{Scope: "container", Bytes: 64 << 20}
		case Killed:
			e.Kills, e.Peak = 2, 64<<20
		case Explained:
			e.Cause, e.Confidence = "leak", 0.9
		case Remedied:
			e.Limit = &Limit{Scope: "container", Bytes: 256 << 20}
		}
		events = append(events, e)
	}
	return events
}

func TestStates(t *testing.T) {
	for _, tt := range []struct {
		kinds []Kind
		want  State
	}{
		{[]Kind{Opened}, Open},
		{[]Kind{Opened, Killed, Explained, Planned, Approved}, Open},
		{[]Kind{Opened, Killed, Remedied, ReadBack}, Applied},
		{[]Kind{Opened, Killed, Remedied, Killed}, NotHeld},
		{[]Kind{Opened, Killed, Remedied, Failed}, NotHeld},
		{[]Kind{Opened, Killed, Remedied, Failed, RolledBack}, Open},
		{[]Kind{Opened, Killed, Remedied, Failed, Remedied}, Applied},
		{[]Kind{Opened, Killed, Remedied, Verified}, Held},
		{[]Kind{Opened, Killed, Remedied, Verified, Failed}, Held},
		{[]Kind{Opened, Ended, Remedied, Noted}, Closed},
	} {
		events := timeline(tt.kinds...)
		got, ok := Fold(events)
		if !ok || got.State != tt.want || got.Ended.IsZero() == tt.want.Ended() || got.Opened != began || got.Events != len(events) {
			t.Errorf("%v: %+v", tt.kinds, got)
		}
	}
	if _, ok := Fold(nil); ok {
		t.Error("an incident without events")
	}
}

func TestFoldIsOrderIndependent(t *testing.T) {
	events := timeline(Opened, Killed, Killed, Explained, Planned, Approved, Remedied, ReadBack, Killed, RolledBack, Explained, Noted, Remedied, Verified)
	want, _ := Fold(events)
	if want.Kills != 6 || want.Cause != "leak" || want.Limit.Bytes != 256<<20 || want.Peak != 64<<20 || want.Subject.Name != "shop/web" ||
		want.First != began.Add(time.Minute) || want.Last != began.Add(8*time.Minute) {
		t.Errorf("%+v", want)
	}
	for range 200 {
		mixed := append(slices.Clone(events), events[rand.IntN(len(events))]) // one was sent twice
		rand.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		if got, _ := Fold(mixed); !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v\nof %+v\nwant %+v", got, mixed, want)
		}
	}
}

// A source corrects what it told of a kill, also more than once, and whatever comes first.
func TestReplaced(t *testing.T) {
	events := timeline(Opened, Killed, Killed, Killed, Killed)
	events[3].Replaces, events[3].Kills = events[1].ID, 7
	events[4].Replaces, events[4].Kills = events[2].ID, 0 // it was none
	for range 50 {
		rand.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		if in, _ := Fold(events); in.Kills != 7 || in.First != began.Add(3*time.Minute) || in.Last != in.First || in.Events != 3 {
			t.Fatalf("%+v", in)
		}
	}
	more := timeline(Opened, Killed, Killed, Noted)
	more[2].Replaces = more[2].ID
	more[3].Replaces = more[1].ID // says nothing: it is no kill
	if in, _ := Fold(more); in.Kills != 4 || in.Events != 4 {
		t.Errorf("%+v", in)
	}
}

func TestCheck(t *testing.T) {
	good := timeline(Kinds...)
	for i := range good {
		if err := good[i].Check(began.Add(24 * time.Hour)); err != nil {
			t.Errorf("%s: %v", good[i].Kind, err)
		}
	}
	for want, spoil := range map[string]func(e *Event){
		"is no ID":      func(e *Event) { e.Incident = "a/b" },
		"kind":          func(e *Event) { e.Kind = "burnt" },
		"time":          func(e *Event) { e.Time = time.Time{} },
		"clock":         func(e *Event) { e.Time = began.Add(72 * time.Hour) },
		"source":        func(e *Event) { e.Source = "moon" },
		"subject":       func(e *Event) { e.Subject = nil },
		"not negative":  func(e *Event) { e.Kills = -1 },
		"more than any": func(e *Event) { e.Kills = 1 << 62 },
		"from 0 to 1":   func(e *Event) { e.Confidence = 1.5 },
		"data":          func(e *Event) { e.Data = []byte("{") },
		"65537 bytes":   func(e *Event) { e.Data = []byte(`"` + strings.Repeat("x", MaxData-1) + `"`) },
		"text":          func(e *Event) { e.Text = strings.Repeat("x", MaxText+1) },
		"UTF-8":         func(e *Event) { e.Actor = "\xff" },
		"replaces":      func(e *Event) { e.Replaces = e.ID },
		"a name has":    func(e *Event) { e.Subject.Cgroup = strings.Repeat("x", MaxName+1) },
	} {
		e := timeline(Opened)[0]
		spoil(&e)
		if err := e.Check(began.Add(24 * time.Hour)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestMatch(t *testing.T) {
	in, _ := Fold(timeline(Opened, Killed))
	for _, tt := range []struct {
		f    Filter
		want bool
	}{
		{Filter{}, true}, {Filter{State: Going}, true}, {Filter{State: "open"}, true}, {Filter{Name: "shop/web"}, true}, {Filter{Since: in.Updated}, true},
		{Filter{State: AllEnded}, false}, {Filter{State: "held"}, false}, {Filter{Name: "web"}, false}, {Filter{Since: in.Updated.Add(1)}, false},
		{Filter{Source: SourceWorker}, false}, {Filter{Namespace: "x"}, false},
	} {
		if got := tt.f.Match(&in); got != tt.want {
			t.Errorf("%+v: %v", tt.f, got)
		}
	}
}
