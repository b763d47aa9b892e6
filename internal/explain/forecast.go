package explain

import (
	"cmp"
	"math"
	"slices"
	"time"

	"stella/internal/trend"
)

const (
	// farthest is how far ahead a forecast goes, in times of what it looks back at: what has risen for a minute will not rise for a day.
	farthest = 1.5
	// hintChance is the chance at which a trend is worth a look where earlier lives went the same way: it need not convince by itself.
	hintChance = 0.01
	// mostBefore bounds the earlier lives that say how fast it grows, the newest: an older one may be of another version.
	mostBefore = 4
)

// forecast is when the need will be at the limit. It is nil where the need does not rise without an end, and where the last life has ended.
//
// The slope is that of the floor, which teeth of a garbage collector do not change. The line is then as high as the ceiling: the limit is reached by the top of a tooth.
// A life that is too young to convince, and grows as fast as those did that were killed, has their slope.
func (v *view) forecast() *Forecast {
	if v.limit == 0 || len(v.lives) == 0 {
		return nil
	}
	l := &v.lives[len(v.lives)-1]
	if l.kill != nil || len(l.samples) < fewest || l.byLoad() {
		return nil
	}
	need := l.points(needed)
	g, ok := grown(need)
	if !ok {
		return nil
	}
	before := v.before()
	line, lives := g.as(before)
	if g.endless(v.scale) && g.Low > 0 {
		line = g.Line
	} else if lives == 0 {
		return nil
	}
	ahead := farthest * g.span
	for _, b := range before {
		if lives > 0 {
			ahead = max(ahead, b.span) // so long it took them
		}
	}
	last := need[len(need)-1].at
	reach := func(slope, q float64) time.Time {
		at := (v.limit - intercept(need, slope, q)) / slope
		return v.zero.Add(time.Duration(math.Min(math.Max(at, last), last+ahead) * float64(time.Second)))
	}
	f := &Forecast{
		At: reach(line.Slope, highQuantile), Earliest: reach(line.High, 1), Latest: reach(line.Low, 0.5),
		PerHour: int64(math.Min(line.Slope*time.Hour.Seconds(), maxBytes)), Limit: int64(v.limit), Lives: lives,
	}
	end := v.zero.Add(time.Duration((last + ahead) * float64(time.Second)))
	if !f.At.Before(end) {
		return nil
	}
	if !f.Latest.Before(end) {
		f.Latest = time.Time{}
	}
	f.Due = lives > 0 || v.due(f, &g, need)
	f.Due = f.Due && f.At.Sub(l.ended()) <= warnAhead
	return f
}

// before is the growth of the earlier lives that grew until they were killed, the newest last.
func (v *view) before() []growth {
	var out []growth
	for _, l := range v.killed() {
		if g, ok := grown(l.points(needed)); ok && g.endless(v.scale) && g.Low > 0 {
			out = append(out, g)
		}
	}
	return newest(out, mostBefore)
}

// as is the line of those lives that a life goes on as, and how many they are: 0 is that it does not, or that it hardly grows yet.
func (g *growth) as(lives []growth) (trend.Line, int) {
	lives = slices.DeleteFunc(slices.Clone(lives), func(b growth) bool { return g.Slope <= b.Slope/alike || g.Slope >= b.Slope*alike })
	if len(lives) == 0 || g.chance >= hintChance || !g.unbroken() {
		return trend.Line{}, 0
	}
	slices.SortFunc(lives, func(a, b growth) int { return cmp.Compare(a.Slope, b.Slope) })
	line := lives[len(lives)/2].Line
	for _, b := range lives {
		line.Low, line.High = min(line.Low, b.Low), max(line.High, b.High)
	}
	return line, len(lives)
}
