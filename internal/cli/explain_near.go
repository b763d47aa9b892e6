package cli

import (
	"cmp"
	"context"
	"slices"

	"stella/internal/client"
	"stella/internal/explain"
	"stella/internal/oom"
)

// maxEarlier bounds the earlier lives of a container that are asked for, the newest: explain looks at no more than two dozen.
const maxEarlier = 16

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
