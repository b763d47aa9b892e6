package explain

import (
	"cmp"
	"slices"

	"stella/internal/oom"
)

// nodeFull claims that the node had no memory, and names who took it.
func (v *view) nodeFull() *claim {
	c := newClaim(NodeFull, "The node had no memory left; the limit of this container was not reached.")
	k := v.last(oom.ScopeNode, oom.ScopeCpuset)
	if k == nil {
		return nil
	}
	c.pro(proof+hint, killFact(k, "No limit fired: the kernel found no free memory on the node%s.", ofSize(k.Limit.Bytes)))
	if newer := v.last(oom.ScopeContainer, oom.ScopeCgroup); newer != nil && newer.Time.After(k.Time) {
		c.con(sign, killFact(newer, "A later kill was by its own limit."))
	}
	for i := range v.near {
		n := &v.near[i]
		if n.Growth <= 0 || n.Container == v.container || (n.Container.ID != "" && n.Container.ID == v.container.ID) {
			continue
		}
		own := v.grownBefore(k)
		over := max(n.WorkingSet-n.Request, 0)
		e := killFact(k, "%s grew by %s in the ten minutes before, and was %s above its request of %s; this one grew by %s.",
			nameOf(&n.Container), size(float64(n.Growth)), size(float64(over)), size(float64(n.Request)), size(own))
		if float64(n.Growth) > own {
			c.pro(hint, e)
			c.summary = "The node had no memory left: " + nameOf(&n.Container) + " took it, and this container did nothing wrong."
		} else {
			c.con(hint, e)
			c.summary = "The node had no memory left, and this container grew most."
		}
		break // they are in the order of their growth
	}
	return c
}

// grownBefore is by how much the container grew in the ten minutes before a kill, in bytes.
func (v *view) grownBefore(k *oom.Kill) float64 {
	const before = 10 * 60 // seconds, as Neighbour.Growth
	at := k.Time.Sub(v.zero).Seconds()
	var in []float64
	for i := range v.lives {
		for _, p := range v.lives[i].points(needed) {
			if p.at <= at && p.at >= at-before {
				in = append(in, p.value)
			}
		}
	}
	if len(in) == 0 {
		return 0
	}
	return in[len(in)-1] - in[0]
}

// aboveLimit claims a limit above the container's own.
func (v *view) aboveLimit() *claim {
	k := v.last(oom.ScopePod, oom.ScopeParent)
	if k == nil {
		return nil
	}
	what := "the pod"
	if k.Limit.Scope == oom.ScopeParent {
		what = "a cgroup above the pod"
	}
	c := newClaim(AboveLimit, "The limit of "+what+" fired, and not that of this container.")
	c.pro(proof+hint, killFact(k, "The limit that fired is that of %s%s (%s).", what, ofSize(k.Limit.Bytes), k.Limit.Cgroup))
	if newer := v.last(oom.ScopeContainer, oom.ScopeCgroup); newer != nil && newer.Time.After(k.Time) {
		c.con(sign, killFact(newer, "A later kill was by its own limit."))
	}
	if at := float64(atKill(k)); at > 0 && v.samples > 0 {
		c.pro(hint/2, killFact(k, "This container needed %s at most, of %s.", size(v.most), size(at)))
	}
	return c
}

// alone reports whether a pod's limit that fired is this container's in all but name: as large as its own, and it is this container that filled it. In a
// pod of one container both cgroups have the same limit, and the pod's is full first, as the sandbox counts there, too.
func (v *view) alone(k *oom.Kill, samples []oom.Sample) bool {
	limit := cmp.Or(k.Container.LimitBytes, v.container.LimitBytes)
	if limit <= 0 || k.Limit.Bytes != limit {
		return false
	}
	together := 0.0
	for _, t := range k.Tasks {
		if t.Comm == k.Process.Comm {
			together += min(resident(t), maxBytes)
		}
	}
	if max(together, resident(k.Process)) >= many*float64(limit) {
		return true
	}
	return slices.ContainsFunc(samples, func(s oom.Sample) bool { return needed(&s) >= nearly*float64(limit) })
}

// many is the share of a limit that its victim has where it is one of those that fill it, and nearly the share from which on a container does so.
const many, nearly = 0.25, 0.8

// last is the newest kill by a limit of one of these scopes.
func (v *view) last(scopes ...oom.Scope) *oom.Kill {
	for i := len(v.kills) - 1; i >= 0; i-- {
		for _, s := range scopes {
			if v.kills[i].Limit.Scope == s {
				return &v.kills[i]
			}
		}
	}
	return nil
}

// ofSize writes how large something is, where that is known.
func ofSize(bytes int64) string {
	if bytes <= 0 {
		return ""
	}
	return ", " + size(float64(min(bytes, maxBytes)))
}

// nameOf names a container as far as it is known.
func nameOf(c *oom.Container) string {
	switch {
	case c.Workload != "":
		return c.Namespace + "/" + c.Workload
	case c.Pod != "":
		return c.Namespace + "/" + c.Pod + "/" + c.Name
	case c.Unit != "":
		return c.Unit
	case c.Name != "":
		return c.Name
	case len(c.ID) > 12:
		return c.ID[:12]
	}
	return "another container"
}
