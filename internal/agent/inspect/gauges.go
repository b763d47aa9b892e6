package inspect

import (
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"stella/internal/bytesize"
	"stella/internal/oom"
)

const (
	// maxPoints is how many values are kept of a gauge: two hours of one each half a minute.
	maxPoints = 240
	// maxGaugeBytes bounds the gauges of all targets: 140 targets with 20 each, or 30 with as many as one can have. Those of one take maxGauges times some
	// 1.3 KiB at most.
	maxGaugeBytes = 3 << 20
	// gaugeSize is what one takes beside its name: its values, a slice, an entry of the map; ringSize what a target takes beside its gauges.
	gaugeSize, ringSize = maxPoints*4 + 64, maxPoints*8 + 256
)

// errFull is that no more gauges are kept.
var errFull = errors.New("there are more gauges than " + bytesize.Text(maxGaugeBytes) + " hold: some of them are not kept")

// gauges keeps those of all targets. The zero value is empty, and ready. It is safe for concurrent use.
type gauges struct {
	mu    sync.Mutex
	rings map[string]*ring // by cgroup
	size  int
}

// ring is what was read of one target. All of its gauges have the same times; NaN is that there was none.
type ring struct {
	times  []int64 // milliseconds since 1970
	values map[string][]float32
	gone   time.Time // zero while it is a target
}

// add adds what was read at a time. The error is errFull: then some of it is not kept.
func (g *gauges) add(cgroup string, at time.Time, values map[string]float64) (err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.rings[cgroup]
	if r == nil {
		if !g.makeRoom(ringSize + len(cgroup)) {
			return errFull
		}
		if r = (&ring{times: make([]int64, 0, maxPoints), values: map[string][]float32{}}); g.rings == nil {
			g.rings = map[string]*ring{}
		}
		g.rings[strings.Clone(cgroup)] = r
	}
	r.gone = time.Time{}
	if len(r.times) == maxPoints {
		g.shift(r)
	}
	for name := range values {
		if r.values[name] != nil {
			continue
		}
		if len(r.values) == maxGauges {
			break
		}
		if !g.makeRoom(gaugeSize + len(name)) {
			err = errFull
			break
		}
		r.values[name] = unknown(len(r.times))
	}
	r.times = append(r.times, at.UnixMilli())
	for name, kept := range r.values {
		value := float32(math.NaN())
		if v, ok := values[name]; ok {
			value = float32(v)
		}
		r.values[name] = append(kept, value)
	}
	return err
}

// unknown is a gauge that was not there so many times.
func unknown(n int) []float32 {
	out := make([]float32, n, maxPoints)
	for i := range out {
		out[i] = float32(math.NaN())
	}
	return out
}

// shift drops the oldest values, and the gauges of which nothing is left.
func (g *gauges) shift(r *ring) {
	r.times = r.times[:copy(r.times, r.times[1:])]
	for name, kept := range r.values {
		kept = kept[:copy(kept, kept[1:])]
		if r.values[name] = kept; !slices.ContainsFunc(kept, known) {
			delete(r.values, name)
			g.size -= gaugeSize + len(name)
		}
	}
}

func known(v float32) bool { return !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0) }

// makeRoom forgets targets that are gone, the eldest first, until so many bytes have room, and takes them. It reports whether they have.
func (g *gauges) makeRoom(bytes int) bool {
	for g.size+bytes > maxGaugeBytes {
		eldest := ""
		for cgroup, r := range g.rings {
			if !r.gone.IsZero() && (eldest == "" || r.gone.Before(g.rings[eldest].gone)) {
				eldest = cgroup
			}
		}
		if eldest == "" {
			return false
		}
		g.forget(eldest)
	}
	g.size += bytes
	return true
}

func (g *gauges) forget(cgroup string) {
	for name := range g.rings[cgroup].values {
		g.size -= gaugeSize + len(name)
	}
	g.size -= ringSize + len(cgroup)
	delete(g.rings, cgroup)
}

// gone notes that a cgroup is no target any more. What was read of it stays while there is room: who was killed is explained afterwards.
func (g *gauges) gone(cgroup string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.rings[cgroup]; r != nil {
		r.gone = time.Now()
	}
}

// of are the gauges of a cgroup by name.
func (g *gauges) of(cgroup string) []oom.Gauge {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.rings[cgroup]
	if r == nil {
		return nil
	}
	var all []oom.Gauge
	for name, values := range r.values {
		gauge := oom.Gauge{Name: name, Points: make([]oom.GaugePoint, 0, len(values))}
		for i, v := range values {
			if known(v) {
				gauge.Points = append(gauge.Points, oom.GaugePoint{Time: time.UnixMilli(r.times[i]).UTC(), Value: float64(v)})
			}
		}
		all = append(all, gauge)
	}
	slices.SortFunc(all, func(a, b oom.Gauge) int { return strings.Compare(a.Name, b.Name) })
	return all
}
