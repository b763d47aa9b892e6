package samples

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"stella/internal/oom/tree"
)

// slopeOf is the trend of one value a second.
func slopeOf(values ...int64) (int64, time.Duration) {
	var t trend
	for i, v := range values {
		t.add(point{1_700_000_000_000 + int64(i)*1000, v})
	}
	return t.slope()
}

func ramp(n int, perSecond int64) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = int64(i) * perSecond
	}
	return out
}

func TestTrend(t *testing.T) {
	if got, span := slopeOf(ramp(600, 100)...); got != 6000 || span < trendWindow*9/10 || span > trendWindow {
		t.Errorf("rising: %d over %v", got, span)
	}
	if got, _ := slopeOf(ramp(600, -7)...); got != -420 {
		t.Errorf("falling: %d", got)
	}
	if got, span := slopeOf(ramp(20, 100)...); got != 0 || span != 0 {
		t.Errorf("of 20 seconds: %d over %v", got, span)
	}
	if got, span := slopeOf(); got != 0 || span != 0 {
		t.Errorf("of nothing: %d over %v", got, span)
	}
	// A saw of a garbage collector around a constant is no trend, and a burst of a few points is none.
	saw := make([]int64, 600)
	for i := range saw {
		saw[i] = 1e6 + int64(i%60)*1000
	}
	if got, _ := slopeOf(saw...); got > 10_000 || got < -10_000 {
		t.Errorf("a saw of 60000 a minute: %d", got)
	}
	burst := ramp(600, 0)
	for i := 400; i < 460; i++ {
		burst[i] = 1 << 40
	}
	if got, _ := slopeOf(burst...); got != 0 {
		t.Errorf("a burst of a minute: %d", got)
	}
	// Only the last minutes count.
	if got, _ := slopeOf(append(make([]int64, 600), ramp(300, 10)...)...); got != 600 {
		t.Errorf("after a long rest: %d", got)
	}
}

// Half of the slopes between pairs of points are not above the trend, and half not below.
func TestTrendIsTheMedian(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 100 {
		var tr trend
		for at := range 4 + r.Int64N(2*trendPoints) {
			tr.add(point{at*10_000 + r.Int64N(10), r.Int64N(1 << 30)})
		}
		got, _ := tr.slope()
		above, below, all := 0, 0, 0
		for i, a := range tr.points[:tr.count] {
			for _, b := range tr.points[i+1 : tr.count] {
				slope := float64(b.value-a.value) / float64(b.at-a.at) * 60_000
				all++
				if slope > float64(got)+1 { // got was rounded
					above++
				}
				if slope < float64(got)-1 {
					below++
				}
			}
		}
		if above > all/2 || below > all/2 {
			t.Errorf("%d: %d slopes are above and %d below, of %d", got, above, below, all)
		}
	}
}

func TestTrendWhenTheClockGoesBack(t *testing.T) {
	var tr trend
	for i := range int64(100) {
		tr.add(point{1_700_000_000_000 + i*10_000, 1 << 40})
	}
	for i := range int64(20) {
		tr.add(point{1_600_000_000_000 + i*10_000, i * 1000})
	}
	if got, span := tr.slope(); got != 6000 || span != 190*time.Second {
		t.Errorf("%d over %v", got, span)
	}
}

func BenchmarkSlope(b *testing.B) {
	var t trend
	for i := range int64(300) {
		t.add(point{i * 1000, i * i % 977})
	}
	b.ReportAllocs()
	for b.Loop() {
		t.slope()
	}
}

// Those that rise are those that use much of their limit, and more and more; and each says when it began, and ended.
func TestRising(t *testing.T) {
	f := newFake(t)
	p := newProcs(t)
	p.process(42, "app", 5000)
	s := newSampler(t, Options{Proc: p.dir, Hierarchy: f.h})
	names := []string{"/rises", "/stays", "/is-small", "/has-no-limit"}
	for _, name := range names {
		cg := f.cgroup(name)
		if name != "/has-no-limit" {
			f.write(name, "memory.max", "100000000\n")
		}
		s.Add(cg)
	}
	f.write("/rises", "cgroup.procs", "42\n")
	now := time.Unix(1_700_000_100, 0)
	for i := range 60 {
		f.write("/rises", "memory.current", fmt.Sprintln(50_000_000+i*100_000))
		f.write("/stays", "memory.current", "90000000\n")
		f.write("/is-small", "memory.current", fmt.Sprintln(10_000_000+i*100_000))
		f.write("/has-no-limit", "memory.current", fmt.Sprintln(50_000_000+i*100_000))
		s.step(now.Add(time.Duration(i) * time.Second))
	}
	got := s.Rising(0.5)
	if len(got) != 1 || got[0].Cgroup != "/rises" || got[0].Trend < 5_900_000 || got[0].Trend > 6_100_000 || !got[0].Started.Equal(time.Unix(1_700_000_050, 0)) {
		t.Errorf("%+v", got)
	}
	if gone := s.Gone(); len(gone) != 0 {
		t.Errorf("%+v is gone", gone)
	}
	s.Remove(tree.Cgroup{Path: "/rises", ID: 1})
	if got, gone := s.Rising(0.5), s.Gone(); len(got) != 0 || len(gone) != 1 || gone[0].Gone.IsZero() || gone[0].Started.IsZero() {
		t.Errorf("%+v rises, %+v is gone", got, gone)
	}
}
