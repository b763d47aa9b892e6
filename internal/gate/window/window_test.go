package window

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata" // the gate's image has no zones of its own

	"stella/internal/gate"
)

func must(t testing.TB, text string) Window {
	t.Helper()
	w, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	m, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestContains(t *testing.T) {
	for _, test := range []struct {
		window  string
		in, out []string
	}{
		// 2026-06-01 is a Monday, and Berlin is at +02:00.
		{"Mo-Fr 02:00-05:00 Europe/Berlin",
			[]string{"2026-06-01T00:00:00Z", "2026-06-01T02:59:59.999Z", "2026-06-05T01:00:00Z"},
			[]string{"2026-05-31T23:59:59.999Z", "2026-06-01T03:00:00Z", "2026-06-06T01:00:00Z", "2026-06-07T01:00:00Z"}},
		{"2-5", []string{"2026-06-01T02:00:00Z", "2026-06-07T04:59:59Z"}, []string{"2026-06-01T05:00:00Z"}},
		{"0:00-24:00", []string{"2026-06-01T00:00:00Z", "2026-06-01T23:59:59Z"}, nil},
		// Over midnight, it is the day of its beginning that counts.
		{"Fr 22:00-04:00", []string{"2026-06-05T22:00:00Z", "2026-06-06T03:59:59Z"},
			[]string{"2026-06-05T03:00:00Z", "2026-06-05T21:59:59Z", "2026-06-06T04:00:00Z", "2026-06-06T22:00:00Z"}},
		{"Sa 22:00-00:00", []string{"2026-06-06T23:59:59Z"}, []string{"2026-06-07T00:00:00Z"}},
		{"fr-mo 12:00-13:00", []string{"2026-06-05T12:00:00Z", "2026-06-07T12:00:00Z", "2026-06-08T12:00:00Z"}, []string{"2026-06-04T12:00:00Z", "2026-06-09T12:00:00Z"}},
		// Berlin, 2026-03-29: after 01:59:59+01:00 comes 03:00:00+02:00.
		{"02:30-05:00 Europe/Berlin", []string{"2026-03-29T03:00:00+02:00", "2026-03-29T04:59:59+02:00"}, []string{"2026-03-29T01:59:59+01:00", "2026-03-29T05:00:00+02:00"}},
		{"02:10-02:50 Europe/Berlin", nil, []string{"2026-03-29T01:59:59+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:20:00+02:00"}},
		// Berlin, 2026-10-25: after 02:59:59+02:00 comes 02:00:00+01:00.
		{"02:10-02:50 Europe/Berlin", []string{"2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"}, []string{"2026-10-25T02:55:00+02:00", "2026-10-25T02:05:00+01:00", "2026-10-25T02:50:00+01:00"}},
	} {
		w := must(t, test.window)
		for _, m := range test.in {
			if !w.Contains(at(t, m)) {
				t.Errorf("%s is not in %s", m, w)
			}
		}
		for _, m := range test.out {
			if w.Contains(at(t, m)) {
				t.Errorf("%s is in %s", m, w)
			}
		}
	}
}

func TestNext(t *testing.T) {
	for _, test := range []struct{ window, now, want string }{
		{"Mo-Fr 02:00-05:00 Europe/Berlin", "2026-06-05T12:00:00Z", "2026-06-08T00:00:00Z"},
		{"Mo-Fr 02:00-05:00 Europe/Berlin", "2026-06-01T00:00:00Z", "2026-06-02T00:00:00Z"}, // in it: the one after
		{"Fr 22:00-04:00", "2026-06-06T03:00:00Z", "2026-06-12T22:00:00Z"},
		{"02:30-05:00 Europe/Berlin", "2026-03-29T00:59:59Z", "2026-03-29T03:00:00+02:00"},
		{"Su 02:10-02:50 Europe/Berlin", "2026-03-28T00:00:00Z", "2026-04-05T02:10:00+02:00"},
		{"02:10-02:50 Europe/Berlin", "2026-10-25T02:20:00+02:00", "2026-10-25T02:10:00+01:00"},
		// Samoa had no 2011-12-30, a Friday.
		{"Fr 10:00-11:00 Pacific/Apia", "2011-12-29T12:00:00-10:00", "2012-01-06T10:00:00+14:00"},
		// Always open: it never opens.
		{"0:00-24:00", "2026-06-01T00:00:00Z", ""},
	} {
		got := must(t, test.window).Next(at(t, test.now))
		if test.want == "" && got.IsZero() {
			continue
		}
		if test.want == "" || !got.Equal(at(t, test.want)) {
			t.Errorf("%s after %s: %v; want %s", test.window, test.now, got, test.want)
		}
	}
	two := []Window{must(t, "Mo 02:00-03:00"), must(t, "We 02:00-03:00")}
	if got, want := Next(two, at(t, "2026-06-02T00:00:00Z")), at(t, "2026-06-03T02:00:00Z"); !got.Equal(want) {
		t.Errorf("of two: %v, want %v", got, want)
	}
}

func TestParse(t *testing.T) {
	// The forms of kured: days by two, three or all letters, or by number; times with minutes, seconds, am and pm, and by the hour.
	for _, same := range [][]string{
		{"mo,tu,we 02:00-05:00", "mon,tue,wed 2:00-5:00", "Monday,TUESDAY,Wednesday 2am-05:00:00", "1,2,3 2-5am", "Mo-We 02:00am-05:00AM UTC", "1-3 2-5"},
		{"0:00-23:59:59", "su,mo,tu,we,th,fr,sa 00:00-23:59:59", "12am-23:59:59"},
		{"1pm-3:30pm", "13:00-15:30"},
	} {
		want := must(t, same[0])
		for _, text := range same[1:] {
			got := must(t, text)
			if got.days != want.days || got.start != want.start || got.end != want.end || got.zone.String() != want.zone.String() {
				t.Errorf("%q is %+v; want that of %q, %+v", text, got, same[0], want)
			}
		}
	}
	for text, says := range map[string]string{
		"":                             "0 parts",
		"Mo":                           "no START-END",
		"Mo-Fr":                        "no time of day",
		"Mo-Fr 02:00":                  "no START-END",
		"Xx 02:00-05:00":               "no day of the week",
		"7 02:00-05:00":                "no day of the week",
		"Mo, Tu 02:00-05:00":           "no day of the week",
		"Mo, 02:00-05:00":              "no day of the week",
		"02:00-02:00":                  "no time at all",
		"24:00-02:00":                  "no time at all",
		"25:00-26:00":                  "no time of day",
		"02:00-05:60":                  "no time of day",
		"02:00-05:00.5":                "no time of day",
		"02:00-05:00 Mars/Olympus":     "time zone",
		"02:00-05:00 ../etc/passwd":    "time zone",
		"02:00-05:00 Local":            "no place",
		"Mo 02:00-05:00 UTC and so on": "6 parts",
		strings.Repeat("Mo,", 1000):    "3000 bytes",
	} {
		_, err := Parse(text)
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "DAYS START-END ZONE") {
			t.Errorf("%.40q: %v; want %q, and how it is written", text, err, says)
		}
	}
}

func TestCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it is 2000-01-01T00:00:00Z, a Saturday
		c := Check([]Window{must(t, "Su 02:00-05:00 Europe/Berlin"), must(t, "Mo 02:00-05:00")})
		r := c.Run(t.Context())
		if opens := at(t, "2000-01-02T01:00:00Z"); r.Outcome != gate.Block || r.Reason != ReasonClosed || !r.Until.Equal(opens) {
			t.Errorf("before: %+v; want it to open at %v", r, opens)
		}
		if !strings.Contains(r.Detail, "Su 02:00-05:00 Europe/Berlin; Mo 02:00-05:00") || !strings.Contains(r.Clears, "2000-01-02T02:00:00+01:00") {
			t.Errorf("it says: %s; %s", r.Detail, r.Clears)
		}
		time.Sleep(time.Until(r.Until) - time.Nanosecond)
		if r := c.Run(t.Context()); r.Outcome != gate.Block {
			t.Errorf("just before: %+v", r)
		}
		time.Sleep(time.Nanosecond)
		if r := c.Run(t.Context()); r.Outcome != gate.Pass || !strings.Contains(r.Detail, "Su 02:00-05:00 Europe/Berlin") {
			t.Errorf("when it opens: %+v", r)
		}
	})
	if r := Check(nil).Run(t.Context()); r.Outcome != gate.Unknown || r.Reason != ReasonNoWindow {
		t.Errorf("of no windows: %+v", r)
	}
}

// FuzzParse holds what was accepted against another reading of the same rule: what a wall clock shows, as text.
func FuzzParse(f *testing.F) {
	f.Add("Mo-Fr 02:00-05:00 Europe/Berlin", int64(1774746000)) // the day when Berlin's clocks go forward
	f.Add("Su 02:10-02:50 Europe/Berlin", int64(1792886400))    // and back
	f.Add("Fr 22:00-04:00 Australia/Lord_Howe", int64(1775314800))
	f.Add("Fr 10-11 Pacific/Apia", int64(1325152800))
	f.Add("0-6 0:00-24:00", int64(0))
	f.Fuzz(func(t *testing.T, text string, seconds int64) {
		w, err := Parse(text)
		if err != nil {
			return
		}
		now := time.Unix(seconds%(1<<33), 0)
		shown := func(u time.Time) bool {
			const layout = "15:04:05"
			from, to := time.Time{}.Add(w.start).Format(layout), time.Time{}.Add(w.end).Format(layout)
			if w.end == day {
				to = "24"
			}
			clock := u.In(w.zone)
			today, before := w.days[clock.Weekday()], w.days[(clock.Weekday()+6)%7]
			text := clock.Format(layout)
			if from < to {
				return today && from <= text && text < to
			}
			return today && from <= text || before && text < to
		}
		next := w.Next(now)
		if !next.IsZero() && (!next.After(now) || !shown(next) || shown(next.Add(-time.Second)) && w.Contains(next.Add(-1))) {
			t.Errorf("%q does not open at %v", text, next)
		}
		was := w.Contains(now)
		for u := now; u.Before(now.Add(8 * day)); u = u.Add(7 * time.Minute) {
			is := w.Contains(u)
			if is != shown(u) {
				t.Fatalf("%q and %v: %t", text, u.In(w.zone), is)
			}
			if is && !was && (next.IsZero() || next.After(u)) {
				t.Fatalf("%q opens before %v; the next was said to be at %v", text, u, next)
			}
			was = is
		}
	})
}

// All days of a window are reached, whatever the day of asking.
func TestNextOfEachDay(t *testing.T) {
	days := []string{"Su", "Mo", "Tu", "We", "Th", "Fr", "Sa"}
	now := at(t, "2026-06-03T12:00:00Z")
	for i, name := range days {
		next := must(t, name+" 01:00-02:00").Next(now)
		if int(next.Weekday()) != i || next.Sub(now) > 7*day {
			t.Errorf("%s: %v", name, next)
		}
	}
}
