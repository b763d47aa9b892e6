package gate

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"stella/internal/cgroup"
	"stella/internal/testkit"
)

// Whatever becomes of a gate whose file is there, within two periods the file is not.
func TestEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, g *process, group *cgroup.Group){
		"killed": func(_ *testing.T, g *process, _ *cgroup.Group) { g.signal(syscall.SIGKILL) },
		"frozen": func(_ *testing.T, g *process, _ *cgroup.Group) { g.signal(syscall.SIGSTOP) },
		"ended":  func(_ *testing.T, g *process, _ *cgroup.Group) { g.signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ends(t, nil, end)
		})
	}
	t.Run("out of memory", func(t *testing.T) {
		t.Parallel()
		testkit.Need(t, testkit.MemoryCgroup)
		group, err := cgroup.New("stella-gate", cgroup.Limit{Memory: 32 << 20})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { group.Close() })
		ends(t, group, func(t *testing.T, g *process, group *cgroup.Group) {
			outOfMemory(t, g, group)
		})
	})
}

// outOfMemory has another process take the memory of the gate's group, of which the kernel kills the gate first.
func outOfMemory(t *testing.T, g *process, group *cgroup.Group) {
	t.Helper()
	writeProc(t, g.cmd.Process.Pid, "oom_score_adj", "1000")
	launch(t, command(t, "hog", "hold", "40Mi"), group)
	g.cmd.Wait()
	if s, err := group.Stats(); err != nil || s.OOMKills == 0 {
		t.Fatalf("the gate ended for another reason: %+v, %v", s, err)
	}
}

func ends(t *testing.T, group *cgroup.Group, end func(t *testing.T, g *process, group *cgroup.Group)) {
	d := start(t, 1)
	o := d.options(0)
	o.Period, o.Delay = 4*time.Second, 8*time.Second
	write(t, o.Raw, "")
	expire(t, o)
	g := gateOf(t, o, group)
	eventually(t, "the gate opens", func() bool { return there(o.Gated) })
	end(t, g, group)
	began := time.Now()
	eventually(t, "the gated file is removed", func() bool { return !there(o.Gated) })
	if took := time.Since(began); took > 2*o.Period {
		t.Errorf("the gated file was there for another %v, with a period of %v", took, o.Period)
	} else {
		t.Logf("%s: gone after %.1f periods", filepath.Base(t.Name()), took.Seconds()/o.Period.Seconds())
	}
}
