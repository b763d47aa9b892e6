package remedy

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"stella/internal/oom"
)

// calm is what is seen of a workload with which nothing is wrong: 40 MiB of 100, with noise, for the window and some time before.
func calm() Observed {
	r := rand.New(rand.NewPCG(1, 2))
	o := Observed{Since: now, Until: now.Add(10 * time.Minute), KillsKnown: true, InForce: Yes}
	s := Series{Name: "web-1/c"}
	for at := -5 * time.Minute; at <= 10*time.Minute; at += 2 * time.Second {
		s.Samples = append(s.Samples, oom.Sample{Time: now.Add(at), WorkingSet: 40<<20 + r.Int64N(4<<20), Limit: 100 << 20})
	}
	o.Series = []Series{s}
	for at := time.Duration(0); at <= 10*time.Minute; at += time.Minute {
		o.Ready = append(o.Ready, Readiness{Time: now.Add(at), Pod: "web-1", Ready: true, Since: now.Add(-time.Hour), Restarts: 3})
	}
	return o
}

func TestVerify(t *testing.T) {
	each := func(o *Observed, f func(after time.Duration, s *oom.Sample)) {
		for i := range o.Series[0].Samples {
			s := &o.Series[0].Samples[i]
			f(s.Time.Sub(now), s)
		}
	}
	for name, c := range map[string]struct {
		change func(*Observed)
		want   Outcome
		text   string // of the check that decides
	}{
		"calm":          {func(*Observed) {}, Held, ""},
		"another order": {func(o *Observed) { slices.Reverse(o.Series[0].Samples); slices.Reverse(o.Ready) }, Held, ""},
		"a kill":        {func(o *Observed) { o.Kills = []oom.Kill{{ID: "k", Time: now.Add(time.Minute)}} }, DidNotHold, "1 processes were killed"},
		"a kill before": {func(o *Observed) { o.Kills = []oom.Kill{{ID: "k", Time: now.Add(-time.Second)}} }, Held, ""},
		"a kill after the window": {func(o *Observed) {
			o.Kills = []oom.Kill{{ID: "k", Time: now.Add(11 * time.Minute)}}
			o.Until = now.Add(time.Hour)
		}, Held, ""},
		"nobody tells of kills": {func(o *Observed) { o.KillsKnown = false }, CannotTell, "Nobody is there"},
		"near the limit": {func(o *Observed) {
			each(o, func(_ time.Duration, s *oom.Sample) { s.WorkingSet += 42 << 20 })
		}, DidNotHold, "has to be below 80 %"},
		"near it before alone": {func(o *Observed) {
			each(o, func(at time.Duration, s *oom.Sample) {
				if at < 0 {
					s.WorkingSet = s.Limit
				}
			})
		}, Held, ""},
		"one peak is no percentile": {func(o *Observed) { o.Series[0].Samples[200].WorkingSet = 99 << 20 }, Held, ""},
		"it grows": {func(o *Observed) {
			each(o, func(at time.Duration, s *oom.Sample) { s.WorkingSet += int64(at.Seconds()) << 15 })
		}, DidNotHold, "not come to rest"},
		"it grew and came to rest": {func(o *Observed) {
			each(o, func(at time.Duration, s *oom.Sample) { s.WorkingSet += min(int64(at.Seconds()), 330) << 16 })
		}, Held, ""},
		"it grows by what is nothing": {func(o *Observed) {
			each(o, func(at time.Duration, s *oom.Sample) { s.WorkingSet = 40<<20 + int64(at.Seconds())<<10 })
		}, Held, ""},
		"no limit":          {func(o *Observed) { each(o, func(_ time.Duration, s *oom.Sample) { s.Limit = 0 }) }, CannotTell, "has no limit"},
		"few samples":       {func(o *Observed) { o.Series[0].Samples = o.Series[0].Samples[440:] }, CannotTell, "samples"},
		"samples of a part": {func(o *Observed) { o.Series[0].Samples = o.Series[0].Samples[:300] }, CannotTell, "are from"},
		"no samples":        {func(o *Observed) { o.Series = nil }, CannotTell, "no samples of any"},
		"before the end":    {func(o *Observed) { o.Until = now.Add(9 * time.Minute) }, CannotTell, "ends at"},
		"not ready once":    {func(o *Observed) { o.Ready[4].Ready = false }, DidNotHold, "was not ready"},
		"it became ready":   {func(o *Observed) { o.Ready[9].Since = now.Add(5 * time.Minute) }, DidNotHold, "changed at"},
		"started anew":      {func(o *Observed) { o.Ready[4].Restarts++ }, DidNotHold, "started anew 1 times"},
		"nobody looked":     {func(o *Observed) { o.Ready = nil }, CannotTell, "did not tell"},
		"looked at later":   {func(o *Observed) { o.Until = now.Add(time.Hour); o.Ready = o.Ready[10:]; o.Ready[0].Time = o.Until }, Held, ""},
		"changed after that": {func(o *Observed) {
			o.Until = now.Add(time.Hour)
			o.Ready = o.Ready[10:]
			o.Ready[0].Time, o.Ready[0].Since = o.Until, o.Until
		}, CannotTell, "nobody looked before"},
		"not in force":        {func(o *Observed) { o.InForce = No }, DidNotHold, "not in force"},
		"perhaps in force":    {func(o *Observed) { o.InForce = Unknown }, CannotTell, "could not be told"},
		"never read back":     {func(o *Observed) { o.InForce = "" }, CannotTell, "could not be told"},
		"a second one of two": {func(o *Observed) { o.Series = append(o.Series, Series{Name: "web-2/c"}) }, CannotTell, "0 samples"},
	} {
		o := calm()
		c.change(&o)
		v := Verify(Criteria{10 * time.Minute, DefaultShare}, o)
		var deciding []string
		for _, check := range v.Checks {
			if check.State != Yes {
				deciding = append(deciding, check.Text)
			}
		}
		if v.Outcome != c.want || !strings.Contains(strings.Join(deciding, " "), c.text) || c.want == Held && len(deciding) > 0 {
			t.Errorf("%s: %s, want %s: %+v", name, v.Outcome, c.want, v.Checks)
		}
	}
}
