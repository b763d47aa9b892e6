package explain

import (
	"fmt"

	"stella/internal/oom"
)

// workLarger is how many times larger than usual a piece of work is that is a large one.
const workLarger = 1.5

// spike claims that it was steady, and then needed much more at once.
func (v *view) spike() *claim {
	lives := v.sudden()
	if len(lives) == 0 {
		return nil
	}
	c := newClaim(Spike, "It was steady, and then needed much more at once.")
	var best *life
	var of rise
	for _, l := range lives {
		if r := rises(l.need()); best == nil || r.large(v.scale) && r.sudden() {
			best, of = l, r
		}
	}
	switch {
	case !of.large(v.scale):
		c.con(hint, best.fact("It rose by %s only above its median of %s.", size(of.peak-of.base), size(of.base)))
		return c
	case !of.sudden():
		c.con(sign, best.fact("The rise from %s to %s took %s: it was no moment.", size(of.base), size(of.peak), lasting(of.took)))
		return c
	}
	c.pro(sign, best.fact("Its median was %s for %s; then it went to %s within %s.", size(of.base), lasting(of.age), size(of.peak), lasting(of.took)))
	if of.peak-of.base >= v.scale/2 {
		c.pro(hint, best.fact("That is a rise by %s of %s.", percent((of.peak-of.base)/v.scale), v.scaleName()))
	}
	if of.spread <= muchGrowth*v.scale {
		c.pro(hint, best.fact("Before that it differed by %s only.", size(of.spread)))
	}
	if g, ok := grown(of.before); ok && !g.real(v.scale) {
		c.pro(hint, best.fact("There was no trend before (Mann–Kendall: %.2g).", g.chance))
	}
	return c
}

// sudden are the lives in which to look for a rise: those that ended in a kill, and where there is none, the last one, if it came near the limit or grew out of
// all measure without one.
func (v *view) sudden() []*life {
	if killed := newest(v.killed(), maxRises); len(killed) > 0 {
		return killed
	}
	if len(v.own) == 0 && (v.nearLimit() || v.manifold()) {
		return newest(v.shaped(), 1)
	}
	return nil
}

// manifold reports whether something without a limit went to many times of what it needed, at once, and not because it was started.
func (v *view) manifold() bool {
	lives := v.shaped()
	if v.limit > 0 || len(lives) == 0 {
		return false
	}
	l := lives[len(lives)-1]
	r := rises(l.need())
	starts := !l.began.IsZero() && l.samples[0].Time.Sub(l.began).Seconds()+r.age < soon.Seconds()
	return !starts && r.large(v.scale) && r.sudden() && r.peak >= manifold*r.base
}

// maxRises is how many lives are looked at for a rise, the newest.
const maxRises = 4

// largeInput claims one piece of work that was larger than others.
func (v *view) largeInput() *claim {
	c := newClaim(LargeInput, "One piece of work needed more than others do.")
	told := v.largePulse(c)
	if v.largeProcess(c) {
		told = true
	}
	if !told {
		return nil
	}
	return c
}

const (
	// pulseLeast is the share of the last rise that an earlier one has at least, to be one, and leastPulse that of the scale: less is noise.
	pulseLeast, leastPulse = 0.06, 0.03
	// idleQuantile stands for what it needs between two pieces of work, of which it has many.
	idleQuantile = 0.2
	// fewestWorks and fewestOthers are how many pieces of work, and processes, say what is usual.
	fewestWorks, fewestOthers = 2, 2
)

// largePulse compares the last rise with those before, in one process.
func (v *view) largePulse(c *claim) bool {
	lives := newest(v.sudden(), 1)
	if len(lives) == 0 {
		return false
	}
	l := lives[0]
	r := rises(l.need())
	low := quantile(values(r.before), idleQuantile)
	works := pulses(r.before, low, max(pulseLeast*(r.peak-low), leastPulse*v.scale))
	if !r.large(v.scale) || len(works) < fewestWorks {
		return false
	}
	usual := quantile(works, highQuantile)
	if r.peak-low < workLarger*usual {
		c.con(sign, l.fact("It needed %s more at the end, and up to %s more %d times before: that was usual.", size(r.peak-low), size(usual), len(works)))
		return true
	}
	c.pro(sign, l.fact("%d times before, it needed up to %s more for a while, and gave that back.", len(works), size(usual)))
	c.pro(sign, l.fact("The last time it was at least %s.", size(r.peak-low)))
	return true
}

// largeProcess compares the victim with other processes of its name.
func (v *view) largeProcess(c *claim) bool {
	_, comm := v.victims()
	if comm == "" {
		return false
	}
	all := v.processes()
	others := v.siblings(all, comm)
	victim := 0.0
	for i := range v.own {
		if p := v.own[i].Process; p.Comm == comm && worker(&v.own[i]) {
			victim = max(victim, min(resident(p), maxBytes))
			if s := all[p.PID]; s != nil {
				victim = max(victim, s.most)
			}
		}
	}
	if len(others) < fewestOthers || victim == 0 {
		return false
	}
	usual := quantile(others, highQuantile)
	if victim < workLarger*usual {
		c.con(sign, fact("The victim %s had %s, and %d others of that name up to %s: it was one like them.", comm, size(victim), len(others), size(usual)))
		return true
	}
	c.pro(proof, fact("The victim %s had %s. The %d others of that name that were seen had up to %s, and were not killed.", comm, size(victim), len(others), size(usual)))
	c.pro(hint, fact("It had %s of %s by itself.", percent(victim/v.scale), v.scaleName()))
	c.summary = fmt.Sprintf("One piece of work needed more than others do: a %s with %s.", comm, size(victim))
	return true
}

// worker reports whether the victim of a kill was one process of several, and not the only one of its kind, of which there was one after another.
func worker(k *oom.Kill) bool {
	if k.MainSurvived == nil || *k.MainSurvived {
		return true
	}
	same := 0 // the whole cgroup was killed
	for _, t := range k.Tasks {
		if t.Comm == k.Process.Comm {
			same++
		}
	}
	return same > fewestOthers
}
