package explain

import (
	"time"

	"stella/internal/oom"
)

// writeLimitTooLow: it is steady, and what it needs when it is at work is more than the limit leaves.
func writeLimitTooLow(d draw, s *scene) {
	base, high := d.between(0.88, 0.93), d.between(0.04, 0.07)
	over := d.seconds(15, 60)
	all := []level{rise(0.3, base, over), noise(d, d.between(0.012, 0.025))}
	if d.chance(0.6) {
		all = append(all, sawTeeth(d, high, d.seconds(20, 60)))
	} else {
		all = append(all, diurnal(d, high, d.minutes(3, 6)))
	}
	s.script = anon(s.limit, plus(all...))
	mixed(d, s)
}

// writeStartUp: each life needs more in its first minute or two than later.
func writeStartUp(d draw, s *scene) {
	base := d.between(0.3, 0.5)
	up, holds, down := d.seconds(20, 50), d.seconds(10, 40), d.seconds(3, 20)
	fails := 1 + d.among(3) // so many lives are killed first
	life := d.minutes(4, 6)
	peaks := func(m moment) float64 {
		high := d.between(0.86, 0.94) - base
		if m.number < fails || m.number > fails && m.number%2 == 0 {
			high = 1.12 - base
		}
		switch {
		case m.life < up:
			return high * float64(m.life) / float64(up)
		case m.life < up+holds:
			return high
		case m.life < up+holds+down:
			return high * (1 - float64(m.life-up-holds)/float64(down))
		}
		return 0
	}
	total := plus(flat(base), peaks, noise(d, 0.008), usual(d, 0.05))
	s.script = func(m moment) wants {
		w := wants{anon: share(s.limit, total(m))}
		if m.life > life && s.length-m.at > 3*time.Minute { // a new version is rolled out
			w.exit = 143
		}
		return w
	}
	mixed(d, s)
}

// writeChildren: a small parent starts heavy children, at times several together, which the limit has no room for.
func writeChildren(d draw, s *scene) {
	s.limit = 64 * mib
	every, size := d.seconds(8, 30), d.between(0.3, 0.6)
	parent := int64(d.between(1, 6) * mib)
	next, last := time.Duration(0), time.Duration(0)
	s.script = func(m moment) wants {
		w := wants{anon: parent}
		if m.life < last {
			next = 0
		}
		last = m.life
		if m.life >= next {
			next = m.life + time.Duration(float64(every)*d.between(0.6, 1.4))
			for range 1 + d.among(4) {
				w.jobs = append(w.jobs, job{share(s.limit, size*d.between(0.7, 1.3)), d.seconds(6, 20)})
			}
		}
		return w
	}
}

// writeAboveLimit: it is steady, but what is beside it in the pod takes what the pod has.
func writeAboveLimit(d draw, s *scene) {
	s.outer, s.scope = s.limit+32*mib, oom.ScopePod
	if s.limit = 0; d.chance(0.5) {
		s.limit = s.outer - 8*mib
	}
	base := d.between(0.3, 0.45)
	s.script = anon(s.outer, plus(warm(d, base), usual(d, 0.05)))
	s.beside = beside(d, s, 1.08-base)
	mixed(d, s)
}

// writeNodeFull: it is steady and small, but something else on the node takes all. The node is a cgroup here.
func writeNodeFull(d draw, s *scene) {
	s.outer, s.scope = s.limit+64*mib, oom.ScopeNode
	s.limit = 0
	base := d.between(0.2, 0.35)
	s.script = anon(s.outer, plus(warm(d, base), usual(d, 0.04)))
	s.beside = beside(d, s, 1.06-base)
	mixed(d, s)
}

// beside grows to a part of the outer limit, slowly or at once.
func beside(d draw, s *scene, most float64) script {
	from := time.Duration(float64(s.length) * d.between(0.2, 0.5))
	over := d.minutes(1, 4)
	if d.chance(0.4) {
		over = d.seconds(5, 20)
	}
	begins := d.between(0.1, 0.2)
	return anon(s.outer, plus(noise(d, 0.005), func(m moment) float64 {
		return begins + (most-begins)*min(1, max(0, float64(m.at-from)/float64(over)))
	}))
}

// writeNoOOM: it ends by itself, or somebody ends it, also with the code of a kill.
func writeNoOOM(d draw, s *scene) {
	base := d.between(0.3, 0.6)
	total := plus(warm(d, base), usual(d, 0.1))
	life, how := d.minutes(2, 4), d.among(3)
	s.script = func(m moment) wants {
		w := wants{anon: share(s.limit, total(m))}
		if m.life > life {
			switch how {
			case 0:
				w.exit = 137
			case 1:
				w.exit = 1
			case 2:
				w.killed = true
			}
		}
		return w
	}
	mixed(d, s)
}
