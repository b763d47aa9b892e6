package samples

import (
	"time"

	"stella/internal/oom"
)

// Usage is what every container uses, and what those that are gone used last. Whose container
// it is, and its kills, are left to the caller. A container that was never sampled is left out.
func (s *Sampler) Usage() []oom.Usage {
	s.mu.Lock()
	all := append(append(make([]*group, 0, len(s.containers)+len(s.ended)), s.containers...), s.ended...)
	s.mu.Unlock()
	out := make([]oom.Usage, 0, len(all))
	for _, g := range all {
		s.mu.Lock()
		if u, ok := s.usage(g); ok {
			out = append(out, u)
		}
		s.mu.Unlock()
	}
	return out
}

// Rising is [Sampler.Usage] of those that are there, use a share of their limit at least, and have used more and more over the last minutes. It
// costs little where there are few.
func (s *Sampler) Rising(share float64) (out []oom.Usage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.containers {
		last, ok := g.container.history.last()
		if !ok || last.figures[limit] <= 0 || float64(last.figures[workingSet]) < share*float64(last.figures[limit]) {
			continue
		}
		if u, ok := s.usage(g); ok && u.Trend > 0 {
			out = append(out, u)
		}
	}
	return out
}

// Gone is [Sampler.Usage] of those that are gone.
func (s *Sampler) Gone() (out []oom.Usage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.ended {
		if u, ok := s.usage(g); ok {
			out = append(out, u)
		}
	}
	return out
}

func (s *Sampler) usage(g *group) (oom.Usage, bool) {
	c := g.container
	last, ok := c.history.last()
	if !ok {
		return oom.Usage{}, false
	}
	u := oom.Usage{Cgroup: g.Path, Sample: last.export(), Disk: c.disk.bytes, Inodes: c.disk.inodes, Gone: c.gone}
	u.Trend, u.TrendSpan = c.trend.slope()
	u.Trend <<= 10
	if c.gone.IsZero() {
		u.Cores = c.coresNow()
	}
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	if g.main.pid != 0 {
		u.Started = s.clock.time(g.main.start)
	}
	return u, true
}

// Newest is the newest sample of a container that is there. It costs little, however many there are.
func (s *Sampler) Newest(cgroup string) (oom.Sample, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.paths[cgroup]
	if g == nil || g.container == nil || !g.container.gone.IsZero() {
		return oom.Sample{}, false
	}
	last, ok := g.container.history.last()
	if !ok {
		return oom.Sample{}, false
	}
	return last.export(), true
}

// Series are the samples of a container, the oldest first: of every second at last, and the further
// apart the older they are. Where the same path was used by several, one after the other, it
// has all that are kept. Nil is a container that is not known.
func (s *Sampler) Series(cgroup string) []oom.Sample { return s.SeriesSince(cgroup, time.Time{}) }

// SeriesSince are those of a time or later: of many hours there can be some megabytes.
func (s *Sampler) SeriesSince(cgroup string, since time.Time) []oom.Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []oom.Sample
	from := since.UnixMilli() // of the zero time before all
	for _, list := range [][]*group{s.ended, s.containers} {
		for _, g := range list {
			if g.Path == cgroup {
				g.container.history.each(func(s *sample) {
					if s.figures[clock] >= from {
						out = append(out, s.export())
					}
				})
			}
		}
	}
	return out
}

// Status says how much is watched.
type Status struct {
	// Containers are sampled, Gone have ended and are kept, Waiting are beyond what may be sampled.
	Containers, Gone, Waiting int
	// Processes are known, Descriptors kept open.
	Processes, Descriptors int
}

// Status says how much is watched now.
func (s *Sampler) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Containers: len(s.containers), Gone: len(s.ended), Descriptors: s.kept}
	for _, g := range s.order {
		if g.wanted && g.container == nil {
			st.Waiting++
		}
	}
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	st.Processes = len(s.table.byPID)
	return st
}
