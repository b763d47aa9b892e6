package explain_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"stella/internal/explain"
	"stella/internal/oom"
)

// shuffled has the same in another order.
func shuffled(in explain.Input, r *rand.Rand) explain.Input {
	in.Samples, in.Kills, in.Starts = mixed(in.Samples, r), mixed(in.Kills, r), mixed(in.Starts, r)
	in.Gauges, in.Neighbours = mixed(in.Gauges, r), mixed(in.Neighbours, r)
	for i := range in.Gauges {
		in.Gauges[i].Points = mixed(in.Gauges[i].Points, r)
	}
	for i := range in.Samples {
		in.Samples[i].Top = mixed(in.Samples[i].Top, r)
	}
	for i := range in.Kills {
		in.Kills[i].Tasks = mixed(in.Kills[i].Tasks, r)
	}
	return in
}

func mixed[T any](in []T, r *rand.Rand) []T {
	out := slices.Clone(in)
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// check is what is so of every report.
func check(t *testing.T, in explain.Input) explain.Report {
	t.Helper()
	r := explain.Explain(in)
	if len(r.Findings) == 0 {
		t.Fatal("there is no finding")
	}
	for i, f := range r.Findings {
		if !(f.Confidence >= 0 && f.Confidence <= 1) || f.Summary == "" || len(f.For) == 0 {
			t.Fatalf("%+v", f)
		}
		if i > 1 && f.Confidence > r.Findings[i-1].Confidence {
			t.Fatalf("findings are not in order: %s", text(r))
		}
	}
	if l := r.Limit; l != nil && (l.Bytes < l.Seen || l.Headroom != l.Bytes-l.Seen || l.Seen <= 0) {
		t.Fatalf("%+v", l)
	}
	if f := r.Forecast; f != nil && (f.At.Before(f.Earliest) || !f.Latest.IsZero() && f.Latest.Before(f.At) || f.PerHour < 0) {
		t.Fatalf("%+v", f)
	}
	if _, err := json.Marshal(r.Findings); err != nil {
		t.Fatal(err)
	}
	return r
}

// Whatever the order of the input, the report is the same to the byte; and the input is as it was.
func TestOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, w := range worlds {
		p := newProgram(3)
		w.make(p)
		in := p.done()
		in.Samples = append(in.Samples, in.Samples[:20]...) // some twice
		twin := in.Samples[50]
		twin.Usage++
		in.Samples = append(in.Samples, twin)
		want, before := text(check(t, in)), inputText(t, in)
		for range 5 {
			if got := text(check(t, shuffled(in, r))); got != want {
				t.Fatalf("%s: in another order it is\n%s\nand not\n%s", w.name, got, want)
			}
		}
		if inputText(t, in) != before {
			t.Errorf("%s: the input was changed", w.name)
		}
	}
}

func inputText(t *testing.T, in explain.Input) string {
	t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What cannot be tells nothing, and harms nothing.
func TestHostile(t *testing.T) {
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	unknown := oom.Sample{Time: now, Usage: -1, WorkingSet: -1, Limit: -1, Anon: -1, File: -1, Shmem: -1, Kernel: -1, Sock: -1, Swap: -1, PIDs: -1, CPU: -1}
	huge := oom.Sample{Time: now, Usage: math.MaxInt64, WorkingSet: math.MaxInt64, Limit: math.MaxInt64, Anon: math.MaxInt64, File: math.MaxInt64, Shmem: math.MaxInt64, CPU: math.MaxInt64}
	lowest := oom.Sample{Time: now, Usage: math.MinInt64, WorkingSet: math.MinInt64, Limit: math.MinInt64, Anon: math.MinInt64, Kernel: math.MinInt64, CPU: math.MinInt64}
	far := oom.Kill{Time: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC), Process: oom.Process{Anon: math.MaxInt64, File: math.MaxInt64}, Limit: oom.Limit{Bytes: math.MaxInt64, Usage: math.MinInt64}}
	gauge := explain.Gauge{Name: "g"}
	for i := range 50 {
		gauge.Points = append(gauge.Points, explain.Point{Time: now.Add(time.Duration(i) * time.Second), Value: []float64{math.NaN(), math.Inf(1), math.MaxFloat64, -1, 1e99}[i%5]})
	}
	p := newProgram(1)
	p.run(p.length(), steady(0.9))
	p.kill(nil)
	full := p.done()
	full.Gauges = []explain.Gauge{gauge, {Name: "empty"}, {}}
	full.Samples = append(full.Samples, unknown, huge, lowest, oom.Sample{})
	full.Kills = append(full.Kills, far, oom.Kill{}, oom.Kill{Time: now, Count: math.MaxInt64})
	full.Starts = append(full.Starts, time.Time{}, far.Time)
	for name, in := range map[string]explain.Input{
		"nothing":            {},
		"one sample":         {Samples: []oom.Sample{{Time: now, Usage: 1, WorkingSet: 1}}, Now: now},
		"unknown":            {Samples: slices.Repeat([]oom.Sample{unknown}, 100), Now: now},
		"huge and least":     {Samples: []oom.Sample{huge, lowest, unknown, {}}, Kills: []oom.Kill{far, {}}},
		"one kill":           {Kills: []oom.Kill{{Time: now, Count: 1}}, Now: now},
		"a gauge alone":      {Gauges: []explain.Gauge{gauge}, Now: now},
		"all of it":          full,
		"starts and no more": {Starts: []time.Time{now, now, {}}, Now: now},
		"neighbours":         {Kills: []oom.Kill{{Time: now, Limit: oom.Limit{Scope: oom.ScopeNode}}}, Neighbours: []explain.Neighbour{{Growth: math.MaxInt64, WorkingSet: math.MaxInt64, Request: math.MinInt64}}, Now: now},
	} {
		t.Run(name, func(t *testing.T) { check(t, in) })
	}
	if r := explain.Explain(explain.Input{}); r.Findings[0].Cause != explain.CannotTell || len(r.Collect) == 0 {
		t.Errorf("of nothing it tells %s", text(r))
	}
}

// Of a million samples few enough are looked at, and their most is kept.
func TestMillion(t *testing.T) {
	p := newProgram(5)
	p.step, p.tooth, p.noise = 10*time.Millisecond, 0, 0.01
	p.run(10_000, func(age float64) memory { return memory{anon: 0.1 + 0.8*age/10_000} })
	p.kill(nil)
	in := p.done()
	r := check(t, in)
	if n := explain.LookedAt(in); n > explain.MaxSamples {
		t.Errorf("it looks at %d samples", n) // each of which takes its time
	}
	if len(in.Samples) < 1_000_000 || r.Findings[0].Cause != explain.Leak {
		t.Errorf("of %d samples it tells %s", len(in.Samples), text(r))
	}
}

func FuzzExplain(f *testing.F) {
	for i := range worlds {
		f.Add(uint8(i), uint64(i), uint16(0), int64(0))
		f.Add(uint8(i), uint64(i), uint16(7*i), int64(math.MinInt64)>>i)
	}
	f.Fuzz(func(t *testing.T, world uint8, seed uint64, at uint16, value int64) {
		p := newProgram(seed)
		p.step = time.Minute // not many samples
		worlds[int(world)%len(worlds)].make(p)
		in := p.done()
		s := &in.Samples[int(at)%len(in.Samples)]
		for i, field := range []*int64{&s.Usage, &s.WorkingSet, &s.Limit, &s.Anon, &s.File, &s.Kernel, &s.Sock, &s.PIDs} {
			if at>>8&(1<<i) != 0 {
				*field = value
			}
		}
		if at%3 == 0 {
			s.Time = s.Time.Add(time.Duration(value))
		}
		if at%5 == 0 && len(in.Kills) > 0 {
			k := &in.Kills[int(at)%len(in.Kills)]
			k.Limit.Usage, k.Process.Anon, k.Memory.Shmem, k.Count = value, value, value, value
			k.Time = k.Time.Add(time.Duration(value))
		}
		want := text(check(t, in))
		if got := text(check(t, shuffled(in, p.Rand))); got != want {
			t.Fatalf("in another order it is\n%s\nand not\n%s", got, want)
		}
	})
}

// An hour of samples, one each second, with a gauge.
func BenchmarkExplain(b *testing.B) {
	p := newProgram(2)
	p.step = time.Second
	g := explain.Gauge{Name: "g"}
	p.run(3600, func(age float64) memory {
		g.Points = append(g.Points, explain.Point{Time: p.now, Value: p.Float64()})
		return memory{anon: 0.1 + 0.8*age/3600}
	})
	p.kill(nil)
	in := p.done()
	in.Gauges = []explain.Gauge{g, g, g}
	for b.Loop() {
		explain.Explain(in)
	}
}
