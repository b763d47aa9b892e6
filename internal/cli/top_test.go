package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/oom"
)

// someUsage is the leak of a build beside what is well.
func someUsage() []oom.Usage {
	return []oom.Usage{
		{
			Container: oom.Container{ID: "b571874ae948f0000", Name: "kaniko", Namespace: "ci", Pod: "build-1", PodUID: "u1", Image: "kaniko:1", Node: "n1"},
			Cgroup:    "/kubepods/podu1/b571", Cores: 1.0024, Trend: 200 << 20, TrendSpan: time.Minute, Disk: 2048 << 20, Inodes: 21833, Kills: 149, LastKill: noon.Add(-time.Hour),
			Sample: oom.Sample{WorkingSet: 3600 << 20, Limit: 4000 << 20, PIDs: 12, Anon: 3500 << 20, File: -1, Shmem: 0, Kernel: 4 << 20},
		},
		{
			Container: oom.Container{ID: "c2", Name: "sidecar", Namespace: "ci", Pod: "build-1", PodUID: "u1", Node: "n1"},
			Cgroup:    "/kubepods/podu1/c2", Cores: 0.0013, TrendSpan: time.Minute, Disk: -1, Inodes: -1,
			Sample: oom.Sample{WorkingSet: 13 << 20, Limit: 100 << 20},
		},
		{
			Container: oom.Container{Unit: "x\x1b[31m.service"}, Cgroup: "/system.slice/x", Cores: 0.5, Trend: -3 << 20, TrendSpan: time.Minute, Disk: -1, Inodes: -1,
			Sample: oom.Sample{WorkingSet: -1},
		},
		{
			Container: oom.Container{Name: "ended", Namespace: "shop", Pod: "web-1"}, Gone: noon, Cgroup: "/kubepods/gone", Disk: -1, Inodes: -1, Kills: 1,
			Sample: oom.Sample{WorkingSet: 64 << 20, Limit: 64 << 20},
		},
	}
}

// newTestTop is what the commands have in common, without a terminal.
func newTestTop(format string, watch bool) *top {
	return &top{app: &app{stdout: io.Discard, console: newConsole(io.Discard, func(string) string { return "" }), getenv: func(string) string { return "" }}, format: format, watch: watch}
}

func wantRows(t *testing.T, what string, r *rows, width int, want string) {
	t.Helper()
	var out bytes.Buffer
	if err := r.write(&out, width, ".."); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want[1:], out.String()); diff != "" {
		t.Errorf("%s, width %d (-want +got):\n%s", what, width, diff)
	}
}

func TestTopPodsRows(t *testing.T) {
	pods := podUsages(someUsage(), "")
	for _, tt := range []struct {
		format string
		width  int
		want   string
	}{
		{"table", 80, `
NAMESPACE  NAME     CPU    MEMORY   LIMIT    %    TREND         KILLS
ci         build-1  1004m  3.5 GiB  4.0 GiB  88%  +200 MiB/min  149
`},
		{"table", 40, `
NAMESPACE  NAME     CPU    MEMORY
ci         build-1  1004m  3.5 GiB
`},
		{"wide", 0, `
NAMESPACE  NAME     CPU    MEMORY                                TREND         KILLS  FULL IN  LAST KILL  DISK     INODES  WORKLOAD  NODE
ci         build-1  1004m  #########.  88%   3.5 GiB of 4.0 GiB  +200 MiB/min  149    2m       60m        2.0 GiB  21,833  -         n1
`},
	} {
		wantRows(t, tt.format, podUsageRows(pods, noon, newTestTop(tt.format, false)), tt.width, tt.want)
	}
	wantRows(t, "none", podUsageRows(podUsages(someUsage(), "other"), noon, newTestTop("table", false)), 80, `
NAMESPACE  NAME  CPU  MEMORY  LIMIT  %  TREND  KILLS
`)
}

// A pod without a limit for one of its containers has none.
func TestPodUsages(t *testing.T) {
	limits := func(all ...int64) (usage []oom.Usage) {
		for _, n := range all {
			usage = append(usage, oom.Usage{Container: oom.Container{PodUID: "u"}, Sample: oom.Sample{Limit: n}})
		}
		return usage
	}
	for _, tt := range []struct {
		limits []int64
		want   int64
	}{{[]int64{5, 7}, 12}, {[]int64{0, 7}, 0}, {[]int64{7, 0}, 0}, {[]int64{7, 0, 7}, 0}} {
		if got := podUsages(limits(tt.limits...), ""); len(got) != 1 || got[0].Limit != tt.want || got[0].Containers != len(tt.limits) {
			t.Errorf("limits %v: %+v; want the limit %d", tt.limits, got, tt.want)
		}
	}
	asked := limits(5)
	asked[0].Container.LimitBytes = 9
	if got := podUsages(asked, ""); got[0].Limit != 9 {
		t.Errorf("limit is %d; want what the pod asks for", got[0].Limit)
	}
}

func TestTopContainersRows(t *testing.T) {
	for _, tt := range []struct {
		format string
		width  int
		want   string
	}{
		{"table", 200, `
CONTAINER           CPU %   MEMORY    LIMIT     %     TREND         KILLS  DISK     INODES
ci/build-1/kaniko   100.24  3.5 GiB   3.9 GiB   90%   +200 MiB/min  149    2.0 GiB  21,833
ci/build-1/sidecar  0.13    13.0 MiB  100 MiB   13%   steady        0      -        -
x�[31m.service      50.00   -         none      -     -3.0 MiB/min  0      -        -
shop/web-1/ended    0.00    64.0 MiB  64.0 MiB  100%  -             1      -        -
`},
		{"table", 80, `
CONTAINER         CPU %   MEMORY    LIMIT     %     TREND         KILLS  DISK
ci/buil../kaniko  100.24  3.5 GiB   3.9 GiB   90%   +200 MiB/min  149    2.0 GiB
ci/buil..sidecar  0.13    13.0 MiB  100 MiB   13%   steady        0      -
x�[31m.service    50.00   -         none      -     -3.0 MiB/min  0      -
shop/web-1/ended  0.00    64.0 MiB  64.0 MiB  100%  -             1      -
`},
		{"table", 40, `
CONTAINER           CPU %   MEMORY
ci/build-1/kaniko   100.24  3.5 GiB
ci/build-1/sidecar  0.13    13.0 MiB
x�[31m.service      50.00   -
shop/web-1/ended    0.00    64.0 MiB
`},
		{"wide", 0, `
CONTAINER           CPU %   MEMORY                                 TREND         KILLS  DISK     INODES  FULL IN  LAST KILL  ENDED  PIDS  ANON     FILE  SHMEM  KERNEL   ID             IMAGE
ci/build-1/kaniko   100.24  #########.  90%   3.5 GiB of 3.9 GiB   +200 MiB/min  149    2.0 GiB  21,833  2m       60m        -      12    3.4 GiB  -     0 B    4.0 MiB  b571874ae948f  kaniko:1
ci/build-1/sidecar  0.13    #.........  13%  13.0 MiB of 100 MiB   steady        0      -        -       -        -          -      0     0 B      0 B   0 B    0 B      c2             -
x�[31m.service      50.00   -                                      -3.0 MiB/min  0      -        -       -        -          -      0     0 B      0 B   0 B    0 B      -              -
shop/web-1/ended    0.00    ########## 100%  64.0 MiB of 64.0 MiB  -             1      -        -       -        -          0s     0     0 B      0 B   0 B    0 B      -              -
`},
	} {
		wantRows(t, tt.format, containerUsageRows(someUsage(), noon, newTestTop(tt.format, false)), tt.width, tt.want)
	}
}

func someProcesses() []oom.ProcessUsage {
	return []oom.ProcessUsage{
		{Process: oom.Process{PID: 8103, Comm: "kubectl", UID: 65534, Anon: 40 << 20, File: 1 << 20, ScoreAdj: 984}, Container: someUsage()[0].Container, Cores: 0.5, Started: noon.Add(-time.Hour)},
		{Process: oom.Process{PID: 1, Comm: "a,\x1b]0;x"}, Cgroup: "/init.scope", Cores: 0.75},
	}
}

func TestTopProcessesRows(t *testing.T) {
	for _, tt := range []struct {
		format string
		width  int
		want   string
	}{
		{"table", 80, `
PID   PROCESS  CPU %  RSS       ADJ  AGE  CONTAINER
8103  kubectl  50.00  41.0 MiB  984  60m  ci/build-1/kaniko
1     a,�]0;x  75.00  0 B       0    -    /init.scope
`},
		{"table", 40, `
PID   PROCESS  CPU %  RSS       ADJ  AGE
8103  kubectl  50.00  41.0 MiB  984  60m
1     a,�]0;x  75.00  0 B       0    -
`},
		{"wide", 0, `
PID   PROCESS  CPU %  RSS       ADJ  AGE  ANON      FILE     SHMEM  UID    CONTAINER
8103  kubectl  50.00  41.0 MiB  984  60m  40.0 MiB  1.0 MiB  0 B    65534  ci/build-1/kaniko
1     a,�]0;x  75.00  0 B       0    -    0 B       0 B      0 B    0      /init.scope
`},
	} {
		wantRows(t, tt.format, processRows(someProcesses(), noon, newTestTop(tt.format, false)), tt.width, tt.want)
	}
}

// falling is a node as in the runbook, whose memory goes; n is how many looks ago it began.
func falling(n int64) oom.NodeUsage {
	return oom.NodeUsage{
		Name: "n1", Time: noon.Add(time.Duration(n) * time.Second), Total: 16 << 30, Available: 2<<30 - n*100<<20, Free: 200 << 20, Buffers: 688 << 10, Cached: 3378<<20 - n*100<<20,
		Cores: 1.52, CPUs: 2, Trend: -100 << 20, PressureSome: 12.34, PressureFull: 3, Kills: 3 + n, GroupKill: [3]int{2, 41, 0},
		DiskTotal: 100 << 30, DiskFree: 45 << 30, InodesTotal: 1000, InodesFree: 10,
	}
}

var quietNode = oom.NodeUsage{Name: "a\x1bb", Total: 1 << 30, Available: 1 << 29, SwapTotal: 1 << 30, SwapFree: 1 << 29, CPUs: 1, PressureSome: -1, DiskTotal: -1, InodesTotal: -1}

func TestNodeText(t *testing.T) {
	node := falling(0)
	for _, tt := range []struct {
		node *oom.NodeUsage
		want string
	}{{&node, `
Node:                n1
CPU:                 1.52 of 2 cores (76%)
Memory:              #########.  88%  14.0 GiB of 16.0 GiB
Available:           2.0 GiB, -100 MiB/min
None left in:        20m
Free:                200 MiB
Page cache:          3.3 GiB
Buffers:             688 KiB
Slab:                0 B
Swap:                none
Memory pressure:     some waited 12.3%, all waited 3.0% of the last 10 s
Disk of containers:  45.0 GiB free of 100 GiB
Inodes:              10 free of 1,000
OOM kills:           3 since boot
A kill takes:        all of a container's processes in 2 containers, one in 41, not known of 0
`}, {&quietNode, `
Node:             a�b
CPU:              0.00 of 1 core (0%)
Memory:           #####.....  50%   512 MiB of 1.0 GiB
Available:        512 MiB, steady
Free:             0 B
Page cache:       0 B
Buffers:          0 B
Slab:             0 B
Swap:             512 MiB of 1.0 GiB
Memory pressure:  not known: the kernel tells none (PSI)
OOM kills:        0 since boot
A kill takes:     all of a container's processes in 0 containers, one in 0, not known of 0
`}} {
		var out bytes.Buffer
		if err := writeNode(&out, tt.node, asciiGlyphs); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want[1:], out.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestNodeWatchFrame(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = local })
	w := &nodeWatch{top: newTestTop("text", true)}
	for n := range int64(13) {
		w.add(falling(n))
	}
	var out bytes.Buffer
	if err := w.write(&out, someUsage()[:1]); err != nil {
		t.Fatal(err)
	}
	const want = `
memory #########.  95%  15.2 GiB of 16.0 GiB  CPU 76%  OOM kills 15 (+12)

TIME      USED      CACHE    BUFFERS  FREE     AVAILABLE  SWAP  PRESSURE  KILLS
12:00:12  15.2 GiB  2.1 GiB  688 KiB  200 MiB  848 MiB    0 B   12.3%     15
12:00:11  15.1 GiB  2.2 GiB  688 KiB  200 MiB  948 MiB    0 B   12.3%     14
12:00:10  15.0 GiB  2.3 GiB  688 KiB  200 MiB  1.0 GiB    0 B   12.3%     13
12:00:09  14.9 GiB  2.4 GiB  688 KiB  200 MiB  1.1 GiB    0 B   12.3%     12
12:00:08  14.8 GiB  2.5 GiB  688 KiB  200 MiB  1.2 GiB    0 B   12.3%     11
12:00:07  14.7 GiB  2.6 GiB  688 KiB  200 MiB  1.3 GiB    0 B   12.3%     10
12:00:06  14.6 GiB  2.7 GiB  688 KiB  200 MiB  1.4 GiB    0 B   12.3%     9
12:00:05  14.5 GiB  2.8 GiB  688 KiB  200 MiB  1.5 GiB    0 B   12.3%     8
12:00:04  14.4 GiB  2.9 GiB  688 KiB  200 MiB  1.6 GiB    0 B   12.3%     7
12:00:03  14.3 GiB  3.0 GiB  688 KiB  200 MiB  1.7 GiB    0 B   12.3%     6

GROWS FASTEST      MEMORY   LIMIT    TREND         FULL IN  DISK
ci/build-1/kaniko  3.5 GiB  3.9 GiB  +200 MiB/min  2m       2.0 GiB
`
	if diff := cmp.Diff(want[1:], out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for trend, want := range map[int64]string{
		-100 << 20: "n1: available memory falls by 100 MiB a minute, none left in 20m",
		-1 << 20:   "n1: available memory falls by 1.0 MiB a minute",
		0:          "n1: available memory is steady",
		1 << 30:    "n1: available memory grows by 1.0 GiB a minute",
	} {
		node := falling(0)
		if node.Trend = trend; nodeTitle(&node) != want {
			t.Errorf("title is %q; want %q", nodeTitle(&node), want)
		}
	}
}

func TestTrendText(t *testing.T) {
	for n, want := range map[int64]string{0: "steady", 1023: "steady", -1023: "steady", 1024: "+1.0 KiB/min", -5 << 20: "-5.0 MiB/min", 1 << 62: "+4.0 EiB/min", -1 << 62: "-4.0 EiB/min"} {
		if got := trendText(n); got != want {
			t.Errorf("trendText(%d) = %q; want %q", n, got, want)
		}
	}
	for _, tt := range []struct {
		left, rate int64
		want       string
	}{
		{100 << 20, 10 << 20, "10m"}, {-5, 10 << 20, "0s"}, {1 << 40, 1 << 20, ""}, {1 << 20, 0, ""}, {1 << 20, -5 << 20, ""}, {5 << 20, 10 << 20, "30s"},
	} {
		if got := untilText(tt.left, tt.rate); got != tt.want {
			t.Errorf("untilText(%d, %d) = %q; want %q", tt.left, tt.rate, got, tt.want)
		}
	}
}

func TestTopCommands(t *testing.T) {
	f := newFakeAgent(t, map[string]any{"GET /v1/containers": someUsage(), "GET /v1/processes": someProcesses(), "GET /v1/node": falling(0)})
	for _, tt := range []struct{ args, first string }{
		{"top pods", "ci build-1 1004m 3.5 GiB 4.0 GiB 88% +200 MiB/min 149"},
		{"top containers", "ci/build-1/kaniko 100.24 3.5 GiB 3.9 GiB 90% +200 MiB/min 149 2.0 GiB 21,833"},
		{"top containers --sort-by cpu -n ci", "ci/build-1/kaniko 100.24"},
		{"top containers -n shop --all", "shop/web-1/ended 0.00 64.0 MiB 64.0 MiB 100% - 1 - -"},
		{"top processes", "8103 kubectl 50.00 41.0 MiB 984 "},
		{"top processes --sort-by cpu", "1 a,\uFFFD]0;x 75.00 0 B 0 - /init.scope"},
		{"top processes -n ci --limit 1", "8103 kubectl"},
		{"top node", "CPU: 1.52 of 2 cores (76%)"},
	} {
		got := f.runAgent(t, strings.Fields(tt.args)...)
		lines := strings.Split(got.stdout, "\n")
		if len(lines) < 2 || !strings.HasPrefix(strings.Join(strings.Fields(lines[1]), " "), tt.first) || got.code != ExitOK || got.stderr != "" {
			t.Errorf("%s: exit %d, %q, %q; want %q first", tt.args, got.code, got.stderr, got.stdout, tt.first)
		}
	}
	for _, what := range []string{"pods", "containers", "processes", "node"} {
		got := f.runAgent(t, "top", what, "-o", "json")
		if !json.Valid([]byte(got.stdout)) || got.code != ExitOK {
			t.Errorf("top %s: exit %d, %q", what, got.code, got.stdout)
		}
	}
	asked := f.requests()
	if diff := cmp.Diff([]string{"GET /v1/processes?limit=20", "GET /v1/processes?limit=1000", "GET /v1/processes?limit=1000"}, asked[4:7]); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// While the agent is away, what was known last stays.
func TestTopWatchOfAnAgentThatIsAway(t *testing.T) {
	var looks atomic.Int64
	f := newFakeAgent(t, map[string]any{"GET /v1/containers": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := looks.Add(1)
		if n > 2 {
			refuse(http.StatusInternalServerError, "on fire")(w, r)
			return
		}
		writeJSON(w, []oom.Usage{{Cgroup: fmt.Sprintf("/look-%d", n)}})
	})})
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var out strings.Builder
	w := writerFunc(func(p []byte) (int, error) {
		if strings.Contains(string(p), "trying again") {
			interrupt()
		}
		return out.Write(p)
	})
	code := Main(ctx, Options{
		Args:   []string{"top", "containers", "-w", "--interval", "100ms", "--agent", f.address},
		Stdout: w, Stderr: io.Discard, Getenv: func(string) string { return "" },
	})
	all := strings.Split(out.String(), "\n\n")
	if len(all) != 3 || !strings.Contains(all[0], "/look-1 ") || !strings.Contains(all[1], "1 container, 0.00 cores, 0 B") || !strings.Contains(all[2], "trying again: ") || !strings.Contains(all[2], "/look-2 ") || code != ExitOK {
		t.Errorf("exit %d, frames %q", code, all)
	}
}

// A node is watched on a terminal: each frame fits, the moments are kept, and Ctrl-C gives the terminal back.
func TestTopNodeWatch(t *testing.T) {
	var looks atomic.Int64
	f := newFakeAgent(t, map[string]any{
		"GET /v1/containers": someUsage(),
		"GET /v1/node": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n := looks.Add(1)
			if n == 3 {
				refuse(http.StatusInternalServerError, "on fire")(w, r)
				return
			}
			writeJSON(w, falling(n))
		}),
	})
	x := openTerminal(t, 80, 24)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	env := map[string]string{"STELLA_AGENT": f.address, "TERM": "xterm", "NO_COLOR": "1", "LANG": "C.UTF-8"}
	var stderr bytes.Buffer
	done := make(chan ExitCode, 1)
	go func() {
		done <- Main(ctx, Options{
			Args: []string{"top", "node", "--watch", "--interval", "100ms"}, Stdout: x.file, Stderr: &stderr, Getenv: func(k string) string { return env[k] },
		})
	}()
	shown := x.await(t, "fifth frame", func(s string) bool { return strings.Count(s, clearBelow) >= 5 })
	all := frames(shown)
	for _, frame := range all {
		for _, line := range frame {
			if n := len([]rune(line)); n > 80 {
				t.Errorf("a line of %d columns on a terminal of 80: %q", n, line)
			}
		}
	}
	if !strings.Contains(all[2][0], "the agent does not answer, trying again") || len(all[2]) != len(all[1]) {
		t.Errorf("while the agent is away, the frame is %q", all[2])
	}
	last := all[4]
	if len(last) != 11 || !strings.Contains(last[0], "n1: available memory falls by 100 MiB a minute, none left in 15m") || !strings.HasPrefix(last[10], "ci/build-1/kaniko ") {
		t.Errorf("a frame is %q", last)
	}
	interrupt()
	if code := <-done; code != ExitOK || stderr.Len() > 0 {
		t.Errorf("exit %d, %q", code, stderr.String())
	}
	x.await(t, "end", func(s string) bool { return strings.HasSuffix(s, leaveScreen) })
}
