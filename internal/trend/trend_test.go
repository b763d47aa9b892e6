package trend_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"stella/internal/trend"
)

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
		if got := trend.Slope(tt.values); math.Abs(got-tt.slope) > 0.01 {
			t.Errorf("the slope of %v is %v; want %v", tt.values, got, tt.slope)
		}
		if got := trend.Chance(tt.values); math.Abs(got-tt.chance) > 0.0005 {
			t.Errorf("the chance of %v is %v; want %v", tt.values, got, tt.chance)
		}
	}
	// Of noise, it is below 0.01 about once in a hundred; noise with a trend is seen.
	random := rand.New(rand.NewPCG(1, 2))
	wrong, seen := 0, 0
	for range 1000 {
		noise, grows := make([]float64, 40), make([]float64, 40)
		for i := range noise {
			noise[i] = random.NormFloat64()
			grows[i] = noise[i] + 0.1*float64(i)
		}
		if trend.Chance(noise) < 0.01 {
			wrong++
		}
		if trend.Chance(grows) < 0.01 {
			seen++
		}
	}
	if wrong > 25 || seen < 990 {
		t.Errorf("%d trends in 1000 that have none, and %d in 1000 that have one", wrong, seen)
	}
}

// Of the intervals of a slope, 95 in 100 have the true one in them, also where points are not evenly apart.
func TestFit(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	const runs, slope = 1000, 0.5
	inside := 0
	for range runs {
		x, y := make([]float64, 30), make([]float64, 30)
		for i := range x {
			x[i] = float64(i) + 0.9*random.Float64()
			y[i] = slope*x[i] + random.NormFloat64()
		}
		l := trend.Fit(x, y)
		if l.Low > l.Slope || l.High < l.Slope {
			t.Fatalf("%+v", l)
		}
		if l.Low <= slope && slope <= l.High {
			inside++
		}
	}
	if inside < runs*93/100 || inside > runs*97/100 {
		t.Errorf("the true slope is in %d of %d intervals of 95 %%", inside, runs)
	}
	if l := trend.Fit([]float64{2, 2}, []float64{1, 9}); l != (trend.Line{}) {
		t.Errorf("two points at the same x have %+v", l)
	}
}
