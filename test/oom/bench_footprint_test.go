package oom

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	"stella/bench/daemon"
	"stella/bench/machine"
	"stella/internal/bytesize"
	"stella/internal/cgroup"
)

// beginning is how long the agent is left alone before it is measured: by then it has found all cgroups and read all processes once.
const beginning = 30 * time.Second

// footprint is what the agent needs beside many containers that rest, and beside as many that do not.
func (p programs) footprint(t *testing.T) {
	out := table{{fmt.Sprintf("%d containers over %v each", *benchCgroups, *benchFor), "CPU of a core", "resident", "highest", "its cgroup, with page cache", "load"}}
	for _, c := range []struct {
		name string
		args []string
	}{
		{"each sleeps", []string{"sleep", "100000"}},
		{"each starts a process every second", []string{"sh", "-c", "while :; do sleep 1; done"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range *benchCgroups {
				contain(t, c.args)
			}
			a := p.agent(t, true)
			time.Sleep(beginning)
			before := a.usage(t)
			begin := time.Now()
			time.Sleep(*benchFor)
			after := a.usage(t)
			share := 100 * (after.CPU - before.CPU).Seconds() / time.Since(begin).Seconds()
			s, err := a.Status(t.Context())
			if err != nil || s.Containers < *benchCgroups {
				t.Errorf("%d containers are sampled, want %d at least: %v", s.Containers, *benchCgroups, err)
			}
			charged, err := a.group.Stats()
			if err != nil {
				t.Fatal(err)
			}
			out.add(c.name, fmt.Sprintf("%.2f %%", share), bytesize.Text(after.RSS), bytesize.Text(after.Peak), bytesize.Text(charged.Current), fmt.Sprintf("%.1f", machine.Describe().Load))
		})
	}
	fmt.Print("\n", out)
}

func (a *released) usage(t *testing.T) daemon.Usage {
	t.Helper()
	u, err := daemon.UsageOf(a.pid)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// contain runs a program in a cgroup of its own until the test ends.
func contain(t *testing.T, program []string) {
	t.Helper()
	g, err := cgroup.New("stella-bench", cgroup.Limit{Memory: 64 * mib})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program[0], program[1:]...)
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // Close has killed it
	})
	if err := g.Start(cmd); err != nil {
		t.Fatal(err)
	}
}
