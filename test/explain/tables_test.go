package explain

import (
	"testing"
	"time"

	"stella/internal/explain"
	"stella/internal/oom"
)

// What two loops printed on a machine on which containers were killed (a guide to OOMKilled, in its part on growth): free(1) each second, where memory grows
// little by little, and the statistics of a container that builds images, where it is more at once and stays so.
var (
	// freeUsed, freeBuffers, freeCached and freeFree are in MiB.
	freeUsed    = []float64{12493, 12698, 12800, 12902, 13005, 13210, 13414, 13517, 13517, 13517, 13517, 13517, 13517, 13517, 13517, 13517, 13517}
	freeBuffers = []float64{0.67, 0.63, 0.55, 0.40, 0.28, 0.16, 0.03, 0.02, 0.02, 0.01, 0.01, 0.01, 0, 0, 0, 0, 0}
	freeCached  = []float64{3378, 3175, 3012, 2888, 2813, 2584, 2352, 2335, 2303, 2254, 2232, 2285, 2254, 2268, 2250, 2281, 2311}
	freeFree    = []float64{190, 183, 180, 233, 242, 216, 231, 207, 238, 257, 287, 228, 271, 253, 269, 243, 211}
	// builderMemory is in MB, and builderCPU in percent of a core.
	builderMemory = []float64{13.56, 13.63, 13.91, 3236, 3569, 3569, 3569, 3569, 3569}
	builderCPU    = []float64{0.13, 0.06, 0.13, 100.24, 69.57, 74.42, 0.04, 0, 0.02}
)

func free() explain.Input {
	in := explain.Input{Now: epoch.Add(time.Duration(len(freeUsed)) * time.Second)}
	for i := range freeUsed {
		used, buffers, cached := freeUsed[i]*mib, freeBuffers[i]*mib, freeCached[i]*mib
		in.Samples = append(in.Samples, oom.Sample{
			Time: epoch.Add(time.Duration(i) * time.Second), Usage: int64(used + buffers + cached), WorkingSet: int64(used),
			Limit: int64(used + buffers + cached + freeFree[i]*mib), Anon: int64(used), File: int64(buffers + cached),
			Kernel: -1, Sock: -1, Swap: -1, PIDs: -1, CPU: -1, PressureSome: -1, PressureFull: -1,
		})
	}
	return in
}

func builder(image string) explain.Input {
	const mb = 1e6
	in := explain.Input{Container: oom.Container{Name: "builder", Image: image}, Now: epoch.Add(time.Duration(len(builderMemory)) * time.Second)}
	cpu := time.Duration(0)
	for i, memory := range builderMemory {
		cpu += time.Duration(builderCPU[i] / 100 * float64(time.Second))
		in.Samples = append(in.Samples, oom.Sample{
			Time: epoch.Add(time.Duration(i) * time.Second), Usage: int64(memory * mb), WorkingSet: int64(memory * mb), Anon: int64(memory * mb),
			Kernel: -1, Sock: -1, Swap: -1, PIDs: -1, CPU: cpu, PressureSome: -1, PressureFull: -1,
			Top: []oom.Process{{PID: 7, Comm: "executor", UID: -1, Anon: int64(memory * mb)}},
		})
	}
	return in
}

// killed adds the kill that such a table is looked at for: the guide has the line of the kernel, and none of its numbers.
func killed(in explain.Input, comm string) explain.Input {
	in.Kills = []oom.Kill{{
		ID: "1", Time: in.Now, Count: 1, Process: oom.Process{PID: 7, Comm: comm, UID: -1}, Limit: oom.Limit{Scope: oom.ScopeContainer},
		Witnesses: []oom.Witness{oom.WitnessLog}, Confidence: oom.Certain,
	}}
	return in
}

// A leak and a spike are told apart by what those loops printed: nothing of the one is taken for the other. Ten seconds are few, so that it may be that it
// cannot be told, or that there is another name for it.
func TestTables(t *testing.T) {
	t.Parallel()
	grows := explain.Explain(killed(free(), "java")).Findings[0]
	t.Logf("what grows little by little is found to be %s (%.2f): %s", grows.Cause, grows.Confidence, grows.Summary)
	if grows.Cause == explain.Spike {
		t.Error("what grows little by little is taken for a spike")
	}
	for _, image := range []string{"shop/builder:1", "kaniko-project/executor:v1.6.0"} {
		r := explain.Explain(killed(builder(image), "executor"))
		jumps := r.Findings[0]
		t.Logf("what is more at once is found to be %s (%.2f): %s", jumps.Cause, jumps.Confidence, jumps.Summary)
		if jumps.Cause == explain.Leak || jumps.Cause == grows.Cause {
			t.Errorf("what is more at once is taken for %s", jumps.Cause)
		}
		if known := r.Known != nil; known != (image != "shop/builder:1") {
			t.Errorf("of %s it is known: %+v", image, r.Known)
		}
	}
}
