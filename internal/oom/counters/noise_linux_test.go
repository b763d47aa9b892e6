package counters_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"stella/internal/oom/counters"
	"stella/internal/testkit"
)

// churnEnv makes the test binary use a little more memory than a cgroup should have, and take and give a part
// of it again and again: "BYTES PROCS TIMES".
const churnEnv = "STELLA_COUNTERS_TEST_CHURN"

func churn(text string) error {
	var size, times int
	var procs string
	if n, err := fmt.Sscanf(text, "%d %q %d", &size, &procs, &times); n != 3 {
		return err
	}
	if err := os.WriteFile(procs, []byte("0"), 0); err != nil {
		return err
	}
	for range times {
		block, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			return err
		}
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		if err := syscall.Munmap(block); err != nil {
			return err
		}
	}
	return nil
}

// The file that tells of kills tells of much else. A cgroup that is short of memory all the
// time is only polled after some alarms, and its kill is told all the same.
func TestManyAlarmsWithoutKills(t *testing.T) {
	testkit.Need(t, testkit.CgroupV2)
	p := ownPart(t)
	p.Make("/short", large)
	p.Write("/short", "memory.high", fmt.Sprint(small))
	w := p.watch(counters.Options{})
	w.known("/short")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %q %d", churnEnv, small, p.Mount+"/short/cgroup.procs", 20))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if d := w.Report().Detail; !strings.Contains(d, "2 cgroups, 1 with an alarm; the others are polled") {
		t.Errorf("it still has an alarm: %s", d)
	}
	p.Write("/short", "memory.high", "max")
	p.Limit("/short", small)
	p.Kill("/short")
	if r := w.killed("/short", 1)[0]; !r.LimitHit {
		t.Errorf("%+v", r)
	}
}
