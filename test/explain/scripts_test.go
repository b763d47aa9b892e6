package explain

import (
	"cmp"
	"math"
	"slices"
	"time"

	"stella/internal/explain"
	"stella/internal/oom"
)

const (
	// variants are those of each cause. There are more leaks, for forecasts and warnings have figures of their own, and still more of what is well, for a
	// false alarm is to be as rare as one of fifty.
	variants        = 20
	leakVariants    = 40
	healthyVariants = 60
	// own is what the process itself uses in the cgroup, in bytes.
	own = mib / 2
)

// writers are the causes, each with what writes its scenes.
var writers = map[explain.Cause]func(draw, *scene){
	explain.Leak:        writeLeak,
	explain.Spike:       writeSpike,
	explain.LimitTooLow: writeLimitTooLow,
	explain.StartUp:     writeStartUp,
	explain.Children:    writeChildren,
	explain.PageCache:   writePageCache,
	explain.Tmpfs:       writeTmpfs,
	explain.KernelUse:   writeKernel,
	explain.Sockets:     writeSockets,
	explain.LargeInput:  writeLargeInput,
	explain.Gauged:      writeGauged,
	explain.AboveLimit:  writeAboveLimit,
	explain.NodeFull:    writeNodeFull,
	explain.NoOOM:       writeNoOOM,
	explain.Healthy:     writeHealthy,
}

// storms are the causes that kill many times a scene. They are played last: the kernel logs ten headers in five seconds and no more, on the whole machine, and
// other kills are to have theirs, as they would if they were alone on a node.
var storms = []explain.Cause{explain.Children, explain.AboveLimit, explain.NodeFull}

// scenes are all of them, those of one cause far from each other.
func scenes() (all []*scene) {
	most := map[explain.Cause]int{explain.Leak: leakVariants, explain.Healthy: healthyVariants}
	for variant := 1; variant <= healthyVariants; variant++ {
		for _, cause := range causes() {
			if variant <= cmp.Or(most[cause], variants) {
				all = append(all, newScene(cause, variant))
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *scene) int {
		return cmp.Compare(slices.Index(storms, a.cause), slices.Index(storms, b.cause))
	})
	return all
}

// causes are those that scenes have, in the order of their names, but what is well last.
func causes() (all []explain.Cause) {
	for cause := range writers {
		if cause != explain.Healthy {
			all = append(all, cause)
		}
	}
	slices.Sort(all)
	return append(all, explain.Healthy)
}

func newScene(cause explain.Cause, variant int) *scene {
	d := newDraw(cause, variant)
	s := &scene{
		cause: cause, variant: variant, scope: oom.ScopeContainer,
		limit:  int64(48+16*d.among(4)) * mib,
		length: d.minutes(12, 16),
	}
	writers[cause](d, s)
	return s
}

// share is a part of a limit in bytes, without what the process itself uses.
func share(limit int64, part float64) int64 { return max(int64(part*float64(limit))-own, 0) }

// level is memory as a part of the limit.
type level func(moment) float64

// plus adds levels.
func plus(all ...level) level {
	return func(m moment) float64 {
		sum := 0.0
		for _, l := range all {
			sum += l(m)
		}
		return sum
	}
}

func flat(part float64) level { return func(moment) float64 { return part } }

// noise wavers by sigma, and what it is now is mostly what it was just before.
func noise(d draw, sigma float64) level {
	const keeps = 0.8
	now := 0.0
	return func(moment) float64 {
		now = keeps*now + math.Sqrt(1-keeps*keeps)*sigma*d.NormFloat64()
		return now
	}
}

// sawTeeth rise to a height and fall, as a heap does between two collections. Each tooth is a little different.
func sawTeeth(d draw, height float64, period time.Duration) level {
	last, high, long := time.Duration(0), height, period
	return func(m moment) float64 {
		if since := m.life - last; since < 0 || since >= long {
			last = m.life
			high, long = height*d.between(0.8, 1.2), time.Duration(float64(period)*d.between(0.8, 1.2))
		}
		return high * float64(m.life-last) / float64(long)
	}
}

// diurnal rises and falls with the load of a day, which is as short as a scene needs it.
func diurnal(d draw, height float64, day time.Duration) level {
	phase := d.between(0, 2*math.Pi)
	return func(m moment) float64 {
		return height * (1 + math.Sin(2*math.Pi*float64(m.at)/float64(day)+phase)) / 2
	}
}

// rise is from a part to another in the first time of each life.
func rise(from, to float64, over time.Duration) level {
	return func(m moment) float64 { return from + (to-from)*min(1, float64(m.life)/float64(over)) }
}

// warm is what a life has at its start, before it has read what it needs.
func warm(d draw, base float64) level { return rise(base*d.between(0.3, 0.6), base, d.seconds(8, 25)) }

// startPeak is what a life needs in its first minute alone.
func startPeak(d draw, high float64) level {
	until := d.seconds(30, 90)
	return func(m moment) float64 {
		if m.life >= until {
			return 0
		}
		return high * float64(m.life) / float64(until)
	}
}

// restless is noise, in half of the cases with saw teeth, none higher than most.
func restless(d draw, most float64) level {
	wavers := noise(d, most*d.between(0.03, 0.12))
	if d.chance(0.5) {
		return plus(wavers, sawTeeth(d, most*d.between(0.3, 0.8), d.seconds(20, 60)))
	}
	return wavers
}

// usual is restless, and in a third of the cases has a day.
func usual(d draw, most float64) level {
	if d.chance(0.33) {
		return plus(restless(d, most), diurnal(d, most*d.between(0.2, 0.6), d.minutes(5, 9)))
	}
	return restless(d, most)
}

// anon is a script of anonymous memory alone.
func anon(limit int64, l level) script {
	return func(m moment) wants { return wants{anon: share(limit, l(m))} }
}

// mixed adds to a script what is no cause: files that are read, small children, a gauge that has nothing to do with memory. The more of them the
// larger the variant's luck.
func mixed(d draw, s *scene) {
	does := s.script
	reads, jobs := d.chance(0.3), d.chance(0.2)
	rate, every := d.between(0.002, 0.02), d.seconds(20, 60)
	requests, load, next := 0.0, noise(d, 20), every
	s.script = func(m moment) wants {
		w := does(m)
		if reads {
			w.reads += int64(rate * float64(max(s.limit, s.outer)))
		}
		if jobs && m.life >= next {
			w.jobs = append(w.jobs, job{2 * mib, 6 * time.Second})
			next += every
		}
		if m.life < next-every {
			next = every // another life
		}
		requests += 100 + load(m)
		if w.gauges == nil {
			w.gauges = map[string]float64{}
		}
		w.gauges["http_requests_total"] = math.Floor(requests)
		w.gauges["http_requests_in_flight"] = math.Max(0, math.Floor(50+load(m)))
		return w
	}
}
