package cli

import (
	"slices"
	"sync"
	"time"

	"stella/internal/proc"
	"stella/internal/scan"
)

const (
	sampleEvery = 10 * time.Millisecond

	// maxProfiledLayers bounds what is kept for each layer: 32 bytes times
	// this. Layers beyond it only count in the phase.
	maxProfiledLayers = 4096
)

// memoryUse is what was sampled while one thing was going on.
type memoryUse struct {
	peak, sum, samples int64
}

func (u *memoryUse) add(rss int64) {
	u.peak = max(u.peak, rss)
	u.sum += rss
	u.samples++
}

func (u *memoryUse) mean() int64 {
	if u.samples == 0 {
		return 0
	}
	return u.sum / u.samples
}

// memorySampler reads this process's resident set every 10 ms and books it
// under what the scan does at that moment. What it keeps does not grow with time.
type memorySampler struct {
	read     func() (proc.Usage, error)
	snapshot func() scan.Snapshot
	// atPeak is called, from the sampling goroutine, whenever the resident set
	// is a tenth above where it was at the last call: near enough to the peak,
	// and seldom enough not to make it.
	atPeak func()

	quit chan struct{}
	wg   sync.WaitGroup

	// Everything below belongs to the sampling goroutine until stop returns.
	start   time.Time
	elapsed time.Duration
	total   memoryUse
	file    int64 // file-backed part when the total peaked
	phases  []phaseUse
	layers  map[int]*memoryUse
	line    timeline
	called  int64 // resident set at the last call of atPeak
	err     error
}

type phaseUse struct {
	phase scan.Phase
	memoryUse
}

func (s *memorySampler) begin() {
	s.quit = make(chan struct{})
	s.start = time.Now()
	s.layers = make(map[int]*memoryUse)
	s.wg.Go(s.loop)
}

// end stops the sampling; the figures can be read afterwards.
func (s *memorySampler) end() {
	close(s.quit)
	s.wg.Wait()
}

func (s *memorySampler) loop() {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		if s.err = s.sample(); s.err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-s.quit:
			s.elapsed = time.Since(s.start)
			return
		}
	}
}

func (s *memorySampler) sample() error {
	use, err := s.read()
	if err != nil {
		return err
	}
	rss := use.Resident
	if rss > s.total.peak {
		s.file = use.File
	}
	s.total.add(rss)
	s.line.add(rss)

	now := s.snapshot()
	i := slices.IndexFunc(s.phases, func(p phaseUse) bool { return p.phase == now.Phase })
	if i < 0 {
		i = len(s.phases)
		s.phases = append(s.phases, phaseUse{phase: now.Phase})
	}
	s.phases[i].add(rss)
	for _, a := range now.Active {
		if s.layers[a.Layer] == nil && len(s.layers) < maxProfiledLayers {
			s.layers[a.Layer] = new(memoryUse)
		}
		if u := s.layers[a.Layer]; u != nil {
			u.add(rss)
		}
	}
	if rss > s.called+s.called/10 {
		s.called = rss
		s.atPeak()
	}
	return nil
}

// timeline keeps the highest value of equal stretches of time. When it is
// full, neighbours are joined and a stretch becomes twice as long.
type timeline struct {
	peaks   [timelineSize]int64
	n       int // stretches begun
	samples int // samples in a stretch; 0 means 1
	filled  int // samples in the last stretch
}

// timelineSize is four times the columns of a usual chart, so that a joined
// one still has at least two stretches for each.
const timelineSize = 256

func (t *timeline) add(v int64) {
	t.samples = max(t.samples, 1)
	if t.n == 0 || t.filled == t.samples {
		if t.n == timelineSize {
			t.halve()
		}
		t.n++
		t.filled = 0
	}
	p := &t.peaks[t.n-1]
	*p = max(*p, v)
	t.filled++
}

func (t *timeline) halve() {
	for i := range timelineSize / 2 {
		t.peaks[i] = max(t.peaks[2*i], t.peaks[2*i+1])
	}
	clear(t.peaks[timelineSize/2:])
	t.n = timelineSize / 2
	t.samples *= 2
}

// columns spreads the timeline over n columns, each the highest of its part.
func (t *timeline) columns(n int) []int64 {
	if t.n == 0 || n <= 0 {
		return nil
	}
	cols := make([]int64, n)
	for i := range cols {
		first, end := i*t.n/n, (i+1)*t.n/n
		cols[i] = slices.Max(t.peaks[first:max(end, first+1)])
	}
	return cols
}
