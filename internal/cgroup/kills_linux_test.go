package cgroup_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"stella/internal/cgroup"
	"stella/internal/testkit"
)

// A kill for want of memory takes one process or, where memory.oom.group says
// so, all of the group.
func TestV2KillsOfAGroup(t *testing.T) {
	testkit.Need(t, testkit.CgroupV2)
	for _, c := range []struct {
		together bool // memory.oom.group
		// The kernel counts the victim of a group kill again when its turn comes
		// as a member, unless its memory is gone by then.
		least, most int64
		otherLives  bool
		events      string
	}{
		{false, 1, 1, true, "oom_group_kill 0\n"},
		{true, 2, 3, false, "oom_group_kill 1\n"},
	} {
		t.Run(fmt.Sprintf("memory.oom.group=%t", c.together), func(t *testing.T) {
			g := makeGroup(t, cgroup.Limit{Memory: 32 << 20, KillGroup: c.together})
			other := exec.Command("cat")
			input, err := other.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			victim, _ := allocator(t, 128<<20)
			for _, cmd := range []*exec.Cmd{other, victim} {
				if err := g.Start(cmd); err != nil {
					t.Fatal(err)
				}
			}
			if err := victim.Wait(); victim.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Errorf("victim ended with %v, want SIGKILL", err)
			}
			input.Close() // one that lives ends by this, and well
			if err := other.Wait(); (err == nil) != c.otherLives {
				t.Errorf("the other process ended with %v", err)
			}
			s, err := g.Stats()
			if err != nil {
				t.Fatal(err)
			}
			if s.OOMKills < c.least || s.OOMKills > c.most {
				t.Errorf("counted %d kills, want %d to %d", s.OOMKills, c.least, c.most)
			}
			events, err := os.ReadFile(filepath.Join(g.Dir(), "memory.events"))
			if err != nil || !strings.Contains(string(events), c.events) {
				t.Errorf("events lack %q (%v):\n%s", c.events, err, events)
			}
		})
	}
}

// A peak stays when what made it is gone.
func TestV2PeakStays(t *testing.T) {
	testkit.Need(t, testkit.CgroupV2)
	const use = 24 << 20
	g := newGroup(t, 64<<20)
	cmd, _ := allocator(t, use)
	if err := g.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	s, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if s.Peak < use || s.Current >= use {
		t.Errorf("peak %d, current %d; want the peak at least, and the current usage below %d", s.Peak, s.Current, use)
	}
}

// A program can make groups of its own below the one that it is in.
func TestCloseRemovesGroupsBelow(t *testing.T) {
	g := newGroup(t, 32<<20)
	below := filepath.Join(g.Dir(), "below", "further")
	if err := os.MkdirAll(below, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "600")
	if err := g.Start(cmd); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- cmd.Wait() }()
	if err := os.WriteFile(filepath.Join(below, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err == nil {
		t.Error("the process ended well, want it killed")
	}
}
