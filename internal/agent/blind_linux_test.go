package agent

import (
	"testing"

	"stella/internal/oom"
	"stella/internal/oom/tree/treetest"
)

// Without permission for the kernel log the agent says everywhere what is lost, and finds kills by the counters.
func TestNoPermissionForTheLog(t *testing.T) {
	p := treetest.Own(t)
	d := start(t, Options{Root: machine(t, p.Mount, "")})
	d.until("the log has failed and counters are read", func(s oom.AgentStatus) bool {
		return find(s, oom.WitnessLog).State == stateFailed && find(s, oom.WitnessCounter).State == stateOK
	})
	lost := []string{"permission denied", "which process was killed", "is not known", "CAP_SYSLOG"}
	contains(t, "the status", d.witness(oom.WitnessLog).Detail, lost...)
	contains(t, "the log", d.log.String(), append(lost, "level=WARN", "witness=kernel-log")...)
	_, metrics := d.get("/metrics")
	contains(t, "/metrics", metrics, `stella_oom_witness_up{witness="kernel-log"} 0`, `stella_oom_witness_up{witness="cgroup-counter"} 1`)
	if code, text := d.get("/readyz"); code != 200 {
		t.Errorf("it is not ready: %s", text)
	}

	p.Delegate("")
	p.Make("/c", 8*mib)
	d.sees(p.Root + "/c")
	pid := p.Kill("/c")
	k := d.killed(p.Root+"/c", pid)
	if k.Count != 1 || k.Confidence == oom.Certain || k.Limit.Bytes != 8*mib || k.Limit.Cgroup != p.Root+"/c" || len(k.Witnesses) == 0 || k.Witnesses[0] != oom.WitnessCounter {
		t.Errorf("pid %d was killed; the ledger has %+v", pid, k)
	}
}

// Where neither the log nor a counter is within reach, the agent goes on, and is not ready.
func TestNothingCanBeRead(t *testing.T) {
	d := start(t, Options{Root: machine(t, "", "")})
	d.until("both have failed", func(s oom.AgentStatus) bool {
		return find(s, oom.WitnessLog).State == stateFailed && find(s, oom.WitnessCounter).State == stateFailed
	})
	contains(t, "the status", d.witness(oom.WitnessCounter).Detail, "mount the machine's /sys/fs/cgroup")
	code, text := d.get("/readyz")
	if code != 503 {
		t.Errorf("it is ready: %d", code)
	}
	contains(t, "/readyz", text, "neither the kernel log nor the cgroups' counters can be read", "kernel-log", "cgroup-counter")
	for path, err := range map[string]error{"usage": second(d.Usage(t.Context())), "node": second(d.Node(t.Context())), "processes": second(d.Processes(t.Context(), 1))} {
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
