package oom

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/cgroup"
	"stella/internal/oom"
	"stella/internal/oom/oracle"
	"stella/internal/testkit"
)

// headersEvery is the time in which the kernel writes ten headers of reports, and no more
// (DEFAULT_RATELIMIT_INTERVAL and _BURST in include/linux/ratelimit_types.h).
const headersEvery = 5 * time.Second

// scene is a case of the comparison.
type scene struct {
	name string
	// fresh waits until the kernel writes headers again, so that each tool has what a machine gives it on which nothing else happens.
	fresh bool
	// needs is what the machine has to have.
	needs []testkit.Capability
	play  func(r *rig) []truth
}

// scenes are the live cases: what happens in them, and no more. live_test.go has what is to be known of each.
var scenes = []scene{
	{name: "one process over its limit", fresh: true, play: func(r *rig) []truth {
		g := r.group("stella-test-one", cgroup.Limit{Memory: 32 * mib})
		return r.eaten(g, 1, 32*mib)
	}},
	{name: "children, and their parent lives", play: func(r *rig) []truth {
		g := r.group("stella-test-children", cgroup.Limit{Memory: 48 * mib})
		return r.truths(r.parent(g, "each", "3", "anon", "96"), 3, r.path(g.Dir()), r.path(g.Dir()), 48*mib)
	}},
	{name: "the limit is that of a cgroup above", play: func(r *rig) []truth {
		pod := r.group("stella-test-nested", cgroup.Limit{Memory: 64 * mib})
		below := r.nest(pod.Dir(), "free", 0)
		return r.truths(r.parentIn(below, "each", "1", "anon", "128"), 1, r.path(below), r.path(pod.Dir()), 64*mib)
	}},
	{name: "a tmpfs is full", play: fillTmpfs},
	{name: "page cache, and a process beside it", play: func(r *rig) []truth {
		g := r.group("stella-test-cache", cgroup.Limit{Memory: 48 * mib})
		cmd := as(r.Context(), "cache", r.fileOnDisk(), "128")
		if err := g.Start(cmd); err != nil {
			r.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			r.Fatal(err)
		}
		return r.eaten(g, 1, 48*mib)
	}},
	{name: "no kill: SIGKILL by hand, exit code 137", play: endWithout},
	{name: "group kill", fresh: true, needs: []testkit.Capability{testkit.CgroupV2, testkit.OwnMachine}, play: killGroup},
	{name: "eight cgroups, each removed at once", fresh: true, play: func(r *rig) (want []truth) {
		for i := range 8 {
			g := r.group("stella-test-gone-"+strconv.Itoa(i), cgroup.Limit{Memory: 16 * mib})
			want = append(want, r.eaten(g, 1, 16*mib)...)
			if err := unix.Rmdir(g.Dir()); err != nil {
				r.Fatal(err)
			}
		}
		return want
	}},
	{name: "fork storm: twelve at once", fresh: true, play: func(r *rig) []truth {
		g := r.group("stella-test-forks", cgroup.Limit{Memory: 96 * mib})
		return r.truths(r.parent(g, "once", "12", "anon", "128"), 12, r.path(g.Dir()), r.path(g.Dir()), 96*mib)
	}},
	{name: "storm: 1,000 in ten seconds over 100 cgroups", fresh: true, play: func(r *rig) []truth { return r.storm(func(int) {}) }},
}

// eaten kills so many processes in a cgroup.
func (r *rig) eaten(g *cgroup.Group, n int, limit int64) (want []truth) {
	r.Helper()
	path := r.path(g.Dir())
	for range n {
		want = append(want, truth{r.eater(g, int(2*limit/mib)), path, path, limit})
	}
	return want
}

func fillTmpfs(r *rig) []truth {
	mount := r.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=256m"); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil {
			r.Error(err)
		}
	})
	g := r.group("stella-test-tmpfs", cgroup.Limit{Memory: 64 * mib})
	return r.truths(r.parent(g, "each", "1", mount, "128"), 1, r.path(g.Dir()), r.path(g.Dir()), 64*mib)
}

// endWithout ends processes in all ways that look like an OOM kill and are none.
func endWithout(r *rig) []truth {
	g := r.group("stella-test-none", cgroup.Limit{Memory: 48 * mib})
	byHand := as(r.Context(), "parent", "each", "0", "anon", "1")
	in, err := byHand.StdinPipe()
	if err != nil {
		r.Fatal(err)
	}
	defer in.Close()
	if err := g.Start(byHand); err != nil {
		r.Fatal(err)
	}
	if err := byHand.Process.Signal(syscall.SIGKILL); err != nil {
		r.Fatal(err)
	}
	if err := byHand.Wait(); !killed(err) {
		r.Fatal(err)
	}
	exit := as(r.Context(), "exit")
	if err := g.Start(exit); err != nil {
		r.Fatal(err)
	}
	if _ = exit.Wait(); exit.ProcessState.ExitCode() != 137 {
		r.Fatalf("the exit code is %d, want 137", exit.ProcessState.ExitCode())
	}
	return nil
}

// killGroup has one process go over the limit, and another one that dies with it. The Go runtime at times has a process
// more, of which the kernel alone knows the pid; in a machine of its own nobody else is killed.
func killGroup(r *rig) []truth {
	log := followKernelLog(r.T)
	g := r.group("stella-test-group", cgroup.Limit{Memory: 48 * mib, KillGroup: true})
	path := r.path(g.Dir())
	beside := r.parent(g, "each", "0", "anon", "1")
	want := append(r.eaten(g, 1, 48*mib), truth{beside.cmd.Process.Pid, path, path, 48 * mib})
	if err := beside.cmd.Wait(); !killed(err) {
		r.Fatalf("the process beside the victim ended with %v, want it killed", err)
	}
	time.Sleep(settle)
	for pid := range log.killed() {
		if _, known := byPID(want)[pid]; !known {
			want = append(want, truth{pid, path, path, 48 * mib})
		}
	}
	return want
}

// TestWitnesses prints, for each live case, what the rules of other tools make of the lines that the kernel logged of these very
// kills, beside what happened and what the agent tells. Only the agent is held to what happened, which other tests do as well.
func TestWitnesses(t *testing.T) {
	if !testing.Verbose() {
		t.Skip("a table to look at: go test -v -run TestWitnesses ./test/oom")
	}
	out := table{{"case", "kills", "Stella", "cAdvisor", "node-problem-detector", "pod status"}}
	for _, s := range scenes {
		t.Run(s.name, func(t *testing.T) {
			testkit.Need(t, s.needs...)
			r := newRig(t)
			r.takeNotes()
			r.start()
			if s.fresh {
				time.Sleep(headersEvery)
			}
			log := followKernelLog(t)
			want := s.play(r)
			kills := r.expect(want)
			stella := r.compared(want, told(kills))
			messages := log.messages()
			out.add(s.name, strconv.Itoa(len(want)), stella.String(), r.compared(want, oracle.CAdvisor(messages)).String(),
				found(r.compared(want, oracle.NodeProblemDetector(messages))), "–")
			if stella != (oracle.Score{Found: len(want), Right: len(want)}) {
				t.Errorf("of %d kills the agent tells of %v", len(want), stella)
			}
		})
	}
	fmt.Print("\n", out, "\n")
}

// told are the ledger's kills as the other tools' are.
func told(kills []oom.Kill) (all []oracle.Booked) {
	for _, k := range kills {
		for range k.Count {
			all = append(all, oracle.Booked{PID: strconv.Itoa(k.Process.PID), Cgroup: k.Cgroup})
		}
	}
	return all
}

// compared leaves out what is of others' processes in others' cgroups.
func (r *rig) compared(want []truth, booked []oracle.Booked) oracle.Score {
	var happened, ours []oracle.Booked
	pids := map[string]bool{}
	for _, w := range want {
		pid := strconv.Itoa(w.pid)
		happened = append(happened, oracle.Booked{PID: pid, Cgroup: w.cgroup})
		pids[pid] = true
	}
	for _, b := range booked {
		if pids[b.PID] || r.within(b.Cgroup) {
			ours = append(ours, b)
		}
	}
	return oracle.Compare(happened, ours)
}

// within reports whether a cgroup is one that this test made, or below one.
func (r *rig) within(cgroup string) bool {
	for _, path := range r.below {
		if rel, err := filepath.Rel(path, cgroup); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return true
		}
	}
	return false
}

// found is a score of a tool that knows no container.
func found(s oracle.Score) string {
	if s.Wrong > 0 {
		return fmt.Sprintf("%d, %d too many", s.Found, s.Wrong)
	}
	return strconv.Itoa(s.Found)
}
