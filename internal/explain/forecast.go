package explain

import (
	"math"
	"time"
)

// farthest is how far ahead a forecast goes, in times of what it looks back at: what has risen for a minute will not rise for a day.
const farthest = 1.5

// forecast is when the need will be at the limit. It is nil where the need does not rise without an end, and where the last life has ended.
//
// The slope is that of the floor, which teeth of a garbage collector do not change. The line is then as high as the ceiling: the limit is reached by the top of a tooth.
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
	if !ok || !g.endless(v.scale) || g.Low <= 0 {
		return nil
	}
	last := need[len(need)-1].at
	ahead := farthest * (last - need[0].at)
	reach := func(slope, q float64) time.Time {
		at := (v.limit - intercept(need, slope, q)) / slope
		return v.zero.Add(time.Duration(math.Min(math.Max(at, last), last+ahead) * float64(time.Second)))
	}
	f := &Forecast{
		At: reach(g.Slope, highQuantile), Earliest: reach(g.High, 1), Latest: reach(g.Low, 0.5),
		PerHour: int64(math.Min(g.Slope*time.Hour.Seconds(), maxBytes)), Limit: int64(v.limit),
	}
	end := v.zero.Add(time.Duration((last + ahead) * float64(time.Second)))
	if !f.At.Before(end) {
		return nil
	}
	if !f.Latest.Before(end) {
		f.Latest = time.Time{}
	}
	return f
}
