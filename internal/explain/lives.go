package explain

import (
	"cmp"
	"slices"
	"time"

	"stella/internal/oom"
)

// life is the time between starts, or kills.
type life struct {
	began   time.Time // when its first process was started; zero is not known
	samples []oom.Sample
	kill    *oom.Kill // by its own limit, that ended it; nil is none
	zero    time.Time
	limit   float64
}

// ended is when it was seen last.
func (l *life) ended() time.Time {
	if l.kill != nil {
		return l.kill.Time
	}
	return l.samples[len(l.samples)-1].Time
}

// span is how long it was looked at, in seconds.
func (l *life) span() float64 { return l.ended().Sub(l.samples[0].Time).Seconds() }

// restarts are the times at which the processor time used so far was less than before, and nobody told of a start since then: another cgroup took the
// place of the first. starts are in order.
func restarts(samples []oom.Sample, starts []time.Time) []time.Time {
	var found []time.Time
	var last *oom.Sample
	for i := range samples {
		s := &samples[i]
		if s.CPU < 0 {
			continue
		}
		if last != nil && s.CPU < last.CPU && len(found) < maxStarts {
			next, _ := slices.BinarySearchFunc(starts, last.Time, time.Time.Compare)
			if next == len(starts) || starts[next].After(s.Time) {
				found = append(found, s.Time)
			}
		}
		last = s
	}
	return found
}

// edge is where one life ends and the next begins.
type edge struct {
	at   time.Time
	kill *oom.Kill // nil is a start
}

// cut makes lives of samples, which are in order.
func (v *view) cut(samples []oom.Sample) []life {
	var edges []edge
	for i := range v.own {
		if k := &v.own[i]; !k.Time.IsZero() { // when it was is known
			edges = append(edges, edge{k.Time, k})
		}
	}
	for _, t := range v.starts {
		edges = append(edges, edge{t, nil})
	}
	slices.SortStableFunc(edges, func(a, b edge) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(boolean(a.kill == nil), boolean(b.kill == nil)))
	})
	var lives []life
	current := life{zero: v.zero, limit: v.limit}
	push := func(until int, next life) {
		current.samples, samples = samples[:until], samples[until:]
		if len(current.samples) > 0 {
			lives = append(lives, current)
		}
		current = next
	}
	for _, e := range edges {
		until, _ := slices.BinarySearchFunc(samples, e.at, func(s oom.Sample, t time.Time) int {
			return cmp.Or(s.Time.Compare(t), boolean(e.kill == nil)*2-1) // the sample at a start is of the new life, that at a kill of the old one
		})
		next := life{began: e.at, zero: v.zero, limit: v.limit}
		if e.kill != nil {
			current.kill = e.kill
			until = alive(samples[:until])
			switch survived := e.kill.MainSurvived; {
			case survived != nil && *survived:
				next.began = current.began
			case len(v.starts) > 0:
				next.began = time.Time{} // the start comes
			}
		}
		push(until, next)
	}
	push(len(samples), life{})
	return lives
}

// alive is how many of the samples before a kill are of before it. A kill can be told late, as one that was counted is, and its memory is gone by then.
func alive(samples []oom.Sample) int {
	n := len(samples)
	for range toldLate {
		if n < 2 || needed(&samples[n-1]) > needed(&samples[n-2])/2 {
			continue
		}
		n--
	}
	return n
}

// toldLate is by how many samples a kill is told late at most.
const toldLate = 3

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// point is an amount at a time in seconds.
type point struct{ at, value float64 }

// points are what of tells of the samples; below 0 is not known.
func (l *life) points(of func(*oom.Sample) float64) []point {
	var out []point
	for i := range l.samples {
		if value := of(&l.samples[i]); value >= 0 {
			out = append(out, point{l.samples[i].Time.Sub(l.zero).Seconds(), value})
		}
	}
	return out
}

// need is what it needed, with the kill at its end: then it was all that there was.
func (l *life) need() []point {
	out := l.points(needed)
	if l.kill != nil {
		if at := cmp.Or(float64(atKill(l.kill)), l.limit); at > 0 { // and it is known how much that was
			out = append(out, point{l.kill.Time.Sub(l.zero).Seconds(), at})
		}
	}
	return out
}

// killed are the lives that a kill ended, and that were looked at often enough to have a shape.
func (v *view) killed() []*life { return v.choose(func(l *life) bool { return l.kill != nil }) }

// shaped are all lives that were looked at often enough.
func (v *view) shaped() []*life { return v.choose(func(*life) bool { return true }) }

func (v *view) choose(want func(*life) bool) []*life {
	var out []*life
	for i := range v.lives {
		if l := &v.lives[i]; len(l.samples) >= fewest && want(l) {
			out = append(out, l)
		}
	}
	return newest(out, maxLives)
}

const (
	// fewest is how many samples a life has that has a shape.
	fewest = 8
	// maxLives bounds those whose shape is looked at: of more, the newest tell enough.
	maxLives = 24
)
