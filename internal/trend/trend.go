// Package trend says whether values grow, and by how much, where they also jump: memory, with its collections and bursts.
//
// Its methods look at the order of values and not at their size, so that a few that are far off do not matter. They compare all pairs: of n values that
// takes n² / 2 steps, and [Slope] and [Fit] 8 bytes for each. Take some hundreds.
package trend

import (
	"math"
	"slices"
)

// Slope is the slope of [Fit] through values that are one step apart, in units a step.
func Slope(values []float64) float64 {
	steps := make([]float64, len(values))
	for i := range steps {
		steps[i] = float64(i)
	}
	return Fit(steps, values).Slope
}

// Line says how y changes with x, in units of y for one of x.
type Line struct {
	Slope float64
	// Low and High are the interval in which the slope is with a probability of 95 %, if what y differs from the line at one x says nothing of
	// the next. Where it does, as in most that is measured often, the interval is too narrow.
	Low, High float64
}

// quantile95 is how many standard deviations around the mean hold 95 % of a normal distribution.
const quantile95 = 1.96

// Fit is the line whose slope is the median of the slopes between all pairs of points (Theil 1950, Sen 1968): up to 29 % of them can be
// outliers without moving it. Its interval is Sen's. x and y have the same length; pairs with the same x are left out.
func Fit(x, y []float64) Line {
	var all []float64
	for i := range x {
		for j := i + 1; j < len(x); j++ {
			if x[i] != x[j] {
				all = append(all, (y[j]-y[i])/(x[j]-x[i]))
			}
		}
	}
	if len(all) == 0 {
		return Line{}
	}
	slices.Sort(all)
	middle, last := len(all)/2, len(all)-1
	l := Line{Slope: all[middle]}
	if len(all)%2 == 0 {
		l.Slope = (all[middle-1] + all[middle]) / 2
	}
	within := quantile95 * math.Sqrt(variance(y))
	l.Low = all[max(int((float64(len(all))-within)/2), 0)]
	l.High = all[min(int((float64(len(all))+within)/2), last)]
	return l
}

// Chance is how likely values without any trend would rise, or fall, as much as these do: the two-sided p of the test of Mann (1945) and
// Kendall (1975) in its normal approximation, which wants ten values, with the variance that ties leave.
func Chance(values []float64) float64 {
	s := 0.0
	for i, a := range values {
		for _, b := range values[i+1:] {
			switch {
			case b > a:
				s++
			case b < a:
				s--
			}
		}
	}
	v := variance(values)
	if v == 0 { // all are the same
		return 1
	}
	z := max(math.Abs(s)-1, 0) / math.Sqrt(v)
	return math.Erfc(z / math.Sqrt2)
}

// variance is that of how many more of the pairs rise than fall, if there is no trend.
func variance(values []float64) float64 {
	n := float64(len(values))
	of18 := n * (n - 1) * (2*n + 5)
	ties := map[float64]float64{}
	for _, v := range values {
		ties[v]++
	}
	for _, t := range ties {
		of18 -= t * (t - 1) * (2*t + 5)
	}
	return of18 / 18
}
