package explain

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"stella/internal/oom"
)

// heapOf is a heap that grew by some bytes, nine tenths of them by main.cache.
func heapOf(in *Input, grown int64) *Heap {
	return &Heap{
		From: in.Samples[0].Time, To: in.Samples[len(in.Samples)-1].Time, Before: 1 << 20, After: 1<<20 + grown,
		Sites: []HeapSite{
			{Function: "main.other", Bytes: grown / 10, Grown: grown / 10, Share: 0.1},
			{Function: "main.cache", File: "cache.go", Line: 7, Bytes: grown / 10 * 9, Grown: grown / 10 * 9, Share: 0.9},
		},
	}
}

// grows is a container that grows by 1 MiB a second towards 1 GiB.
func grows() Input {
	in := Input{Now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
	for i := range 700 {
		used := int64(i) << 20
		in.Samples = append(in.Samples, oom.Sample{Time: in.Now.Add(time.Duration(i-700) * time.Second), Usage: used, WorkingSet: used, Anon: used, Limit: 1 << 30})
	}
	return in
}

// A heap that grew makes a leak likelier, names who allocates, and is in the report in order; one that hardly grew says nothing.
func TestHeapIsEvidence(t *testing.T) {
	in := grows()
	without := Explain(in)
	if !slices.ContainsFunc(without.Collect, func(s string) bool { return strings.Contains(s, "stella/pprof") }) && without.Findings[0].Confidence < surely {
		t.Errorf("it does not ask for profiles: %v", without.Collect)
	}
	in.Heap = heapOf(&in, 500<<20)
	with := Explain(in)
	if with.Findings[0].Cause != Leak || with.Findings[0].Confidence <= without.Findings[0].Confidence || with.Heap.Sites[0].Function != "main.cache" {
		t.Errorf("%+v, %+v", with.Findings[0], with.Heap)
	}
	if !slices.ContainsFunc(with.Findings[0].For, func(e Evidence) bool {
		return strings.Contains(e.Text, "90 % of what grew was allocated by main.cache")
	}) {
		t.Errorf("%+v", with.Findings[0].For)
	}
	if in.Heap.Sites[0].Function != "main.other" {
		t.Error("the input was changed")
	}
	in.Heap = heapOf(&in, 10<<20)
	if little := Explain(in); little.Findings[0].Confidence != without.Findings[0].Confidence || little.Heap == nil {
		t.Errorf("%+v", little.Findings[0])
	}
}

// What cannot be is left out.
func TestHostileHeap(t *testing.T) {
	for name, change := range map[string]func(h *Heap){
		"backwards":     func(h *Heap) { h.From, h.To = h.To, h.From },
		"long ago":      func(h *Heap) { h.From = time.Time{} },
		"negative":      func(h *Heap) { h.Before = -1 },
		"larger than a": func(h *Heap) { h.After = math.MaxInt64 },
	} {
		in := grows()
		in.Heap = heapOf(&in, 500<<20)
		change(in.Heap)
		if r := Explain(in); r.Heap != nil {
			t.Errorf("%s: %+v", name, r.Heap)
		}
	}
	in := grows()
	in.Heap = heapOf(&in, 500<<20)
	for range 100 {
		in.Heap.Sites = append(in.Heap.Sites, HeapSite{Function: "many", Bytes: 1, Grown: 1})
	}
	in.Heap.Sites = append(in.Heap.Sites, HeapSite{Function: "odd", Bytes: 1 << 40, Grown: 1 << 40, Share: math.NaN()}, HeapSite{Function: "less", Bytes: 1, Grown: 2})
	if r := Explain(in); len(r.Heap.Sites) != maxSites || r.Heap.Sites[0].Function != "main.cache" {
		t.Errorf("%+v", r.Heap)
	}
}

// A gauge that leaves open a small part of what time leaves open is followed, though time explains some of the rest; beside a leak on a line none is.
func TestGaugeMuchBetterThanTime(t *testing.T) {
	in := Input{Now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
	g := Gauge{Name: "open"}
	n := 0.0
	for i := range 300 {
		if i/40%4 > 0 { // it comes in waves, and memory drifts by a little with time
			n += 2
		}
		used := int64(n)<<20 + int64(i)<<15
		at := in.Now.Add(time.Duration(i-300) * time.Second)
		in.Samples = append(in.Samples, oom.Sample{Time: at, Usage: used, WorkingSet: used, Anon: used, Limit: 450 << 20})
		g.Points = append(g.Points, Point{at, n})
	}
	in.Gauges = []Gauge{g}
	f, ok := fit(look(in).shaped(), g)
	if !ok || f.timeBeyond < addsMuch || f.withTime >= collinear {
		t.Errorf("time says nothing beside it, so this shows nothing: %+v", f)
	}
	if r := Explain(in); r.Findings[0].Cause != Gauged || math.Abs(r.Findings[0].Gauge.PerUnit-1<<20) > 1<<17 {
		t.Errorf("%+v", r.Findings[0])
	}
	leak := grows()
	decoy := Gauge{Name: "decoy"}
	for i := range leak.Samples {
		decoy.Points = append(decoy.Points, Point{leak.Samples[i].Time, float64(i) + 40*math.Sin(float64(i)/30)})
	}
	leak.Gauges = []Gauge{decoy}
	if r := Explain(leak); r.Findings[0].Cause != Leak || r.Findings[0].Gauge != nil {
		t.Errorf("%+v", r.Findings[0])
	}
}
