package explain

import (
	"math"
	"slices"

	"stella/internal/trend"
)

const (
	// windows is how many windows a life has for its trend: enough for a test, and of each one some samples. The pairs are 780.
	windows = 40
	// fewestWindows is how many the test of Mann and Kendall wants.
	fewestWindows = 10
	// singly is up to how many points are windows of their own: in windows of some, so few would tell nothing.
	singly = 20
	// lowQuantile and highQuantile stand for the floor and the ceiling of a window: below and above are outliers.
	lowQuantile, highQuantile = 0.1, 0.95
	// rare is the chance at which a trend counts as one. Memory at one moment is much like that before, which makes chances too small: hence a
	// hundredth of what is usual.
	rare = 0.0005
	// muchGrowth is the share of the scale below which growth is nothing to speak of, unless it is muchOfRoom of what was left of the scale.
	muchGrowth, muchOfRoom = 0.08, 0.25
	// leastGrowth is the share of the scale that no growth is less than.
	leastGrowth = 0.03
	// keptLeast is how much of the growth of a life has to be there at two thirds of it and never be given back later; of what grows evenly it is
	// two thirds, of a garbage collector's teeth nothing.
	keptLeast = 0.3
	// goesOnLeast is the least slope of the second half, in that of the whole: what warms up grows more and more slowly.
	goesOnLeast = 0.6
	// goesOnMost is the greatest: what grows with the square of time has 1.5.
	goesOnMost = 2.5
	// atOnce is the share of all that the floor differs which is between two windows that are next but one to each other: of what grows evenly that is a
	// fifth at most, of a step it is all.
	atOnce = 0.6
	// clearly is how many times the usual distance from the line has to be gained.
	clearly = 3
)

// growth is how one amount changes in one life.
type growth struct {
	trend.Line           // bytes a second, of the floor
	chance       float64 // that it is none
	span, gained float64 // seconds, and bytes in that time
	first        float64 // the floor at the beginning, in bytes
	rose         float64 // from there to the floor of the last fifth, in bytes: where it came to rest that is more than gained
	kept         float64 // of what was gained, the share that is there at two thirds and is never given back
	goesOn       float64 // the slope of the second half, in that of the whole
	step         float64 // the largest rise within two windows, in what the floor differs in all
	scatter      float64 // the median distance of the floor from the line, in bytes
}

// grown fits the growth of points; false is that they are too few.
func grown(points []point) (growth, bool) {
	n := len(points)
	if n > singly {
		n = some(n)
	}
	floor := quantiles(split(points, n), lowQuantile)
	if len(floor) < fewestWindows {
		return growth{}, false
	}
	x, y := make([]float64, len(floor)), make([]float64, len(floor))
	for i, p := range floor {
		x[i], y[i] = p.at, p.value
	}
	g := growth{Line: trend.Fit(x, y), chance: trend.Chance(y), span: x[len(x)-1] - x[0]}
	g.gained = g.Slope * g.span
	g.first = y[0]
	g.rose = quantile(y[len(y)*4/5:], 0.5) - g.first
	level := intercept(floor, g.Slope, 0.5)
	distances := make([]float64, len(floor))
	for i, p := range floor {
		distances[i] = math.Abs(p.value - level - g.Slope*p.at)
	}
	g.scatter = quantile(distances, 0.5)
	if g.Slope > 0 {
		g.kept = (slices.Min(y[len(y)*2/3:]) - y[0]) / g.gained
		after := y[1:] // in the first one is the start, which is no step
		differs := slices.Max(after) - slices.Min(after)
		for i := 2; i < len(after); i++ {
			g.step = max(g.step, (after[i]-after[i-2])/differs)
		}
		half := len(y) / 2
		g.goesOn = trend.Fit(x[half:], y[half:]).Slope / g.Slope
	}
	return g, true
}

// real reports whether there is any growth that is no chance.
func (g *growth) real(scale float64) bool {
	return g.Slope > 0 && g.speaks(g.gained, scale)
}

// speaks reports whether a rise by so much is no chance, and enough to speak of.
func (g *growth) speaks(by, scale float64) bool {
	return g.chance < rare && by >= min(muchGrowth*scale, muchOfRoom*max(scale-g.first, 0)) && by >= leastGrowth*scale && by >= clearly*g.scatter
}

// endless reports whether growth is real, is no step, is not given back, and has not come to rest.
func (g *growth) endless(scale float64) bool {
	return g.real(scale) && g.unbroken()
}

// unbroken reports whether growth, real or not, is no step, is not given back, and has not come to rest.
func (g *growth) unbroken() bool {
	return g.step < atOnce && g.kept >= keptLeast && g.goesOn >= goesOnLeast
}

// intercept is where the line of a slope begins that has a quantile of the points below it.
func intercept(points []point, slope, q float64) float64 {
	rests := make([]float64, len(points))
	for i, p := range points {
		rests[i] = p.value - slope*p.at
	}
	return quantile(rests, q)
}

// some is how many windows there are of n points, with some in each.
func some(n int) int { return min(windows, max(n/3, fewestWindows)) }

// split cuts points, which are in order of time, into n windows of the same length, and leaves out empty ones.
func split(points []point, n int) [][]point {
	if len(points) == 0 {
		return nil
	}
	from, to := points[0].at, points[len(points)-1].at
	width := (to - from) / float64(n)
	var out [][]point
	begin, window := 0, 0
	for i, p := range points {
		at := 0
		if width > 0 {
			at = min(int((p.at-from)/width), n-1)
		}
		if at != window && i > begin {
			out = append(out, points[begin:i])
			begin = i
		}
		window = at
	}
	return append(out, points[begin:])
}

// quantiles has a quantile of each window, in its middle.
func quantiles(windows [][]point, q float64) []point {
	out := make([]point, len(windows))
	for i, w := range windows {
		out[i] = point{(w[0].at + w[len(w)-1].at) / 2, quantile(values(w), q)}
	}
	return out
}

func values(points []point) []float64 {
	out := make([]float64, len(points))
	for i, p := range points {
		out[i] = p.value
	}
	return out
}

// quantile is the value below which a share of the values is; 0 of none. It is one of them.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	ordered := slices.Clone(values)
	slices.Sort(ordered)
	return ordered[int(q*float64(len(ordered)-1)+0.5)]
}
