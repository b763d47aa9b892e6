package explain_test

import (
	"slices"
	"testing"
	"time"

	"stella/internal/explain"
	"stella/internal/oom"
)

// lastWarning is how much of the last life was over when a warning came, from 0 to 1; 2 is that none came.
func lastWarning(in explain.Input, born, killed time.Time) float64 {
	var w explain.Warner
	for at := born; at.Before(killed); at = at.Add(explain.WarnEvery) {
		if w.Warns(explain.Ahead(known(in, at))) {
			return at.Sub(born).Seconds() / killed.Sub(born).Seconds()
		}
	}
	return 2
}

// known is what was known of in at a time.
func known(in explain.Input, at time.Time) explain.Input {
	in.Now = at
	in.Samples = slices.DeleteFunc(slices.Clone(in.Samples), func(s oom.Sample) bool { return s.Time.After(at) })
	in.Kills = slices.DeleteFunc(slices.Clone(in.Kills), func(k oom.Kill) bool { return k.Time.After(at) })
	in.Starts = slices.DeleteFunc(slices.Clone(in.Starts), func(t time.Time) bool { return t.After(at) })
	return in
}

// leaks has so many lives that grow by one slope to the limit.
func leaks(p *program, lives int) (born time.Time) {
	p.step, p.tooth = 4*time.Second, 0
	const seconds = 1200
	for range lives {
		born = p.now
		p.run(seconds, func(age float64) memory { return memory{anon: 0.2 + 0.8*age/seconds} })
		p.restart()
	}
	return born
}

// A leak is warned of before its end, and earlier where lives before it went the same way.
func TestWarnings(t *testing.T) {
	for seed := range uint64(20) {
		once, often := newProgram(seed), newProgram(seed)
		born := leaks(once, 1)
		first := lastWarning(once.in, born, once.in.Kills[0].Time)
		if first > 0.8 || first < 0.5 {
			t.Errorf("seed %d: a first life is warned of at %.2f of its way", seed, first)
		}
		born = leaks(often, 3)
		third := lastWarning(often.in, born, often.in.Kills[2].Time)
		if third >= first {
			t.Errorf("seed %d: a third life is warned of at %.2f of its way, and a first one at %.2f", seed, third, first)
		}
		if f := explain.Ahead(known(often.in, born.Add(5*time.Minute))); f == nil || f.Lives != 2 {
			t.Errorf("seed %d: after a quarter of the third life the forecast is %+v", seed, f)
		}
	}
}

// What takes most of its limit when it starts, and leaks the rest, is warned of as well: the start is no step.
func TestWarningOfHighStart(t *testing.T) {
	for seed := range uint64(20) {
		p := newProgram(seed)
		p.step, p.tooth, p.noise = time.Second, 0, 0.003
		born := p.now
		p.run(400, func(age float64) memory { return memory{anon: 0.7*min(1, age/6) + 0.3*age/400} })
		p.kill(nil)
		if at := lastWarning(p.in, born, p.now); at > 0.8 {
			t.Errorf("seed %d: it is warned of at %.2f of its way", seed, at)
		}
	}
}

// A program that was killed for a leak, and now only starts, or grows otherwise, is not warned of.
func TestNoWarning(t *testing.T) {
	for seed := range uint64(20) {
		for name, after := range map[string]func(float64) memory{
			"steady":   steady(0.3),
			"warms up": func(age float64) memory { return memory{anon: 0.2 + 0.4*min(1, age/120)} },
			"slower":   func(age float64) memory { return memory{anon: 0.2 + 0.1*age/1200} },
		} {
			p := newProgram(seed)
			leaks(p, 2)
			born := p.now
			p.run(1200, after)
			if at := lastWarning(p.done(), born, p.now); at <= 1 {
				t.Errorf("seed %d, %s: a warning came at %.2f of the time", seed, name, at)
			}
		}
	}
}

// One forecast is no warning, and neither are two with one between them that is not due.
func TestWarner(t *testing.T) {
	due, far := &explain.Forecast{Due: true}, &explain.Forecast{}
	var w explain.Warner
	for i, step := range []struct {
		f    *explain.Forecast
		want bool
	}{{due, false}, {far, false}, {due, false}, {nil, false}, {due, false}, {due, true}, {due, true}, {far, false}, {due, false}} {
		if got := w.Warns(step.f); got != step.want {
			t.Errorf("forecast %d warns: %v", i, got)
		}
	}
}
