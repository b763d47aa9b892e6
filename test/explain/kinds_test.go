package explain

import (
	"time"
)

// growing is anonymous memory that is steady beside a kind of memory that grows to the limit, evenly or in steps.
func growing(d draw, s *scene, sets func(w *wants, bytes int64)) {
	base := d.between(0.1, 0.3)
	steady := plus(warm(d, base), usual(d, 0.05))
	until := time.Duration(float64(s.length) * d.between(0.35, 0.75))
	steps := 0.0
	if d.chance(0.4) {
		steps = float64(6 + d.among(10))
	}
	s.script = func(m moment) wants {
		done := float64(m.life) / float64(until)
		if steps > 0 {
			done = float64(int(done*steps)) / steps
		}
		w := wants{anon: share(s.limit, steady(m))}
		sets(&w, share(s.limit, min(1.1, (1.05-base)*done)))
		return w
	}
	mixed(d, s)
}

// writePageCache: files that are locked in memory, for a reclaim that cannot be had by anything else in time.
func writePageCache(d draw, s *scene) {
	growing(d, s, func(w *wants, n int64) { w.locked = n })
}

// writeTmpfs: files in a tmpfs, or shared memory.
func writeTmpfs(d draw, s *scene) {
	file := d.chance(0.6)
	growing(d, s, func(w *wants, n int64) {
		if file {
			w.tmpfs = n
		} else {
			w.shared = n
		}
	})
}

// writeKernel: pipes that nobody reads, or page tables, or both.
func writeKernel(d draw, s *scene) {
	of := d.between(0, 1)
	if d.chance(0.6) {
		of = float64(d.among(2))
	}
	growing(d, s, func(w *wants, n int64) {
		w.pipes = int64(float64(n) * of)
		w.tables = n - w.pipes
	})
}

// connectionBytes is what two ends of a connection are of slab memory on Linux 6.
const connectionBytes = 8 << 10

// writeSockets: too many connections, whose data nobody reads.
func writeSockets(d draw, s *scene) {
	s.tcp, s.limit = true, 48*mib
	unread := int64(d.between(4, 12)) << 10
	growing(d, s, func(w *wants, n int64) { w.connections, w.unread = n/connectionBytes, unread })
}

// writeHealthy: what looks as if something was wrong, and is not.
func writeHealthy(d draw, s *scene) {
	kinds := []func(draw, *scene){
		healthySteady, healthyTeeth, healthyDay, healthyWarmUp, healthyReads, healthyJobs, healthyPieces, healthyLoad, healthyPool, healthyStart,
	}
	// Neither part has a kind more often than the other: two variants after each other are of one kind.
	kinds[(s.variant-1)/2%len(kinds)](d, s)
	mixed(d, s)
}

func healthySteady(d draw, s *scene) {
	s.script = anon(s.limit, plus(warm(d, d.between(0.3, 0.75)), noise(d, 0.01)))
}

func healthyTeeth(d draw, s *scene) {
	s.script = anon(s.limit, plus(warm(d, d.between(0.2, 0.4)), sawTeeth(d, d.between(0.15, 0.35), d.seconds(20, 120)), noise(d, 0.01)))
}

func healthyDay(d draw, s *scene) {
	s.script = anon(s.limit, plus(warm(d, d.between(0.2, 0.4)), diurnal(d, d.between(0.15, 0.35), d.minutes(4, 9)), noise(d, 0.01)))
}

// healthyWarmUp grows, ever less, to what it needs, as what has a cache does.
func healthyWarmUp(d draw, s *scene) {
	base, needs := d.between(0.1, 0.3), d.between(0.25, 0.45)
	fills := time.Duration(float64(s.length) * d.between(0.1, 0.2))
	s.script = anon(s.limit, plus(flat(base), noise(d, 0.01), func(m moment) float64 {
		gap := float64(m.life) / float64(fills)
		return needs * (1 - 1/(1+gap*gap*gap))
	}))
}

// healthyReads reads files, whose page cache fills the cgroup and is given back.
func healthyReads(d draw, s *scene) {
	steady := plus(warm(d, d.between(0.2, 0.5)), noise(d, 0.01))
	rate := int64(d.between(0.005, 0.05) * float64(s.limit))
	s.script = func(m moment) wants { return wants{anon: share(s.limit, steady(m)), reads: rate} }
}

// healthyJobs has children that there is room for.
func healthyJobs(d draw, s *scene) {
	base, every := d.between(0.1, 0.3), d.seconds(20, 60)
	next := every
	s.script = func(m moment) wants {
		w := wants{anon: share(s.limit, base)}
		if m.life >= next {
			next += every
			w.jobs = append(w.jobs, job{share(s.limit, d.between(0.1, 0.3)), d.seconds(6, 18)})
		}
		return w
	}
}

func healthyPieces(d draw, s *scene) {
	s.script = anon(s.limit, plus(warm(d, d.between(0.2, 0.35)), noise(d, 0.01), pieces(d, d.between(0.1, 0.25))))
}

// healthyLoad goes with a gauge, and there is room for all.
func healthyLoad(d draw, s *scene) {
	waves, load := diurnal(d, d.between(0.2, 0.4), d.minutes(4, 9)), noise(d, 0.02)
	const each = 64 << 10
	s.script = func(m moment) wants {
		count := share(s.limit, 0.1+waves(m)+load(m)) / each
		return wants{anon: share(s.limit, 0.2) + count*each, gauges: map[string]float64{"sessions_open": float64(count)}}
	}
}

func healthyPool(d draw, s *scene) {
	n := 3 + d.among(3)
	works := make([]level, n)
	for i := range works {
		works[i] = plus(flat(d.between(0.3, 0.6)/float64(n)), noise(d, 0.004), pieces(d, 0.05))
	}
	s.script = func(m moment) wants {
		w := wants{anon: 2 * mib, workers: make([]int64, n)}
		for i := range works {
			w.workers[i] = share(s.limit, works[i](m))
		}
		return w
	}
}

// healthyStart has a peak while it starts that there is room for.
func healthyStart(d draw, s *scene) {
	s.script = anon(s.limit, plus(flat(d.between(0.25, 0.4)), noise(d, 0.01), startPeak(d, d.between(0.2, 0.35))))
}
