// Package trend says whether values grow, and by how much, where they also jump: memory, with its collections and bursts.
//
// Both methods look at the order of values and not at their size, so that a few that are far off do not matter. They compare all pairs: of n values that
// takes n² / 2 steps, and [Slope] 8 bytes for each. Take some hundreds.
package trend

import (
	"math"
	"slices"
)

// Slope is the median of the slopes between all pairs of values, in units a step (Theil 1950, Sen 1968): up to 29 % of them can be
// outliers without moving it.
func Slope(values []float64) float64 {
	var all []float64
	for i, a := range values {
		for j, b := range values[i+1:] {
			all = append(all, (b-a)/float64(j+1))
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	middle := len(all) / 2
	if len(all)%2 == 1 {
		return all[middle]
	}
	return (all[middle-1] + all[middle]) / 2
}

// Chance is how likely values without any trend would rise, or fall, as much as these do: the two-sided p of the test of Mann (1945) and
// Kendall (1975) in its normal approximation, which wants ten values, with the variance that ties leave.
func Chance(values []float64) float64 {
	n := float64(len(values))
	s, variance := 0.0, n*(n-1)*(2*n+5)
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
	ties := map[float64]float64{}
	for _, v := range values {
		ties[v]++
	}
	for _, t := range ties {
		variance -= t * (t - 1) * (2*t + 5)
	}
	if variance == 0 { // all are the same
		return 1
	}
	z := max(math.Abs(s)-1, 0) / math.Sqrt(variance/18)
	return math.Erfc(z / math.Sqrt2)
}
