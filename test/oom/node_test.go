package oom

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"stella/internal/cgroup"
	"stella/internal/oom"
	"stella/internal/testkit"
)

const (
	// wide is a limit in bytes that cannot fire: no machine of a test has so much.
	wide = 1 << 40
	// innocentSize in MiB is what the process has that is killed in place of the one that grows. With
	// innocentAdj thousandths of the machine on top it has the highest score.
	innocentSize, innocentAdj = 48, 900
)

// A process without a limit takes all memory of the machine, and is killed for it.
func TestNode(t *testing.T) {
	r := newNodeRig(t)
	g := r.group("stella-test-node", cgroup.Limit{Memory: wide})
	r.expectNode([]truth{r.greedy(g)})
}

// The process that is killed is not the one that grows, nor is its cgroup at its limit. The one that grows goes on, and is
// killed next.
func TestNodeInnocent(t *testing.T) {
	r := newNodeRig(t)
	other := r.group("stella-test-innocent", cgroup.Limit{Memory: 2 * innocentSize * mib})
	innocent := as(t.Context(), "holder", strconv.Itoa(innocentSize), strconv.Itoa(innocentAdj))
	out, err := innocent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(innocent); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = innocent.Process.Kill() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "holds\n" {
		t.Fatalf("the innocent process says %q, %v", line, err)
	}
	pid := innocent.Process.Pid
	greedy := r.greedy(r.group("stella-test-greedy", cgroup.Limit{Memory: wide}))
	if err := innocent.Wait(); !killed(err) {
		t.Fatalf("the innocent process ended with %v, want it killed", err)
	}
	got := r.expectNode([]truth{{pid: pid, cgroup: r.path(other.Dir())}, greedy})
	if t.Failed() {
		return
	}
	first := got[0]
	if p := first.Process; p.PID != pid || p.ScoreAdj != innocentAdj || p.Anon < innocentSize*mib {
		t.Errorf("the first that was killed is %+v, want the innocent %d", p, pid)
	}
	// Who had the memory is among those that could have been chosen.
	full, err := r.asks.Kill(t.Context(), first.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(full.Tasks) == 0 || full.Tasks[0].PID != greedy.pid {
		t.Errorf("the processes with the most memory are %+v, want %d first", full.Tasks, greedy.pid)
	}
}

// newNodeRig makes a rig with an agent, on a machine that may run out of memory.
func newNodeRig(t *testing.T) *rig {
	t.Helper()
	testkit.Need(t, testkit.OwnMachine)
	protect(t)
	r := newRig(t)
	r.start()
	return r
}

// protect keeps this process, and what it starts, from being killed beside the one that is meant: the kernel can look for
// another victim before the memory of the first has come back. What is to be killed sets its own score.
func protect(t *testing.T) {
	t.Helper()
	before, err := os.ReadFile(scoreAdj)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(scoreAdj, []byte("-1000"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(scoreAdj, before, 0); err != nil {
			t.Error(err)
		}
	})
}

// greedy is a process that wants as much as the machine has, and is killed.
func (r *rig) greedy(g *cgroup.Group) truth {
	r.Helper()
	cmd := as(r.Context(), "holder", strconv.FormatInt(r.machine()/mib, 10), "0")
	if err := g.Start(cmd); err != nil {
		r.Fatal(err)
	}
	if err := cmd.Wait(); !killed(err) {
		r.Fatalf("what takes all memory ended with %v, want it killed", err)
	}
	return truth{pid: cmd.Process.Pid, cgroup: r.path(g.Dir())}
}

// machine is the machine's memory in bytes.
func (r *rig) machine() int64 {
	r.Helper()
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		r.Fatal(err)
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// expectNode is expect for kills that no cgroup's limit is the reason of. That the agent itself lives on is seen at the
// end, when it is stopped.
func (r *rig) expectNode(want []truth) []oom.Kill {
	r.Helper()
	for i := range want {
		want[i].bytes = r.machine()
	}
	got := r.expect(want)
	for _, k := range got {
		if k.Limit.Scope != oom.ScopeNode || k.Confidence != oom.Certain || k.Group != 0 {
			r.Errorf("the kill is %+v", k)
		}
		for _, w := range []oom.Witness{oom.WitnessLog, oom.WitnessCounter, oom.WitnessNode} {
			if !slices.Contains(k.Witnesses, w) {
				r.Errorf("pid %d: %s does not tell of it: %v", k.Process.PID, w, k.Witnesses)
			}
		}
	}
	return got
}

// hold takes memory and keeps it: MIB ADJ. It says when it has all of it.
func hold(args string) error {
	var size, adj int
	if _, err := fmt.Sscan(args, &size, &adj); err != nil {
		return err
	}
	if err := os.WriteFile(scoreAdj, []byte(strconv.Itoa(adj)), 0); err != nil {
		return err
	}
	if err := take(size * mib); err != nil {
		return err
	}
	fmt.Println("holds")
	return unix.Pause()
}
