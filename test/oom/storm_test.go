package oom

import (
	"flag"
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
	stormTime   = 10 * time.Second
	stormLimit  = 16 * mib
	// firstLook is after what time an agent has looked at all cgroups (internal/oom/ledger/join).
	firstLook = 12 * time.Second
)

// stormKills are the kills of each cgroup in a storm. An emulated machine makes some thirteen a second.
var stormKills = flag.Int("storm", 10, "`kills` of each of the hundred cgroups of a storm")

// A thousand kills in ten seconds over a hundred cgroups: the kernel logs the cgroup of
// some twenty of them. All else is in what the kernel noted, and without notes in what the agent saw.
func TestStorm(t *testing.T) {
	both(t, func(r *rig) []truth {
		return r.storm(func(int) {})
	})
}

// The agent is killed with -9 five times in the storm, and started again.
func TestStormRestarts(t *testing.T) {
	both(t, func(r *rig) []truth {
		return r.storm(func(done int) {
			if done > 0 && done%(stormGroups**stormKills/6) == 0 {
				r.kill()
				r.start()
			}
		})
	})
}

// The agent is stopped for the first half of the storm. What the kernel logged of that half is longer than its
// ring (128 KiB here): of those victims only the notes are left, and without notes the counters: so many kills, in that cgroup.
func TestStormHalf(t *testing.T) {
	both(t, func(r *rig) []truth {
		time.Sleep(firstLook) // so that it knows what its counters were before
		return r.storm(func(done int) {
			switch done {
			case 0:
				r.stop()
			case stormGroups * *stormKills / 2:
				r.start()
			}
		})
	})
}

// both has a storm with a kernel that notes its victims, of which everything has to be right, and with one that
// does not.
func both(t *testing.T, storm func(*rig) []truth) {
	t.Run("notes", func(t *testing.T) {
		r := newRig(t)
		r.takeNotes()
		r.start()
		want := storm(r)
		for _, k := range r.expect(want) {
			if k.Confidence != oom.Certain {
				t.Errorf("pid %d is %s: %s", k.Process.PID, k.Confidence, k.Doubt)
			}
		}
	})
	t.Run("no notes", func(t *testing.T) {
		r := newRig(t)
		r.start()
		r.expectStorm(storm(r))
	})
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
	all := stormGroups * *stormKills
	tick := time.NewTicker(stormTime / (stormGroups * 10))
	defer tick.Stop()
	want := make([]truth, all)
	work, _ := errgroup.WithContext(r.Context())
	work.SetLimit(8)
	begin := time.Now()
	r.began = begin
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
// that is called certain; kills without a process only where the log lost records, and then as many as victims are missing. Which victim was in which of several cgroups follows from counts and time alone where
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
	grades, counted, wrong := map[oom.Confidence]int64{}, int64(0), 0
	of := byPID(want)
	for _, k := range r.kills(want) {
		grades[k.Confidence] += k.Count
		if k.Process.PID == 0 {
			counted += k.Count
			continue
		}
		if w := of[k.Process.PID]; k.Cgroup != w.cgroup || k.Limit.Cgroup != w.limit || k.Limit.Bytes != w.bytes {
			wrong++
		}
	}
	r.Logf("%d kills: %v; %d of them only counted (%d records of the log were lost); of %d the cgroup or limit is another, or not known",
		len(want), grades, counted, r.lost(), wrong)
}

func byPID(want []truth) map[int]truth {
	all := make(map[int]truth, len(want))
	for _, w := range want {
		all[w.pid] = w
	}
	return all
}

// lost is how many records of the kernel log the agent could not read any more.
func (r *rig) lost() uint64 {
	r.Helper()
	s, err := r.asks.Status(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	return s.Ledger.LostRecords
}

func (r *rig) compareStorm(want []truth) string {
	var b strings.Builder
	of := byPID(want)
	seen, balance, counted := map[int]int{}, map[string]int64{}, int64(0)
	for _, w := range want {
		balance[w.cgroup]--
	}
	for _, k := range r.kills(want) {
		balance[k.Cgroup] += k.Count
		if k.Process.PID == 0 {
			counted += k.Count
			continue
		}
		seen[k.Process.PID]++
		w, ok := of[k.Process.PID]
		if !ok || k.Confidence == oom.Certain && k.Cgroup != w.cgroup {
			fmt.Fprintf(&b, "wrong: %+v, want %+v\n", k, w)
		}
	}
	missing := int64(0)
	for _, w := range want {
		switch seen[w.pid] {
		case 0:
			missing++
		case 1:
		default:
			fmt.Fprintf(&b, "pid %d is there %d times\n", w.pid, seen[w.pid])
		}
	}
	if missing != counted || missing > 0 && r.lost() == 0 {
		fmt.Fprintf(&b, "%d victims are missing, %d kills are only counted, %d records of the log were lost\n", missing, counted, r.lost())
	}
	// A kill whose cgroup nobody knows is missing from one.
	nowhere := balance[""]
	delete(balance, "")
	for path, n := range balance {
		if n < 0 {
			nowhere += n
		}
		if n > 0 || nowhere < 0 {
			fmt.Fprintf(&b, "%s has %+d kills\n", path, n)
		}
	}
	return b.String()
}
