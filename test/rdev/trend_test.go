package rdev

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// slope is the median of the slopes between all pairs of values, in units a step (Theil 1950, Sen 1968): up to 29 % of them can be
// outliers without moving it.
func slope(values []float64) float64 {
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

// chance is how likely values without any trend would rise, or fall, as much as these do: the two-sided p of the test of Mann (1945) and
// Kendall (1975) in its normal approximation, which wants ten values, with the variance that ties leave.
func chance(values []float64) float64 {
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

func TestTrend(t *testing.T) {
	for _, tt := range []struct {
		values        []float64
		slope, chance float64
	}{
		{nil, 0, 1},
		{[]float64{5, 5, 5, 5}, 0, 1},
		{[]float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 1, 0.0000830}, // S = 45, variance 2250/18
		{[]float64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, -1, 0.0000830},
		{[]float64{1, 2, 3, 900, 5, 6, 7, 8, 9, 10}, 1, 0.00424},  // S = 33: one outlier moves nothing
		{[]float64{1, 1, 1, 1, 1, 2, 2, 2, 2, 2}, 0.125, 0.01219}, // S = 25, variance (2250 - 2·300)/18
		{[]float64{3, 1, 4, 1, 5, 9, 2, 6, 5, 3}, 0.3333, 0.3193}, // S = 12, variance (2250 - 3·18)/18
	} {
		if got := slope(tt.values); math.Abs(got-tt.slope) > 0.01 {
			t.Errorf("the slope of %v is %v; want %v", tt.values, got, tt.slope)
		}
		if got := chance(tt.values); math.Abs(got-tt.chance) > 0.0005 {
			t.Errorf("the chance of %v is %v; want %v", tt.values, got, tt.chance)
		}
	}
	// Of noise, it is below 0.01 about once in a hundred; noise with a trend is seen.
	random := rand.New(rand.NewPCG(1, 2))
	wrong, seen := 0, 0
	for range 1000 {
		noise, trend := make([]float64, 40), make([]float64, 40)
		for i := range noise {
			noise[i] = random.NormFloat64()
			trend[i] = noise[i] + 0.1*float64(i)
		}
		if chance(noise) < 0.01 {
			wrong++
		}
		if chance(trend) < 0.01 {
			seen++
		}
	}
	if wrong > 25 || seen < 990 {
		t.Errorf("%d trends in 1000 that have none, and %d in 1000 that have one", wrong, seen)
	}
}
