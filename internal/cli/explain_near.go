package cli

import (
	"cmp"
	"context"
	"slices"
	"time"

	"stella/internal/client"
	"stella/internal/explain"
	"stella/internal/oom"
)

const (
	// maxEarlier bounds the earlier lives of a container that are asked for, the newest: explain looks at no more than two dozen.
	maxEarlier = 16
	// maxNear bounds the containers that are looked at beside one on a node that was full, those with the most memory: each is a request.
	maxNear = 20
	// nearBefore is over what time [explain.Neighbour] has its growth.
	nearBefore = 10 * time.Minute
)

// history has the samples and starts of a cgroup, and of those in which the same container of the same pod was before: each restart has a new one. The cgroup itself
// is the last.
func (c *explainCommand) history(ctx context.Context, agent *client.Agent, cgroup string, all []oom.Usage, in *explain.Input) (cgroups []string, err error) {
	for _, u := range lives(all, cgroup, &in.Container) {
		if !slices.Contains(cgroups, u.Cgroup) {
			cgroups = append(cgroups, u.Cgroup)
		}
		if !u.Started.IsZero() {
			in.Starts = append(in.Starts, u.Started)
		}
	}
	if !slices.Contains(cgroups, cgroup) {
		cgroups = append(cgroups, cgroup)
	}
	for _, path := range cgroups {
		samples, err := agent.Series(ctx, path)
		if err != nil {
			return nil, err
		}
		in.Samples = append(in.Samples, samples...)
	}
	return cgroups, nil
}

// lives are those in a cgroup, and those that ended of the same container, the newest.
func lives(all []oom.Usage, cgroup string, of *oom.Container) []oom.Usage {
	var found []oom.Usage
	for _, u := range all {
		c := &u.Container
		if u.Cgroup == cgroup || !u.Gone.IsZero() && of.Pod != "" && c.Namespace == of.Namespace && c.Pod == of.Pod && c.PodUID == of.PodUID && c.Name == of.Name {
			found = append(found, u)
		}
	}
	slices.SortFunc(found, func(a, b oom.Usage) int {
		return cmp.Or(boolOrder(a.Cgroup == cgroup, b.Cgroup == cgroup), a.Gone.Compare(b.Gone), cmp.Compare(a.Cgroup, b.Cgroup))
	})
	return found[max(len(found)-maxEarlier, 0):]
}

// boolOrder has false before true.
func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// near are the others of a node at a time, with what they had and grew by.
func near(ctx context.Context, agent *client.Agent, all []oom.Usage, cgroups []string, at time.Time) ([]explain.Neighbour, error) {
	others := slices.DeleteFunc(slices.Clone(all), func(u oom.Usage) bool {
		return slices.Contains(cgroups, u.Cgroup) || !u.Gone.IsZero() && u.Gone.Before(at.Add(-nearBefore))
	})
	slices.SortFunc(others, func(a, b oom.Usage) int { return -cmp.Compare(a.Sample.WorkingSet, b.Sample.WorkingSet) })
	var out []explain.Neighbour
	for _, u := range others[:min(len(others), maxNear)] {
		samples, err := agent.Series(ctx, u.Cgroup)
		if err != nil {
			return nil, err
		}
		if n, ok := neighbour(&u.Container, samples, at); ok {
			out = append(out, n)
		}
	}
	return out, nil
}

// neighbour is what a container had and grew by at a time; false where nobody looked at it then.
func neighbour(c *oom.Container, samples []oom.Sample, at time.Time) (explain.Neighbour, bool) {
	n := explain.Neighbour{Container: *c, Request: c.Request}
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
