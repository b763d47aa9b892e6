package explain_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"stella/internal/explain"
	"stella/internal/oom"
)

// At half of the way to its limit, a leak is forecast: the median error is at most 15 %, and the interval is honest.
func TestForecast(t *testing.T) {
	const runs = 100
	var errors []float64
	inside := 0
	for seed := range uint64(runs) {
		p := newProgram(seed)
		base, seconds := p.between(0.1, 0.3), 2*p.length()
		top := 1 - p.tooth // where the teeth reach the limit
		begin := p.now
		p.run(seconds/2, func(age float64) memory { return memory{anon: base + (top-base)*age/seconds} })
		r := check(t, p.done())
		if r.Forecast == nil {
			errors = append(errors, 1)
			continue
		}
		limit := begin.Add(time.Duration(seconds * float64(time.Second)))
		left := limit.Sub(p.now).Seconds()
		errors = append(errors, math.Abs(r.Forecast.At.Sub(limit).Seconds())/left)
		if !limit.Before(r.Forecast.Earliest) && (r.Forecast.Latest.IsZero() || !limit.After(r.Forecast.Latest)) {
			inside++
		}
	}
	slices.Sort(errors)
	t.Logf("error: median %.3f, p90 %.3f; in the interval %d of %d", errors[runs/2], errors[runs*9/10], inside, runs)
	if errors[runs/2] > 0.15 || inside < runs*8/10 {
		t.Errorf("the median error is %.2f, and %d of %d are in the interval", errors[runs/2], inside, runs)
	}
}

// What does not grow has no forecast.
func TestNoForecast(t *testing.T) {
	for _, w := range worlds {
		for seed := range uint64(20) {
			if p := newProgram(seed); w.cause == explain.Healthy {
				w.make(p)
				if r := explain.Explain(p.done()); r.Forecast != nil && r.Findings[0].Cause == explain.Healthy {
					t.Errorf("%s, seed %d: it is forecast to be at its limit at %v", w.name, seed, r.Forecast.At)
				}
			}
		}
	}
}

// A limit is recommended for what a limit cures, above what was seen.
func TestLimit(t *testing.T) {
	cured := []explain.Cause{explain.LimitTooLow, explain.StartUp, explain.Spike, explain.LargeInput, explain.Children}
	for _, w := range worlds {
		p := newProgram(11)
		w.make(p)
		in := p.done()
		r := check(t, in)
		switch {
		case r.Findings[0].Cause != w.cause:
		case slices.Contains(cured, w.cause) != (r.Limit != nil):
			t.Errorf("%s: the recommendation is %+v", w.name, r.Limit)
		case r.Limit != nil && (r.Limit.Bytes <= in.Container.LimitBytes || len(in.Kills) > 0 && r.Limit.Seen < in.Container.LimitBytes):
			t.Errorf("%s: %+v with a limit of %d that was reached", w.name, r.Limit, in.Container.LimitBytes)
		}
	}
}

// A shell in 64 MiB that starts commands of some 30 to 50 MiB, up to three together, gets a limit that has room for them.
func TestLimitForChildren(t *testing.T) {
	p := newProgram(8)
	p.limit = 64 << 20
	p.in.Container.LimitBytes = int64(p.limit)
	for _, w := range worlds {
		if w.name == "children" {
			w.make(p)
		}
	}
	r := check(t, p.done())
	if f := r.Findings[0]; f.Cause != explain.Children || r.Limit == nil || r.Limit.Bytes < 150<<20 || r.Limit.Bytes > 256<<20 {
		t.Errorf("%s: %+v", f.Summary, r.Limit)
	}
}

// The issue is told where image, version and process are known and fit, and nowhere else.
func TestKnownIssue(t *testing.T) {
	for _, tt := range []struct{ image, comm, want string }{
		{"registry.example:5000/kaniko-project/executor:v1.9.2-debug", "executor", "--compressed-caching=false"},
		{"kaniko-project/executor:v1.24.0", "executor", "--compressed-caching=false"},
		{"kaniko-project/executor:v1.6.0", "executor", "v1.7.0 or newer"},
		{"kaniko-project/warmer:v1.18.0", "warmer", "v1.19.0 or newer"},
		{"kaniko-project/warmer:v1.19.0", "warmer", ""},
		{"kaniko-project/executor:v1.3.0", "executor", ""},
		{"kaniko-project/executor:latest", "executor", ""},
		{"kaniko-project/executor@sha256:0123", "executor", ""},
		{"kaniko-project/executor:v1.9.2", "npm", ""},
		{"example/notkaniko-project/executor:v1.9.2", "executor", ""},
		{"", "executor", ""},
	} {
		p := newProgram(4)
		p.in.Container.Image = tt.image
		p.run(p.length(), steady(0.1))
		p.kill(func(k *oom.Kill) { k.Process.Comm = tt.comm })
		r := check(t, p.done())
		switch {
		case tt.want == "" && r.Known != nil:
			t.Errorf("%s, %s: %+v", tt.image, tt.comm, r.Known)
		case tt.want != "" && (r.Known == nil || !strings.Contains(r.Known.Remedy, tt.want) || r.Known.Source == "" || r.Known.Match == ""):
			t.Errorf("%s, %s: %+v", tt.image, tt.comm, r.Known)
		}
	}
}

// What a report says can be looked up: bytes for each unit, who took the node's memory, and where nothing is known, what to collect.
func TestWords(t *testing.T) {
	for name, want := range map[string]string{
		"gauge": "for each sse_connections_active", "node full": "jobs/Job/import took it", "above limit": "the pod fired",
	} {
		for _, w := range worlds {
			if w.name == name {
				p := newProgram(2)
				w.make(p)
				if r := check(t, p.done()); !strings.Contains(r.Findings[0].Summary, want) {
					t.Errorf("%s: %s", name, r.Findings[0].Summary)
				}
			}
		}
	}
}
