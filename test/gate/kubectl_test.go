package gate

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"stella/internal/cgroup"
	"stella/internal/testkit"
)

// The loop of before and the gate, each alone in the 64 MiB that the loop had, before a large cluster of which one node was rebooted an hour ago: the gate
// lives and stays shut; of the loop's children the kernel kills some, and it opens.
func TestBesideKubectl(t *testing.T) {
	if !*bench {
		t.Skip("a measurement: make bench-gate")
	}
	testkit.Need(t, testkit.MemoryCgroup, testkit.Program("kubectl"))
	const cycleCount = 20
	t.Log("| 64 MiB, 1,000 nodes, 20,000 pods | cycles | memory of its cgroup at its highest, page cache included | processes killed for want of memory | cycles that opened, though a node was just rebooted |\n|---|---|---|---|---|")
	for _, who := range []string{"gate", "loop"} {
		t.Run(who, func(t *testing.T) {
			d := start(t, 1, "--nodes", "1000", "--pods", "20000", "--alerts", "5000")
			d.set(wish{Rebooted: true})
			write(t, d.raw(0), "")
			group, err := cgroup.New("stella-gate", cgroup.Limit{Memory: 64 << 20})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { group.Close() })
			began := time.Now()
			opened := 0
			if who == "gate" {
				opened = d.gateCycles(t, group, cycleCount)
			} else {
				opened = d.loopCycles(t, group, cycleCount)
			}
			s, err := group.Stats()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("| %s | %d in %.0f s | %.1f MiB | %d | %d |", who, cycleCount, time.Since(began).Seconds(), float64(s.Peak)/(1<<20), s.OOMKills, opened)
			if who == "gate" && (opened > 0 || s.OOMKills > 0) {
				t.Errorf("opened %d times, %d kills", opened, s.OOMKills)
			}
		})
	}
}

// gateCycles lets the gate look so many times, and says how many looks found that the node may be rebooted.
func (d *double) gateCycles(t *testing.T, group *cgroup.Group, n int) int {
	o := d.options(0)
	o.Period, o.Delay, o.Every = 2*time.Minute, 4*time.Minute, time.Nanosecond
	p := cycles(t, o, group)
	p.sample(n, n)
	return strings.Count(p.log.begin()+p.log.String(), "ALL CHECKS PASSED")
}

func (d *double) loopCycles(t *testing.T, group *cgroup.Group, n int) int {
	cmd := exec.Command("bash", "testdata/loop.sh")
	cmd.Env = append(os.Environ(), fmt.Sprintf("CYCLES=%d", n), "RAW="+d.raw(0), "GATED="+d.gated(0), "KUBECONFIG="+d.Kubeconfig)
	p := launch(t, cmd, group)
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("the loop: %v\n%s", err, p.log)
	}
	return strings.Count(p.out.String(), "ALL CHECKS PASSED")
}
