package explain

import (
	"time"

	"stella/internal/oom"
)

// noOOM claims that what ended was not ended for want of memory.
func (v *view) noOOM() *claim {
	c := newClaim(NoOOM, "Nothing was killed for want of memory.")
	ended := 0
	for _, t := range v.starts {
		if len(v.lives) > 0 && t.Sub(v.zero) > settles { // others ended nothing
			ended++
		}
	}
	weak := 0
	for i := range v.kills {
		if v.kills[i].Confidence == oom.Weak {
			weak++
		}
	}
	switch {
	case len(v.kills) > weak:
		return nil
	case weak > 0:
		c.pro(hint, killFact(&v.kills[0], "No witness in the kernel told of a kill: %d are known from a status only, and the exit code 137 is that of any SIGKILL.", weak))
	case ended > 0:
		c.pro(sign, fact("It was started anew %d times, and no witness told of an OOM kill.", ended))
	default:
		return nil
	}
	if v.samples == 0 {
		return c
	}
	if v.limit > 0 && v.most >= nearShare*v.limit {
		c.con(sign, fact("It needed up to %s of the limit of %s.", percent(v.most/v.limit), size(v.limit)))
	} else {
		c.pro(sign+hint, fact("It needed %s at most, %s of %s.", size(v.most), percent(v.most/v.scale), v.scaleName()))
	}
	return c
}

// settles is how long a container can be sampled before its first process is started.
const settles = 10 * time.Second

// healthy claims that there is nothing to explain.
func (v *view) healthy() *claim {
	if len(v.kills) > 0 || len(v.shaped()) == 0 {
		return nil
	}
	c := newClaim(Healthy, "Nothing is wrong with its memory.")
	c.pro(sign, fact("It was not killed for want of memory."))
	switch {
	case v.limit == 0:
		c.pro(hint, fact("It has no limit, and needed %s at most.", size(v.most)))
	case v.nearLimit():
		c.con(sign, fact("It needed up to %s of the limit of %s.", percent(v.most/v.limit), size(v.limit)))
	default:
		c.pro(sign, fact("It needed %s at most, %s of the limit of %s.", size(v.most), percent(v.most/v.limit), size(v.limit)))
	}
	switch l, g := v.anyGrowth(); {
	case v.manifold():
		c.con(proof, fact("It went to many times of what it needed, at once."))
	case v.squeezed() != nil:
		c.con(proof, fact("It grew until nothing was left."))
	case l != nil:
		c.con(sign+hint, l.fact("It grew by %s in %s, and has not come to rest.", size(g.gained), lasting(g.span)))
	default:
		c.pro(sign, fact("It did not grow without an end."))
	}
	if len(v.starts) > 1 {
		c.con(hint/2, fact("It was started %d times.", len(v.starts)))
	}
	return c
}

// anyGrowth is growth of what is needed that does not end, in the life that shows most of it, and that the load does not explain.
func (v *view) anyGrowth() (*life, growth) {
	var best *life
	var most growth
	for _, l := range v.shaped() {
		if g, ok := grown(l.points(needed)); ok && g.endless(v.scale) && g.gained > most.gained && !l.byLoad() {
			best, most = l, g
		}
	}
	return best, most
}
