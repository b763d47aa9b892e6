package samples

import (
	"slices"
	"time"
)

const (
	// trendWindow is over how long a trend is taken. Shorter shows noise, longer hides what has just begun.
	trendWindow = 5 * time.Minute
	// trendLeast is the shortest time that has a trend.
	trendLeast = 30 * time.Second
	// trendPoints bounds the points of a trend, and so its pairs: 435.
	trendPoints = 30
)

// point is a quantity at a time in milliseconds.
type point struct{ at, value int64 }

// trend collects the points of the last minutes, evenly thinned.
type trend struct {
	points [trendPoints]point
	count  int
}

// add takes a point if it is far enough from the one before; they come in the order of time.
// Points before a clock that went back are dropped.
func (t *trend) add(p point) {
	if t.count > 0 {
		last := t.points[t.count-1].at
		if p.at < last {
			t.count = 0
		} else if p.at-last < trendWindow.Milliseconds()/trendPoints {
			return
		}
	}
	if t.count == trendPoints {
		copy(t.points[:], t.points[1:])
		t.count--
	}
	t.points[t.count] = p
	t.count++
}

// slope is the change of the quantity in a minute, and over how long it was taken. It is the median of the
// slopes between all pairs of points (Theil 1950, Sen 1968): up to 29 % of the points can be
// outliers without moving it, so that one garbage collection or one large request is no trend.
// Both are 0 where the points span too little time.
func (t *trend) slope() (perMinute int64, span time.Duration) {
	points := t.points[:t.count]
	if t.count == 0 {
		return 0, 0
	}
	span = time.Duration(points[t.count-1].at-points[0].at) * time.Millisecond
	if span < trendLeast {
		return 0, 0
	}
	var buf [trendPoints * (trendPoints - 1) / 2]float64
	slopes := buf[:0]
	for i, a := range points {
		for _, b := range points[i+1:] {
			slopes = append(slopes, float64(b.value-a.value)/float64(b.at-a.at))
		}
	}
	slices.Sort(slopes)
	middle := len(slopes) / 2
	median := slopes[middle]
	if len(slopes)%2 == 0 {
		median = (slopes[middle-1] + median) / 2
	}
	return int64(median * float64(time.Minute.Milliseconds())), span
}
