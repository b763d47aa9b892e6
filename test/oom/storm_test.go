package oom

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"stella/internal/cgroup"
	"stella/internal/oom"
)

const (
	stormGroups = 100
	stormKills  = 10 // of each
	stormTime   = 10 * time.Second
	stormLimit  = 16 * mib
)

// A thousand kills in ten seconds over a hundred cgroups: the kernel logs the cgroup of
// some twenty of them.
func TestStorm(t *testing.T) {
	r := newRig(t)
	r.start()
	r.expectStorm(r.storm(func(int) {}))
}

// The agent is killed with -9 five times in the storm, and started again.
func TestStormRestarts(t *testing.T) {
	r := newRig(t)
	r.start()
	r.expectStorm(r.storm(func(done int) {
		if done > 0 && done%(stormGroups*stormKills/6) == 0 {
			r.kill()
			r.start()
		}
	}))
}

// storm kills, and calls at with how many were killed before, from one goroutine.
func (r *rig) storm(at func(done int)) []truth {
	r.Helper()
	var groups []*cgroup.Group
	var paths []string
	for i := range stormGroups {
		g := r.group(fmt.Sprintf("stella-test-storm-%03d", i), cgroup.Limit{Memory: stormLimit})
		groups, paths = append(groups, g), append(paths, r.path(g.Dir()))
	}
	const all = stormGroups * stormKills
	tick := time.NewTicker(stormTime / all)
	defer tick.Stop()
	want := make([]truth, all)
	work, _ := errgroup.WithContext(r.Context())
	work.SetLimit(8)
	begin := time.Now()
	for i := range all {
		at(i)
		<-tick.C
		g := groups[i%stormGroups]
		work.Go(func() error {
			pid, err := dies(r.Context(), g, 32)
			want[i] = truth{pid, paths[i%stormGroups], paths[i%stormGroups], stormLimit}
			return err
		})
	}
	if err := work.Wait(); err != nil {
		r.Fatal(err)
	}
	r.Logf("%d kills in %v", all, time.Since(begin).Round(time.Millisecond))
	return want
}

// expectStorm wants each victim once, as many kills in each cgroup as there were, and nothing wrong
// that is called certain. Which victim was in which of several cgroups follows from counts and time alone where
// nobody could look at the moment: then the kill says so, and how many are wrong is said here.
func (r *rig) expectStorm(want []truth) {
	r.Helper()
	var diff string
	for begin := time.Now(); time.Since(begin) < patience; time.Sleep(time.Second) {
		if diff = r.compareStorm(want); diff == "" {
			break
		}
	}
	time.Sleep(settle)
	if diff = r.compareStorm(want); diff != "" {
		r.Error(diff)
	}
	grades, wrong := map[oom.Confidence]int{}, 0
	of := byPID(want)
	for _, k := range r.kills(want) {
		grades[k.Confidence]++
		if w := of[k.Process.PID]; k.Cgroup != w.cgroup || k.Limit.Cgroup != w.limit || k.Limit.Bytes != w.bytes {
			wrong++
		}
	}
	r.Logf("%d kills: %v; of %d the cgroup or limit is another, or not known", len(want), grades, wrong)
}

func byPID(want []truth) map[int]truth {
	all := make(map[int]truth, len(want))
	for _, w := range want {
		all[w.pid] = w
	}
	return all
}

func (r *rig) compareStorm(want []truth) string {
	var b strings.Builder
	of := byPID(want)
	seen, balance := map[int]int{}, map[string]int64{}
	for _, w := range want {
		balance[w.cgroup]--
	}
	for _, k := range r.kills(want) {
		seen[k.Process.PID]++
		balance[k.Cgroup] += k.Count
		w, ok := of[k.Process.PID]
		if !ok || k.Confidence == oom.Certain && k.Cgroup != w.cgroup {
			fmt.Fprintf(&b, "wrong: %+v, want %+v\n", k, w)
		}
	}
	for _, w := range want {
		if seen[w.pid] != 1 {
			fmt.Fprintf(&b, "pid %d is there %d times\n", w.pid, seen[w.pid])
		}
	}
	for path, n := range balance {
		if n != 0 {
			fmt.Fprintf(&b, "%s has %+d kills\n", path, n)
		}
	}
	return b.String()
}
