package cli

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/oom"
)

func pointer[T any](v T) *T { return &v }

const gateCgroup = "/kubepods/burstable/pod6b3f/0527c6dd14e504ab"

// someKills are as an agent answers them: the oldest first.
func someKills() []oom.Kill {
	return []oom.Kill{
		{ // a whole node, and a name that would do things to a terminal
			ID: "1a", Time: noon.Add(-3 * day), Count: 1, Process: oom.Process{PID: 77, Comm: "a\x1b[2Jb", UID: -1, Anon: 3 << 30},
			Cgroup: "/system.slice/x\n\x1b]0;.service", Limit: oom.Limit{Scope: oom.ScopeNode, Bytes: 16 << 30}, Container: oom.Container{Unit: "x\n\x1b]0;.service"},
			Witnesses: []oom.Witness{oom.WitnessLog}, Confidence: oom.Certain,
		},
		{ // counted, and nothing else
			ID: "2b", Time: noon.Add(-time.Hour), Since: noon.Add(-time.Hour - time.Second), Count: 49,
			Limit: oom.Limit{Scope: oom.ScopeUnknown}, Witnesses: []oom.Witness{oom.WitnessNode}, Confidence: oom.Strong,
			Doubt: "the kernel log had no line of them",
		},
		{ // the child that no restart shows
			ID: "3f9a2c", Boot: "b", Time: noon.Add(-10 * time.Second), Count: 1,
			Process: oom.Process{PID: 8103, Comm: "kubectl", UID: 65534, Total: 700 << 20, Anon: 40 << 20, File: 1 << 20, PageTables: 128 << 10, ScoreAdj: 984},
			Cgroup:  gateCgroup,
			Limit:   oom.Limit{Scope: oom.ScopePod, Cgroup: "/kubepods/burstable/pod6b3f", Bytes: 64 << 20, Usage: 64 << 20, Failures: 1234},
			Invoker: "bash", Memory: oom.Memory{Anon: 50 << 20, File: 4 << 20, Kernel: 8 << 20, Slab: 6 << 20},
			Tasks: []oom.Process{
				{PID: 8103, Comm: "kubectl", Anon: 40 << 20, File: 1 << 20, ScoreAdj: 984},
				{PID: 9, Comm: "bash", UID: 65534, Anon: 10 << 20, ScoreAdj: 984},
			},
			TasksLeftOut: 1,
			Container: oom.Container{
				ID: "0527c6dd14e504ab8c406806e0ce182aec604a0dbeeefc4e94e1ee3550dda3db", Runtime: "containerd", Name: "gate", Namespace: "kured",
				Pod: "kured-sentinel-gate-x7k2p", PodUID: "6b3f", Workload: "DaemonSet/kured-sentinel-gate", WorkloadGuessed: true, Image: "gate:1",
				Node: "k8s-master", Request: 32 << 20, LimitBytes: 64 << 20, GroupKill: pointer(false),
			},
			MainSurvived: pointer(true), Witnesses: []oom.Witness{oom.WitnessLog, oom.WitnessCounter}, Confidence: oom.Certain,
		},
	}
}

func newestFirst() []oom.Kill {
	k := someKills()
	return []oom.Kill{k[2], k[1], k[0]}
}

func TestKillRows(t *testing.T) {
	for _, tt := range []struct {
		width int
		want  string
	}{
		{200, `
ID      AGE  WHERE                                 PROCESS        LIMIT     FIRED    HIDDEN
3f9a2c  10s  kured/kured-sentinel-gate-x7k2p/gate  kubectl[8103]  64.0 MiB  pod      yes
2b      60m  unattributed                          49 unknown     -         unknown  -
1a      3d   x; �]0;.service                       a�[2Jb[77]     16.0 GiB  node     -
`},
		{80, `
ID      AGE  WHERE                      PROCESS        LIMIT     FIRED    HIDDEN
3f9a2c  10s  kured/kured..e-x7k2p/gate  kubectl[8103]  64.0 MiB  pod      yes
2b      60m  unattributed               49 unknown     -         unknown  -
1a      3d   x; �]0;.service            a�[2Jb[77]     16.0 GiB  node     -
`},
		{40, `
ID      AGE  WHERE
3f9a2c  10s  kured/kured-..te-x7k2p/gate
2b      60m  unattributed
1a      3d   x; �]0;.service
`},
	} {
		var out bytes.Buffer
		if err := killRows(newestFirst(), noon, false).write(&out, tt.width, ".."); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want[1:], out.String()); diff != "" {
			t.Errorf("width %d (-want +got):\n%s", tt.width, diff)
		}
	}
}

func TestKillText(t *testing.T) {
	for i, want := range []string{`
Kill 3f9a2c:       kubectl[8103] in kured/kured-sentinel-gate-x7k2p/gate: the pod reached its limit of 64.0 MiB; no restart shows it
Time:              2026-11-21T11:59:50Z (10s ago)
Killed:            kubectl, process 8103 of user 65534, 41.0 MiB resident (40.0 MiB anon, 1.0 MiB file, 0 B shmem), 128 KiB page tables, oom_score_adj 984
Container:         gate 0527c6dd14e504ab8c406806e0ce182aec604a0dbeeefc4e94e1ee3550dda3db
Pod:               kured-sentinel-gate-x7k2p in namespace kured
Workload:          DaemonSet/kured-sentinel-gate (guessed from the pod's name)
Image:             gate:1
Node:              k8s-master
Pod asks for:      request 32.0 MiB, limit 64.0 MiB
A kill takes:      one process; the others live on
Cgroup:            /kubepods/burstable/pod6b3f/0527c6dd14e504ab
Limit that fired:  the pod's, of all its containers together; used 64.0 MiB of 64.0 MiB (100%); hit 1,234 times
Limit's cgroup:    /kubepods/burstable/pod6b3f
Memory before:     .............::::::::::::::#############  2.6 MiB to 60.2 MiB in 1m30s
Asked for memory:  bash
Restart:           none: the container's first process lived on, and while it runs, neither restarts nor the pod's status show this kill
Seen by:           kernel log, cgroup's counter
Confidence:        certain

MEMORY  SIZE      SHARE  WHICH IS
anon    50.0 MiB  78%    heaps and stacks of processes
file    4.0 MiB   6%     page cache: the kernel takes it back when it can
kernel  8.0 MiB   13%    what the kernel keeps for the processes
slab    6.0 MiB   9%     of the kernel's: files, directories, network

PID   PROCESS  RSS       ANON      FILE     SHMEM  ADJ  KILLED
8103  kubectl  41.0 MiB  40.0 MiB  1.0 MiB  -      984  yes
9     bash     10.0 MiB  10.0 MiB  -        -      984  -
and 1 smaller task

Go on with:
  stella oom list --last 7d -n kured --pod kured-sentinel-gate-x7k2p
  stella pods -n kured kured-sentinel-gate-x7k2p
  stella top containers --watch -n kured
  kubectl -n kured describe pod kured-sentinel-gate-x7k2p
`, `
Kill 2b:           49 kills of unknown processes in an unknown cgroup: which limit fired is not known
Time:              49 kills between 2026-11-21T10:59:59Z and 2026-11-21T11:00:00Z (60m ago)
Killed:            not known: a counter rose, and no line of the kernel log explains it
Cgroup:            not known
Limit that fired:  not known
Seen by:           node's counter
Confidence:        strong
Doubt:             the kernel log had no line of them

Go on with:
  stella oom list --last 7d
  stella top containers --watch
`, `
Kill 1a:           a�[2Jb[77] in x; �]0;.service: the node ran out of its memory of 16.0 GiB
Time:              2026-11-18T12:00:00Z (3d ago)
Killed:            a�[2Jb, process 77, 3.0 GiB resident (3.0 GiB anon, 0 B file, 0 B shmem), oom_score_adj 0
Unit:              x; �]0;.service
Cgroup:            /system.slice/x; �]0;.service
Limit that fired:  none of a cgroup: the node had no memory left; 16.0 GiB
Seen by:           kernel log
Confidence:        certain

Go on with:
  stella oom list --last 7d
  stella top containers --watch
  stella top node --watch
  stella top processes
`} {
		var out bytes.Buffer
		k := newestFirst()[i]
		p := killPrinter{kill: &k, now: noon, width: 80, glyphs: asciiGlyphs}
		if i == 0 {
			for n := range 120 {
				p.before = append(p.before, oom.Sample{Time: noon.Add(time.Duration(n-100) * time.Second), Usage: int64(n+4) * 64 << 20 / 100})
			}
		}
		if err := p.write(&out); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want[1:], out.String()); diff != "" {
			t.Errorf("kill %d (-want +got):\n%s", i, diff)
		}
	}
}
