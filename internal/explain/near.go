package explain

import (
	"cmp"
	"slices"
	"time"

	"stella/internal/oom"
)

const (
	// maxNear bounds the containers that are looked at beside one on a node that was full, those with the most memory.
	maxNear = 20
	// nearBefore is over what time [Neighbour] has its growth.
	nearBefore = 10 * time.Minute
)

// AddNeighbours adds the others of the node, where the node's own limit killed: what they had then, and by how much they had grown. All are what containers use now or used at their
// end, but for those in own, and series has the samples of a cgroup in their order. Its error is returned.
func (in *Input) AddNeighbours(all []oom.Usage, own []string, series func(cgroup string) ([]oom.Sample, error)) error {
	at := nodeKill(in.Kills)
	if at.IsZero() {
		return nil
	}
	others := slices.DeleteFunc(slices.Clone(all), func(u oom.Usage) bool {
		return slices.Contains(own, u.Cgroup) || !u.Gone.IsZero() && u.Gone.Before(at.Add(-nearBefore))
	})
	slices.SortFunc(others, func(a, b oom.Usage) int { return -cmp.Compare(a.Sample.WorkingSet, b.Sample.WorkingSet) })
	for i := range others[:min(len(others), maxNear)] {
		samples, err := series(others[i].Cgroup)
		if err != nil {
			return err
		}
		if n, ok := neighbour(&others[i].Container, samples, at); ok {
			in.Neighbours = append(in.Neighbours, n)
		}
	}
	return nil
}

// neighbour is what a container had and grew by at a time; false where nobody looked at it then.
func neighbour(c *oom.Container, samples []oom.Sample, at time.Time) (Neighbour, bool) {
	n := Neighbour{Container: *c, Request: c.Request}
	first, seen := int64(0), false
	for i := range samples { // in order
		s := &samples[i]
		if s.Time.After(at) || s.Time.Before(at.Add(-nearBefore)) {
			continue
		}
		if !seen {
			first, seen = s.WorkingSet, true
		}
		n.WorkingSet = s.WorkingSet
	}
	n.Growth = n.WorkingSet - first
	return n, seen
}

// nodeKill is when the node's own limit killed last; zero is never.
func nodeKill(kills []oom.Kill) (at time.Time) {
	for i := range kills {
		if k := &kills[i]; k.Limit.Scope == oom.ScopeNode && k.Time.After(at) {
			at = k.Time
		}
	}
	return at
}
