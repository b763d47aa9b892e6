package explain

import "stella/internal/oom"

const (
	// halfOf and thirdOf are the shares of what was used that one kind of memory has which is the reason, or is a part of it.
	halfOf, thirdOf = 0.5, 0.3
	// growthShare is the share of a rise that one kind is which is its reason.
	growthShare = 0.5
)

// part claims one kind of memory, beside that of the program.
func (v *view) part(cause Cause, k kind, summary string) *claim {
	c := newClaim(cause, summary)
	told := false
	for i := len(v.own) - 1; i >= 0 && !told; i-- { // the newest kill of which the kernel logged the kinds
		kill := &v.own[i]
		if kill.Memory == (oom.Memory{}) || k.untold && k.kill(&kill.Memory) == 0 {
			continue
		}
		told = true
		used := max(float64(atKill(kill)), v.limit/2, 1)
		has := float64(min(max(k.kill(&kill.Memory), 0), maxBytes))
		c.weighShare(has/used, killFact(kill, "At the kill %s had %s of %s.", k.name, size(has), size(used)))
	}
	v.atMost(c, k, told)
	if len(c.forIt) == 0 {
		return nil
	}
	return c
}

// weighShare weighs the share of one kind in all.
func (c *claim) weighShare(of float64, e Evidence) {
	switch {
	case of >= halfOf:
		c.pro(sign+hint, e)
	case of >= thirdOf:
		c.pro(sign, e)
	default:
		c.con(hint, e)
	}
}

// atMost looks at when the working set was largest, in the life in which it rose most of those that were killed, or of all: which share the kind had
// then, and how much of the rise it was.
func (v *view) atMost(c *claim, k kind, told bool) {
	lives := v.killed()
	if len(lives) == 0 {
		lives = v.shaped()
	}
	best, top, rose := v.mostRisen(lives)
	if best == nil || k.sample(top) < 0 {
		return
	}
	has := k.sample(top)
	of, e := has/v.scale, best.fact("When the working set was largest, %s had %s, %s of %s.", k.name, size(has), percent(has/v.scale), v.scaleName())
	switch {
	case told && of >= thirdOf:
		c.pro(hint, e)
	case !told:
		c.weighShare(of, e)
	}
	points := best.points(k.sample)
	if len(points) < fewest {
		return
	}
	grew := has - quantile(values(points[:max(len(points)/10, 1)]), 0.5)
	e = best.fact("Of the %s by which it had risen, %s was %s.", size(rose), size(max(grew, 0)), k.name)
	switch {
	case rose < muchGrowth*v.scale:
	case grew >= growthShare*rose:
		c.pro(sign, e)
	case grew < growthShare/2*rose:
		c.con(hint, e)
	}
}

// mostRisen is the life whose working set rose most from its first tenth, and the sample when it was largest.
func (v *view) mostRisen(lives []*life) (best *life, top *oom.Sample, rose float64) {
	for _, l := range lives {
		whole := l.points(func(s *oom.Sample) float64 { return float64(s.WorkingSet) })
		if len(whole) < fewest {
			continue
		}
		first := quantile(values(whole[:len(whole)/10+1]), 0.5)
		at := 0
		for i := range l.samples {
			if l.samples[i].WorkingSet > l.samples[at].WorkingSet {
				at = i
			}
		}
		if by := float64(l.samples[at].WorkingSet) - first; best == nil || by > rose {
			best, top, rose = l, &l.samples[at], by
		}
	}
	return best, top, rose
}
