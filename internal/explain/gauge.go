package explain

import (
	"math"
	"slices"

	"stella/internal/oom"
)

const (
	// followsWell is the least share of the variance of memory that a gauge explains by itself.
	followsWell = 0.6
	// addsMuch is the least share that one explains of what the other leaves (partial R²).
	addsMuch = 0.3
	// smallPart is the share of what time leaves open that a gauge leaves open which explains memory much better.
	smallPart = 0.1
	// collinear is the correlation of a gauge and time above which none of the two adds to the other: both grow evenly.
	collinear = 0.995
	// fewestJoined is how many windows of a life say what its mean is.
	fewestJoined = 5
	// gaugeVaries is the least spread of a gauge, in its mean.
	gaugeVaries = 0.05
)

// AddGauges adds what an agent read of an application. Of a gauge that is there already, from before a restart, it adds the points.
func (in *Input) AddGauges(read []oom.Gauge) {
	for _, g := range read {
		at := slices.IndexFunc(in.Gauges, func(known Gauge) bool { return known.Name == g.Name })
		if at < 0 {
			at = len(in.Gauges)
			in.Gauges = append(in.Gauges, Gauge{Name: g.Name})
		}
		for _, p := range g.Points {
			in.Gauges[at].Points = append(in.Gauges[at].Points, Point(p))
		}
	}
}

// fitted is how memory follows a gauge within lives: ordinary least squares over windows, each life with a level of its own.
type fitted struct {
	perUnit    float64 // bytes for one of the gauge
	r2         float64 // of the variance of memory, the share that the gauge explains
	beyondTime float64 // partial R² of the gauge, time given
	timeBeyond float64 // partial R² of time, the gauge given
	withTime   float64 // correlation of gauge and time
	spread     float64 // of the gauge, from its least to its most
	varies     float64 // spread in its mean
	n          int
}

// instead reports whether memory follows the gauge, and time adds little to that, or the gauge leaves much less open than time does. To a leak time adds nearly all
// that is left, whatever grows beside it, as its memory is on a line.
func (f *fitted) instead() bool {
	return f.perUnit > 0 && f.r2 >= followsWell && (f.timeBeyond < addsMuch || f.muchBetter())
}

// muchBetter reports whether the gauge leaves a small part open of what time leaves open. Then it does not matter whose is the rest: where a gauge explains nearly
// all, that is what else the program does meanwhile.
func (f *fitted) muchBetter() bool {
	// Both leave open what they leave together, without what the other one adds.
	return 1-f.beyondTime <= (1-f.timeBeyond)*smallPart
}

// sums are of products of differences from the means of each life.
type sums struct{ gg, tt, yy, gy, ty, gt, mean, least, most, n float64 }

// fit compares memory with a gauge in lives.
func fit(lives []*life, g Gauge) (fitted, bool) {
	s := sums{least: math.Inf(1), most: math.Inf(-1)}
	for _, l := range lives {
		s.add(l.join(g))
		for _, p := range l.within(g) {
			s.least, s.most = min(s.least, p.value), max(s.most, p.value)
		}
	}
	if s.n < fewestWindows || s.gg <= 0 || s.tt <= 0 || s.yy <= 0 {
		return fitted{}, false
	}
	gy, ty, gt := s.gy/math.Sqrt(s.gg*s.yy), s.ty/math.Sqrt(s.tt*s.yy), s.gt/math.Sqrt(s.gg*s.tt)
	f := fitted{perUnit: s.gy / s.gg, r2: gy * gy, withTime: gt, spread: s.most - s.least, n: int(s.n)}
	if mean := math.Abs(s.mean / s.n); mean > 0 {
		f.varies = f.spread / mean
	}
	if gt*gt < 1 {
		both := min((gy*gy+ty*ty-2*gy*ty*gt)/(1-gt*gt), 1)
		f.beyondTime = share(both-ty*ty, 1-ty*ty)
		f.timeBeyond = share(both-gy*gy, 1-gy*gy)
	}
	sane := !math.IsNaN(f.r2+f.beyondTime+f.timeBeyond+f.perUnit+f.varies) && !math.IsInf(f.perUnit+f.varies, 0)
	return f, sane
}

// share is a part of a whole, from 0 to 1.
func share(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return max(0, min(1, part/whole))
}

// add adds the windows of a life.
func (s *sums) add(memory, gauge []point) {
	n := float64(len(memory))
	if n < fewestJoined {
		return
	}
	var y, g, t float64
	for i := range memory {
		y, g, t = y+memory[i].value/n, g+gauge[i].value/n, t+memory[i].at/n
	}
	for i := range memory {
		dy, dg, dt := memory[i].value-y, gauge[i].value-g, memory[i].at-t
		s.yy, s.gg, s.tt = s.yy+dy*dy, s.gg+dg*dg, s.tt+dt*dt
		s.gy, s.ty, s.gt = s.gy+dg*dy, s.ty+dt*dy, s.gt+dg*dt
	}
	s.mean += g * n
	s.n += n
}

// join has the need of a life and a gauge in the same windows. The same low quantile of both is taken: what is above it in one, as a tooth of a
// garbage collector, does not matter, and where memory follows the gauge their quantiles follow each other.
func (l *life) join(g Gauge) (memory, gauge []point) {
	told := l.within(g)
	need := l.points(needed)
	for _, w := range split(told, some(len(told))) {
		first, last := w[0].at, w[len(w)-1].at
		begin := max(upTo(need, first)-1, 0)
		within := need[begin:max(upTo(need, last), begin)]
		if len(within) == 0 {
			continue
		}
		at := (first + last) / 2
		memory = append(memory, point{at, quantile(values(within), lowQuantile)})
		gauge = append(gauge, point{at, quantile(values(w), lowQuantile)})
	}
	return memory, gauge
}

// within are the points of a gauge in a life.
func (l *life) within(g Gauge) []point {
	var out []point
	for _, p := range g.Points {
		if !p.Time.Before(l.samples[0].Time) && !p.Time.After(l.ended()) {
			out = append(out, point{p.Time.Sub(l.zero).Seconds(), p.Value})
		}
	}
	return out
}

// upTo is how many points are not after a time.
func upTo(points []point, at float64) int {
	n, _ := slices.BinarySearchFunc(points, at, func(p point, at float64) int {
		if p.at <= at {
			return -1
		}
		return 1
	})
	return n
}

// gauged claims growth with something that the application counts: that of its gauges which explains memory best.
func (v *view) gauged() *claim {
	lives := v.shaped()
	if len(lives) == 0 {
		return nil
	}
	var best *claim
	for i := range v.gauges {
		f, ok := fit(lives, v.gauges[i])
		if !ok || f.perUnit <= 0 || f.varies < gaugeVaries {
			continue
		}
		if c := v.gaugeClaim(v.gauges[i].Name, &f, lives[len(lives)-1]); best == nil || c.odds > best.odds {
			best = c
		}
	}
	return best
}

func (v *view) gaugeClaim(name string, f *fitted, l *life) *claim {
	c := newClaim(Gauged, "It needs "+size(f.perUnit)+" for each "+name+".")
	c.gauge = &Followed{Name: name, PerUnit: f.perUnit, R2: f.r2}
	what := l.fact("%s per %s, by least squares over %d windows; R² %.2f.", size(f.perUnit), name, f.n, f.r2)
	if f.r2 < followsWell {
		c.con(sign, what)
		return c
	}
	c.pro(sign, what)
	switch explains := f.perUnit * f.spread; {
	case explains >= muchRise*v.scale:
		c.pro(hint, fact("%s went up and down by %.4g, which is %s of memory, %s of %s.", name, f.spread, size(explains), percent(explains/v.scale), v.scaleName()))
	case explains < muchRise/2*v.scale:
		c.con(sign, fact("%s changed by %.4g only, which is %s of memory.", name, f.spread, size(explains)))
	}
	v.heapGrew(c)
	switch {
	case math.Abs(f.withTime) >= collinear:
		c.pro(hint, fact("%s grew as evenly as memory did, so that it cannot be told from time.", name))
	case f.instead():
		c.pro(sign, fact("It explains %s of what time leaves open, and time %s of what it leaves open (partial R²).", percent(f.beyondTime), percent(f.timeBeyond)))
	default:
		c.con(sign, fact("Time explains %s of what it leaves open (partial R²): it grew, and memory too.", percent(f.timeBeyond)))
	}
	return c
}
