package book_test

import (
	"encoding/json"
	"testing"

	"stella/internal/incident"
)

// Whatever somebody sends is refused or kept, as both databases can, and the summary is what the timeline says.
func FuzzTell(f *testing.F) {
	for _, e := range timeline("i") {
		text, err := json.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"incident":"i","id":"x","time":"0001-01-01T00:00:01Z","kind":"killed","replaces":"x","kills":9223372036854775807}`))
	f.Add([]byte(`{"incident":"i","id":"x","time":"2026-05-30T03:33:00Z","kind":"opened","source":"node","subject":{"name":"\u0000\ud800"},"data":"\u0000"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e := newEnv(t, "sqlite:"+t.TempDir()+"/db")
		var x incident.Event
		if json.Unmarshal(text, &x) != nil {
			t.Skip()
		}
		y := x
		y.ID += "-2"
		for _, some := range [][]incident.Event{{x, y}, {y}, {x}} {
			e.tell(e.Book, some...)
		}
		all, err := e.List(t.Context(), incident.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range all {
			d := e.get(in.ID)
			want, _ := incident.Fold(d.Timeline)
			if want.Kills != d.Kills || want.State != d.State || want.Events != d.Events || !want.Updated.Equal(d.Updated) || want.Peak != d.Peak {
				t.Errorf("the summary is\n%+v, and the timeline makes\n%+v", d.Incident, want)
			}
		}
	})
}
