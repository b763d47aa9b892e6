package explain

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"stella/internal/oom"
)

// Bounds of what is looked at.
const (
	// maxSamples bounds the samples: two hours of one each second. Of more, each of maxSamples/2 stretches of time keeps its least and its most.
	maxSamples = 7200
	// maxKills and maxStarts bound those of a storm; the newest are kept.
	maxKills, maxStarts = 1000, 1000
	// maxGauges and maxNeighbours bound those that are looked at; the first by name, and those that grew most, are kept.
	maxGauges, maxNeighbours = 100, 100
	// horizon is how old a sample can be. What was a week ago is another program.
	horizon = 7 * 24 * time.Hour
	// skew is how far in the future a sample can be: clocks differ.
	skew = time.Minute
	// maxBytes is beyond any memory. Sums of a few of them still fit.
	maxBytes = 1 << 56
	// maxGauge is beyond any gauge of which a square can be taken.
	maxGauge = 1e100
)

// view is an Input in order, without what cannot be.
type view struct {
	container oom.Container
	kills     []oom.Kill // all of them
	own       []oom.Kill // those by the container's own limit
	starts    []time.Time
	gauges    []Gauge
	heap      *Heap
	near      []Neighbour
	lives     []life
	zero      time.Time // when seconds begin
	now       time.Time
	limit     float64 // the last known in bytes, 0 is none
	scale     float64 // never 0
	most      float64 // that was needed, kills included
	seen      float64 // the most of any kind, file pages that are in use included
	samples   int
}

// look makes the view.
func look(in Input) *view {
	v := &view{container: in.Container, now: in.Now}
	if v.now.IsZero() {
		for i := range in.Samples {
			v.now = later(v.now, in.Samples[i].Time)
		}
		for i := range in.Kills {
			v.now = later(v.now, in.Kills[i].Time)
		}
	}
	samples := v.thin(in.Samples)
	v.samples = len(samples)
	kills := slices.DeleteFunc(slices.Clone(in.Kills), func(k oom.Kill) bool { return !k.Time.IsZero() && !v.known(k.Time) })
	slices.SortFunc(kills, compareKills)
	v.kills = newest(kills, maxKills)
	for i := range v.kills {
		if k := &v.kills[i]; k.Limit.Scope == oom.ScopePod && v.alone(k, samples) {
			k.Limit.Scope = oom.ScopeContainer
		}
	}
	for _, k := range v.kills {
		switch k.Limit.Scope {
		case oom.ScopeNode, oom.ScopeCpuset, oom.ScopePod, oom.ScopeParent:
		default:
			v.own = append(v.own, k)
		}
	}
	v.starts = newest(sorted(slices.DeleteFunc(slices.Clone(in.Starts), func(t time.Time) bool { return !v.known(t) }), time.Time.Compare), maxStarts)
	v.starts = append(v.starts, restarts(samples, v.starts)...)
	slices.SortFunc(v.starts, time.Time.Compare)
	v.near = sorted(in.Neighbours, compareNeighbours)
	v.near = v.near[:min(len(v.near), maxNeighbours)]
	v.measure(samples)
	v.lives = v.cut(samples)
	v.gauges = v.clean(in.Gauges)
	v.heap = v.cleanHeap(in.Heap)
	return v
}

// known reports whether something can have been at t.
func (v *view) known(t time.Time) bool {
	return !t.IsZero() && !t.After(v.now.Add(skew)) && !t.Before(v.now.Add(-horizon))
}

// measure finds what amounts are compared with.
func (v *view) measure(samples []oom.Sample) {
	for i := range samples {
		s := &samples[i]
		v.most = max(v.most, needed(s))
		v.seen = max(v.seen, float64(s.WorkingSet))
		if s.Limit > 0 {
			v.limit = float64(s.Limit)
		}
	}
	if len(samples) > 0 {
		v.zero = samples[0].Time
	}
	for i := range v.own {
		if v.limit == 0 {
			v.limit = float64(atKill(&v.own[i]))
		}
	}
	if v.limit == 0 {
		v.limit = float64(max(v.container.LimitBytes, 0))
	}
	for i := range v.own {
		at := max(float64(atKill(&v.own[i])), 0)
		v.most, v.seen = max(v.most, at), max(v.seen, at)
	}
	v.seen = max(v.seen, v.most)
	v.scale = cmp.Or(v.limit, v.most, 1)
}

// atKill is what was used below the limit that fired, in bytes; 0 is not known.
func atKill(k *oom.Kill) int64 {
	if used := max(k.Limit.Usage, 0); used > 0 && used < maxBytes {
		return used
	}
	return min(max(k.Limit.Bytes, 0), maxBytes)
}

// thin leaves the samples that can be, one for each time, and no more than maxSamples.
func (v *view) thin(in []oom.Sample) []oom.Sample {
	var from, to time.Time
	usable := func(s *oom.Sample) bool {
		return v.known(s.Time) && max(s.Usage, s.WorkingSet) >= 0 && max(s.Usage, s.WorkingSet, s.Anon, s.File, s.Shmem, s.Kernel, s.Sock, s.Limit) < maxBytes
	}
	count := 0
	for i := range in {
		if s := &in[i]; usable(s) {
			if count == 0 || s.Time.Before(from) {
				from = s.Time
			}
			to = later(to, s.Time)
			count++
		}
	}
	kept := make([]oom.Sample, 0, min(count, maxSamples))
	if count <= maxSamples {
		for i := range in {
			if usable(&in[i]) {
				kept = append(kept, in[i])
			}
		}
	} else {
		kept = extremes(in, usable, from, to)
	}
	slices.SortFunc(kept, compareSamples)
	kept = slices.CompactFunc(kept, func(a, b oom.Sample) bool { return a.Time.Equal(b.Time) })
	for i := range kept {
		kept[i].Top = sorted(kept[i].Top, compareProcesses)
	}
	return kept
}

// extremes are the sample of the least and that of the most need of each stretch of time.
func extremes(in []oom.Sample, usable func(*oom.Sample) bool, from, to time.Time) []oom.Sample {
	const stretches = maxSamples / 2
	width := to.Sub(from)/stretches + 1
	var least, most [stretches]*oom.Sample
	for i := range in {
		s := &in[i]
		if !usable(s) {
			continue
		}
		at := int(s.Time.Sub(from) / width)
		if l := least[at]; l == nil || cmp.Or(cmp.Compare(needed(s), needed(l)), compareSamples(*s, *l)) < 0 {
			least[at] = s
		}
		if m := most[at]; m == nil || cmp.Or(cmp.Compare(needed(s), needed(m)), compareSamples(*s, *m)) > 0 {
			most[at] = s
		}
	}
	var kept []oom.Sample
	for i := range least {
		if least[i] != nil {
			kept = append(kept, *least[i], *most[i])
		}
	}
	return kept
}

// clean leaves the points that can be. Counters, which only rise, are no gauges: whatever else rises would follow them.
func (v *view) clean(in []Gauge) []Gauge {
	var out []Gauge
	for _, g := range sorted(in, func(a, b Gauge) int { return cmp.Or(strings.Compare(a.Name, b.Name), compareJSON(a.Name, b.Name)) }) {
		counter := slices.ContainsFunc([]string{"_total", "_count", "_sum", "_bucket", "_created"}, func(end string) bool { return strings.HasSuffix(g.Name, end) })
		if counter {
			continue
		}
		points := slices.DeleteFunc(slices.Clone(g.Points), func(p Point) bool {
			return !v.known(p.Time) || math.IsNaN(p.Value) || math.Abs(p.Value) > maxGauge
		})
		slices.SortFunc(points, func(a, b Point) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Value, b.Value)) })
		out = append(out, Gauge{g.Name, points})
	}
	return out[:min(len(out), maxGauges)]
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// sorted is a copy in order.
func sorted[T any](in []T, compare func(a, b T) int) []T {
	out := slices.Clone(in)
	slices.SortFunc(out, compare)
	return out
}

// newest are the last n.
func newest[T any](in []T, n int) []T { return in[max(len(in)-n, 0):] }

func compareSamples(a, b oom.Sample) int {
	return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Usage, b.Usage), cmp.Compare(a.WorkingSet, b.WorkingSet), cmp.Compare(a.Limit, b.Limit),
		cmp.Compare(a.Anon, b.Anon), cmp.Compare(a.File, b.File), cmp.Compare(a.Shmem, b.Shmem), cmp.Compare(a.Kernel, b.Kernel),
		cmp.Compare(a.Sock, b.Sock), cmp.Compare(a.PIDs, b.PIDs), cmp.Compare(a.CPU, b.CPU),
		slices.CompareFunc(sorted(a.Top, compareProcesses), sorted(b.Top, compareProcesses), compareProcesses))
}

// compareProcesses has the largest first.
func compareProcesses(a, b oom.Process) int {
	return cmp.Or(-cmp.Compare(a.Resident(), b.Resident()), cmp.Compare(a.PID, b.PID), strings.Compare(a.Comm, b.Comm), cmp.Compare(a.Anon, b.Anon), cmp.Compare(a.File, b.File))
}

func compareKills(a, b oom.Kill) int {
	return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.ID, b.ID), cmp.Compare(a.Process.PID, b.Process.PID), compareJSON(a, b))
}

// compareNeighbours has the one that grew most first.
func compareNeighbours(a, b Neighbour) int {
	return cmp.Or(-cmp.Compare(a.Growth, b.Growth), -cmp.Compare(a.WorkingSet, b.WorkingSet), compareJSON(a, b))
}

// compareJSON is an order for what nothing cheaper tells apart.
func compareJSON(a, b any) int {
	x, _ := json.Marshal(a) // what has no JSON, as a year of five digits, is the same here
	y, _ := json.Marshal(b)
	return slices.Compare(x, y)
}
