package explain

import (
	"math"

	"stella/internal/oom"
)

// alike is how much the growth of lives may differ, as a factor, and still be the same.
const alike = 2.0

// leak claims memory of the program that grows and is not given back.
func (v *view) leak() *claim {
	c := newClaim(Leak, "Its own memory grows without an end, and is not given back.")
	l, g := v.growing()
	if l == nil {
		return nil
	}
	squeezed := v.squeezed() == l
	if squeezed {
		g.gained = max(g.gained, g.rose) // the slope of all of the time says less than it rose by before it came to rest
	}
	if !squeezed && !g.real(v.scale) {
		c.con(sign, l.fact("The floor of its %s did not rise (%s in %s; the chance that there is no trend is %.2g).", l.growsIn(), size(g.gained), lasting(g.span), g.chance))
		return c
	}
	c.pro(sign, l.fact("The floor of its %s rose by %s in %s, which is %s an hour (Theil–Sen; 95 %%: %s to %s); that it is chance has a probability of %.1g (Mann–Kendall).",
		l.growsIn(), size(g.gained), lasting(g.span), size(g.Slope*3600), size(g.Low*3600), size(g.High*3600), g.chance))
	if g.step >= atOnce {
		c.con(proof, l.fact("%s of that was within a moment: it was a step.", percent(min(g.step, 1))))
	}
	if g.kept >= keptLeast {
		c.pro(hint, l.fact("%s of that was there at two thirds of the time, and was never given back.", percent(min(g.kept, 1))))
	} else {
		c.con(sign, l.fact("It was given back again later, as collected garbage is."))
	}
	switch {
	case g.goesOn > goesOnMost:
		c.con(sign, l.fact("In the second half it grew by %.1f times of what it did all in all: it did not grow all the time.", g.goesOn))
	case g.goesOn >= goesOnLeast:
		c.pro(hint, l.fact("In the second half it grew by %.1f times of what it did all in all: it has not come to rest.", g.goesOn))
	case squeezed:
		c.pro(sign, l.fact("It came to rest where all was used, %s of %s, and what it grew by was taken from the page cache.", size(l.used()), size(v.limit)))
	default:
		c.con(sign, l.fact("In the second half it hardly grew: it has come to rest."))
	}
	if g.gained >= 3*muchGrowth*v.scale {
		c.pro(hint, l.fact("That is %s of %s.", percent(g.gained/v.scale), v.scaleName()))
	}
	v.leakInOtherLives(c, l, &g)
	v.heapGrew(c)
	if l.kill != nil {
		c.pro(hint/2, killFact(l.kill, "It grew until it was killed."))
	}
	if l.byLoad() {
		c.con(proof, l.fact("It follows the processor time that is used, and time adds little to that: it does more."))
	}
	return c
}

// growing is the life that tells most about growth, and that growth: of anonymous memory, where that is known.
func (v *view) growing() (*life, growth) {
	var best *life
	var most growth
	for _, l := range v.shaped() {
		points := l.points(anonymous.sample)
		if len(points) < fewest {
			points = l.points(needed)
		}
		g, ok := grown(points)
		if ok && (best == nil || l.span()*weightOf(&g, v.scale) > best.span()*weightOf(&most, v.scale)) {
			best, most = l, g
		}
	}
	return best, most
}

// growsIn is what of a life is looked at for growth.
func (l *life) growsIn() string {
	if len(l.points(anonymous.sample)) < fewest {
		return "working set"
	}
	return anonymous.name
}

// weightOf lets a life with growth count more than one of the same length without: the first minutes after a restart show none.
func weightOf(g *growth, scale float64) float64 {
	switch {
	case g.endless(scale):
		return 4
	case g.real(scale):
		return 2
	}
	return 1
}

// squeezed is the life that grew at the cost of the page cache until nothing was left, and came to rest for that reason; nil is none.
func (v *view) squeezed() *life {
	l, g := v.growing()
	if l == nil || v.limit == 0 || g.Slope <= 0 || !g.speaks(g.rose, v.scale) || g.kept < keptLeast {
		return nil
	}
	cache := values(l.points(func(s *oom.Sample) float64 { return float64(s.File) }))
	if len(cache) < fewest || g.first+g.rose < tightShare*v.limit || l.used() < allUsed*v.limit || cache[0]-cache[len(cache)-1] < g.rose/2 {
		return nil
	}
	return l
}

// allUsed is the share of a limit at which all is used: kernels keep a little free.
const allUsed = 0.97

// used is what was used at the end of a life, in bytes, with the page cache.
func (l *life) used() float64 { return float64(max(l.samples[len(l.samples)-1].Usage, 0)) }

// leakInOtherLives compares its growth with that of the other lives.
func (v *view) leakInOtherLives(c *claim, l *life, g *growth) {
	same, other := 0, 0
	for _, o := range v.shaped() {
		if o == l || o.span() < l.span()/2 {
			continue
		}
		if og, ok := grown(o.points(anonymous.sample)); ok {
			if og.Slope > g.Slope/alike && og.Slope < g.Slope*alike {
				same++
			} else {
				other++
			}
		}
	}
	switch {
	case same > other:
		c.pro(hint, fact("It grew about as fast in %d other lives: a restart does not change it.", same))
	case other > same:
		c.con(hint, fact("In %d other lives it grew much slower, or faster.", other))
	}
}

// byLoad reports whether the use of processors explains the need better than time.
func (l *life) byLoad() bool {
	f, ok := fit([]*life{l}, l.load())
	return ok && f.varies >= loadVaries && f.instead()
}

// loadVaries is the least spread of the load, in its mean, that can explain anything.
const loadVaries = 0.2

// load is the use of processors, in cores, as if the application told it.
func (l *life) load() Gauge {
	g := Gauge{Name: "processor use"}
	var last *oom.Sample
	for i := range l.samples {
		s := &l.samples[i]
		if s.CPU < 0 {
			continue
		}
		if last != nil && s.CPU >= last.CPU {
			if cores := float64(s.CPU-last.CPU) / math.Max(float64(s.Time.Sub(last.Time)), 1); cores < maxCores {
				g.Points = append(g.Points, Point{s.Time, cores})
			}
		}
		last = s
	}
	return g
}

// maxCores is more than any machine has.
const maxCores = 1e5

// scaleName says what amounts are shares of.
func (v *view) scaleName() string {
	if v.limit > 0 {
		return "the limit of " + size(v.limit)
	}
	return "the " + size(v.scale) + " that it needed at most; it has no limit"
}
