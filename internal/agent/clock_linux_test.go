package agent

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/oom"
	"stella/internal/oom/tree/treetest"
	"stella/internal/testkit"
)

// jump sets the machine's clock to so much more, or less, than it is.
func jump(t *testing.T, by time.Duration) {
	t.Helper()
	at := unix.NsecToTimeval(time.Now().Add(by).UnixNano())
	if err := unix.Settimeofday(&at); err != nil {
		t.Fatal(err)
	}
}

// The machine's clock jumps ahead and back by days while processes are killed: each is in the ledger once, with its
// cgroup and limit, under the time that it was then, and stays there.
func TestClockJumps(t *testing.T) {
	testkit.Need(t, testkit.OwnMachine)
	p := treetest.Own(t)
	p.Delegate("")
	o := Options{StateDir: filepath.Join(t.TempDir(), "state"), Root: machine(t, p.Mount, kernelLog)}
	d := start(t, o)
	pids := map[int]string{}
	for i, by := range []time.Duration{0, 36 * time.Hour, -72 * time.Hour, 36 * time.Hour, 40 * 24 * time.Hour, -40 * 24 * time.Hour} {
		path := fmt.Sprintf("/c%d", i)
		p.Make(path, 8*mib)
		d.sees(p.Root + path)
		jump(t, by)
		begin := time.Now()
		pid := p.Kill(path)
		k := d.killed(p.Root+path, pid)
		if k.Process.PID != pid || k.Limit.Cgroup != p.Root+path {
			t.Errorf("after a jump of %v pid %d was killed; the ledger has %+v", by, pid, k)
		}
		if off := k.Time.Sub(begin.Round(0)); off < -time.Second || off > patience {
			t.Errorf("after a jump of %v a kill is %v off", by, off)
		}
		pids[pid] = p.Root + path
	}
	check := func(d *daemon) {
		t.Helper()
		all, err := d.Kills(t.Context(), oom.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		found := map[int]int{}
		for _, k := range all {
			if strings.HasPrefix(k.Cgroup, p.Root+"/") || k.Process.PID == 0 {
				found[k.Process.PID] += int(k.Count)
			}
			if cgroup, ours := pids[k.Process.PID]; ours && k.Cgroup != cgroup {
				t.Errorf("pid %d was in %s; the ledger has %+v", k.Process.PID, cgroup, k)
			}
		}
		for pid := range pids {
			if found[pid] != 1 {
				t.Errorf("pid %d is in the ledger %d times", pid, found[pid])
			}
			delete(found, pid)
		}
		if len(found) > 0 {
			t.Errorf("there are kills that were none, by pid: %v", found)
		}
	}
	check(d)
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	check(start(t, o))
}
