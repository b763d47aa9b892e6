package explain

import (
	"cmp"
	"math"
	"slices"
	"time"

	"stella/internal/explain"
	"stella/internal/oom"
)

const (
	// early is how long before the kill a warning is to come.
	early = time.Minute
	// shortest is what a life lasts of which there can be a warning. The kernel may kill a second process at once, and that is none.
	shortest = 2 * early
)

// until is what was known at a time.
func until(in *explain.Input, now time.Time) explain.Input {
	before := *in
	before.Now = now
	before.Samples = slices.DeleteFunc(slices.Clone(in.Samples), func(s oom.Sample) bool { return s.Time.After(now) })
	before.Kills = slices.DeleteFunc(slices.Clone(in.Kills), func(k oom.Kill) bool { return k.Time.After(now) })
	before.Starts = slices.DeleteFunc(slices.Clone(in.Starts), func(t time.Time) bool { return t.After(now) })
	before.Gauges = nil
	for _, g := range in.Gauges {
		g.Points = slices.DeleteFunc(slices.Clone(g.Points), func(p explain.Point) bool { return p.Time.After(now) })
		before.Gauges = append(before.Gauges, g)
	}
	return before
}

// ending is a life that a kill ended, of the container or of a child that leaks.
type ending struct{ born, killed time.Time }

// endings are those of a recording.
func endings(in *explain.Input) (all []ending) {
	for _, k := range in.Kills {
		var born time.Time
		for _, s := range in.Starts {
			if !s.After(k.Time) && s.After(born) {
				born = s
			}
		}
		for _, before := range in.Kills {
			if before.Time.Before(k.Time) && before.Time.After(born) {
				born = before.Time
			}
		}
		if k.Time.Sub(born) >= shortest {
			all = append(all, ending{born, k.Time})
		}
	}
	return all
}

// miss is by how much the forecast of half-way of a life is wrong, as a part of the time that was left.
type miss struct {
	*recording
	ending
	by float64
}

// misses are those of each life of a linear leak, the least first. No forecast is wrong by all of the time.
func misses(all []*recording) (out []miss) {
	for _, r := range all {
		if r.Cause != explain.Leak || !r.Linear {
			continue
		}
		for _, e := range endings(&r.Input) {
			left := e.killed.Sub(e.born) / 2
			f := explain.Explain(until(&r.Input, e.born.Add(left))).Forecast
			by := 1.0
			if f != nil {
				by = math.Abs(float64(f.At.Sub(e.killed))) / float64(left)
			}
			out = append(out, miss{r, e, by})
		}
	}
	slices.SortFunc(out, func(a, b miss) int { return cmp.Compare(a.by, b.by) })
	return out
}

// warned is when in a time a warning would have come first; zero is never.
func warned(in *explain.Input, from, to time.Time) time.Time {
	var w explain.Warner
	for at := from.Add(explain.WarnEvery); at.Before(to); at = at.Add(explain.WarnEvery) {
		if w.Warns(explain.Ahead(until(in, at))) {
			return at
		}
	}
	return time.Time{}
}

// warning is how long before a kill it came; 0 is that it did not.
type warning struct {
	*recording
	ending
	before time.Duration
}

// warnings are those of each kill of a leak, the latest first.
func warnings(all []*recording) (out []warning) {
	for _, r := range all {
		if r.Cause != explain.Leak {
			continue
		}
		for _, e := range endings(&r.Input) {
			w := warning{recording: r, ending: e}
			if at := warned(&r.Input, e.born, e.killed); !at.IsZero() {
				w.before = e.killed.Sub(at)
			}
			out = append(out, w)
		}
	}
	slices.SortFunc(out, func(a, b warning) int { return cmp.Compare(a.before, b.before) })
	return out
}

// falseWarnings are the recordings of what is well in which a warning ever came.
func falseWarnings(all []*recording) (out []*recording) {
	for _, r := range all {
		if r.Cause == explain.Healthy && !warned(&r.Input, epoch, r.Input.Now).IsZero() {
			out = append(out, r)
		}
	}
	return out
}
