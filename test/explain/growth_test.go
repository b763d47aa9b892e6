package explain

import (
	"math"
	"time"
)

// writeLeak: memory grows from the start of each life to the limit, or towards it.
func writeLeak(d draw, s *scene) {
	base, most := d.between(0.15, 0.4), d.between(0.05, 0.15)
	until := time.Duration(float64(s.length) * d.between(0.4, 0.8))
	reaches := 1.05 - base
	if d.chance(0.2) { // the limit is not reached in the time of the scene
		until, reaches = s.length, d.between(0.75, 0.9)-base-most
	}
	bend, more := 1.0, flat(0)
	// Three of five grow with one slope. The others bend, or follow the load of a day, or have starts that need more than what follows.
	if s.linear = s.variant/2%5 < 3; !s.linear {
		switch d.among(3) {
		case 0:
			bend = d.between(1.4, 2)
		case 1:
			more = diurnal(d, most*d.between(0.2, 0.6), d.minutes(5, 9))
		case 2:
			more = startPeak(d, d.between(0.1, 0.25))
		}
	}
	grows := func(m moment) float64 { return reaches * math.Pow(float64(m.worker)/float64(until), bend) }
	total := plus(warm(d, base), grows, restless(d, most), more)
	s.script = anon(s.limit, total)
	if d.chance(0.2) { // in a child
		s.script = func(m moment) wants {
			return wants{anon: 2 * mib, workers: []int64{share(s.limit, total(m)) - 4*mib}}
		}
	}
	mixed(d, s)
}

// writeSpike: it is steady, and then much more, within seconds, and stays so until it is killed.
func writeSpike(d draw, s *scene) {
	base := d.between(0.25, 0.5)
	from := time.Duration(float64(s.length) * d.between(0.35, 0.8))
	over := d.seconds(3, 15)
	high := d.between(1.1, 1.5) - base
	if d.chance(0.4) { // not at once beyond the limit: noise does the rest
		high = d.between(0.97, 0.99) - base
	}
	again := d.chance(0.3) // also in the lives after
	jumps := func(m moment) float64 {
		since := m.at - from
		if m.number > 0 {
			if !again {
				return 0
			}
			since = m.life - from/3
		}
		return high * min(1, max(0, float64(since)/float64(over)))
	}
	creeps := flat(0)
	if d.chance(0.25) { // and it leaks a little, of which it would not have ended for hours
		slope := d.between(0.04, 0.08) / float64(s.length)
		creeps = func(m moment) float64 { return slope * float64(m.life) }
	}
	s.script = anon(s.limit, plus(warm(d, base), jumps, creeps, usual(d, 0.08)))
	mixed(d, s)
}

// writeLargeInput: each piece of work takes some memory for a time, and one takes much more.
func writeLargeInput(d draw, s *scene) {
	base, piece := d.between(0.15, 0.3), d.between(0.06, 0.15)
	when := time.Duration(float64(s.length) * d.between(0.4, 0.8))
	over := d.seconds(6, 20)
	large := func(m moment) float64 { // the kill ends it
		if m.number > 0 || m.at < when {
			return 0
		}
		return 1.3 * min(1, float64(m.at-when)/float64(over))
	}
	if d.chance(0.5) {
		writePool(d, s, base, piece, large)
	} else {
		works := pieces(d, piece)
		s.script = anon(s.limit, plus(warm(d, base), noise(d, 0.005), works, large))
	}
	mixed(d, s)
}

// pieces are of work, one after the other, each of a size near to the others' and with a pause behind it.
func pieces(d draw, size float64) level {
	begins, ends, high := time.Duration(0), time.Duration(0), 0.0
	return func(m moment) float64 {
		if m.life < begins-time.Minute { // another life
			begins, ends = 0, 0
		}
		if m.life >= ends {
			begins = m.life + d.seconds(15, 40)
			ends = begins + d.seconds(12, 30)
			high = size * d.between(0.7, 1.3)
		}
		if m.life < begins {
			return 0
		}
		return high
	}
}

// writePool has children do the work, one of which gets the large piece. The first process lives.
func writePool(d draw, s *scene, base, piece float64, large level) {
	n := 3 + d.among(3)
	works := make([]level, n)
	for i := range works {
		works[i] = plus(flat(base/float64(n)), noise(d, 0.003), pieces(d, piece/2))
	}
	lucky := d.among(n)
	s.script = func(m moment) wants {
		w := wants{anon: 2 * mib, workers: make([]int64, n)}
		for i := range works {
			w.workers[i] = share(s.limit, works[i](m))
		}
		if m.worker == m.life { // with its worker, the large piece is gone
			w.workers[lucky] += share(s.limit, large(m))
		}
		return w
	}
}

// writeGauged: memory goes with the number of something, up and down, and once there is too much of it.
func writeGauged(d draw, s *scene) {
	name := []string{"sse_connections_active", "sessions_open", "commands_active", "cache_entries"}[d.among(4)]
	base := d.between(0.15, 0.3)
	each := int64(d.between(20, 200)) << 10
	full := share(s.limit, 1-base) / each // so many take all that is left
	day := d.minutes(5, 8)
	peak := time.Duration(float64(s.length) * d.between(0.6, 0.85))
	load, waves := noise(d, 0.03), diurnal(d, d.between(0.15, 0.35), day)
	s.script = func(m moment) wants {
		part := 0.2 + waves(m) + load(m)
		if m.at > peak { // more come, in a minute
			part += 1.1 * min(1, float64(m.at-peak)/float64(time.Minute))
		}
		if m.number > 0 { // they come back after a restart, but not all
			part = (0.2 + waves(m) + load(m)) * min(1, float64(m.life)/float64(30*time.Second))
		}
		count := int64(math.Max(0, part*float64(full)))
		return wants{anon: share(s.limit, base) + count*each, gauges: map[string]float64{name: float64(count)}}
	}
	mixed(d, s)
}
