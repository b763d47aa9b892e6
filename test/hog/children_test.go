//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"stella/internal/testkit"
)

func TestChildrenAreKilledAndTheParentLives(t *testing.T) {
	t.Parallel()
	const times = 3
	p := start(t, 24*mib, "child", "64Mi", "--times", fmt.Sprint(times), "--every", "1ms")
	for number := range times {
		p.line(fmt.Sprintf("hog: child %d started: pid ", number+1))
		if how := p.line(fmt.Sprintf("hog: child %d ended: ", number+1)); how != "signal: killed" {
			t.Errorf("child %d ended: %s", number+1, how)
		}
	}
	p.line("hog: all children ended")
	p.killed(times)
	p.alive()
	p.stop()
}

func TestChildWithinTheLimitEndsWell(t *testing.T) {
	t.Parallel()
	p := start(t, 64*mib, "child", "16Mi")
	p.line("hog.1: holds 16777216 bytes")
	p.line("hog: child 1 ended: exit status 0")
	p.killed(0)
	p.stop()
}

func TestChildExit(t *testing.T) {
	t.Parallel()
	for _, code := range []int{0, 1, 137} {
		p := start(t, 24*mib, "child-exit", fmt.Sprint(code), "64Mi")
		p.line("hog: child 1 ended: signal: killed")
		p.ends(fmt.Sprintf("exit status %d", code))
		p.killed(1)
	}
}

// Three children of 16 MiB fit into 64 MiB beside the rest; of eight, five must go. It can be
// more: the kernel does not always wait for the memory of one victim before it takes the next.
func TestForkStorm(t *testing.T) {
	t.Parallel()
	const children, fit = 8, 3
	p := start(t, 64*mib, "fork-storm", fmt.Sprint(children), "16Mi")
	p.line("hog: all children started")
	ended := int64(0)
	p.eventually("the children that are left hold all", func() bool {
		for ; ended < p.stats().OOMKills; ended++ { // with this line the child has given back its memory
			if how := p.line("hog: child "); !strings.HasSuffix(how, " ended: signal: killed") {
				t.Errorf("child %s", how)
			}
		}
		return ended >= children-fit && p.stats().Current >= (children-ended)*16*mib
	})
	p.alive()
	p.stop()
	p.killed(ended)
}

// Children of a storm stay, but do not outlive a parent that had no time to end them.
func TestChildrenDieWithTheirParent(t *testing.T) {
	t.Parallel()
	began := time.Now()
	p := start(t, 64*mib, "fork-storm", "4", "1Mi")
	p.line("hog: all children started")
	p.eventually("the children hold their memory", func() bool { return p.stats().Current > 4*mib })
	// Those of the other modes would have ended by now.
	p.eventually("time", func() bool { return time.Since(began) > childStays+childStays/2 })
	if pids, err := os.ReadFile(p.group.Dir() + "/cgroup.procs"); strings.Count(string(pids), "\n") != 5 {
		t.Errorf("%d processes, %v", strings.Count(string(pids), "\n"), err)
	}
	p.tell(syscall.SIGKILL)
	p.ends("signal: killed") // which waits until no child has its standard output any more
	p.eventually("the group is empty", func() bool {
		pids, err := os.ReadFile(p.group.Dir() + "/cgroup.procs")
		return err == nil && len(pids) == 0
	})
}

// As PID 1 hog survives the kill of a child, collects the orphans of others, and is not deaf to SIGTERM.
func TestPID1(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Namespaces, testkit.Program("nsenter"))
	cmd := exec.Command(binary, "child", "64Mi")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	p := launch(t, newGroup(t, 24*mib), cmd)
	p.line("hog: child 1 ended: signal: killed")
	p.line("hog: all children ended")

	// The shell ends at once; what it has started belongs to PID 1 then.
	shell := exec.Command("nsenter", "--target", fmt.Sprint(cmd.Process.Pid), "--pid", "--", "sh", "-c", "setsid sh -c 'sleep 0.05; exit 7' &")
	if out, err := shell.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", shell, err, out)
	}
	if orphan := p.line("hog: orphan "); !strings.HasSuffix(orphan, "ended: exit status 7") {
		t.Errorf("orphan %s", orphan)
	}
	p.killed(1)
	p.stop()
}
