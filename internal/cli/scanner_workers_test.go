package cli

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scanner"
)

// crew are two workers of one instance and one of another.
func crew() []scanner.Worker {
	return []scanner.Worker{{
		Name: "default-10", Instance: "a", Pool: "default", State: scanner.WorkerIdle, Limit: 64 << 20, Memory: 9 << 20, Started: noon.Add(-time.Hour),
	}, {
		Name: "default-2", Instance: "a", Pool: "default", State: scanner.WorkerBusy, PID: 77, Limit: 64 << 20, Wanted: 128 << 20, Memory: 61 << 20, Peak: 62 << 20, CPU: 0.987,
		Isolation: "cgroup v1", Started: noon.Add(-time.Minute), Job: 12, Image: "app:1.4",
		Progress: scanner.Progress{Phase: "layers", Layers: 127, Done: 3, Read: 1 << 20, Total: 4 << 20, Packages: 12345, Layer: 5, Path: "srv/\x1bbig.jar"},
		Restarts: map[scanner.RestartReason]int64{scanner.RestartOOM: 2, scanner.RestartCrash: 1},
		LastExit: &scanner.Exit{At: noon.Add(-time.Minute), ExitCode: 137, Reason: scanner.RestartOOM, Job: 11, Kills: 1, Limit: 64 << 20, Peak: 64 << 20, Message: "out of memory"},
	}, {Name: "default-2", Instance: "b", Pool: "default", State: scanner.WorkerWaiting}}
}

// inOrder are the crew as lists show them.
func inOrder(t *testing.T) []scanner.Worker {
	t.Helper()
	workers, err := ofPool(crew(), "")
	if err != nil {
		t.Fatal(err)
	}
	return workers
}

// A pool that nobody has is an error, not an empty table.
func TestWorkersOfUnknownPool(t *testing.T) {
	f := newFakeService(t, map[string]any{"GET /v1/workers": crew()})
	for _, command := range []string{"list", "stats"} {
		got := f.run(t, "scanner", "workers", command, "--pool", "defaul")
		got.want(t, ExitFailed, "", "stella: no pool defaul has workers, but default; did you mean \"default\"?\n")
		if got := f.run(t, "scanner", "workers", command, "--pool", "default"); got.code != ExitOK {
			t.Errorf("%s of the pool default: %s", command, got.stderr)
		}
	}
}

func TestWorkersTable(t *testing.T) {
	var out bytes.Buffer
	if err := workerRows(inOrder(t), noon, true).write(&out, 0, "…"); err != nil {
		t.Fatal(err)
	}
	const want = `NAME        POOL     STATE    JOB  MEMORY    LIMIT                      PEAK      CPU  RESTARTS  OOM  AGE  INSTANCE  PID  ISOLATION  LAST EXIT  IMAGE
default-2   default  busy     12   61.0 MiB  64.0 MiB (then 128 MiB)  62.0 MiB  99%  3         2    60s  a         77   cgroup v1  137 (oom)  app:1.4
default-10  default  idle     -    9.0 MiB   64.0 MiB                 -         0%   0         0    60m  a         -    -          -          -
default-2   default  waiting  -    -         -                        -         0%   0         0    -    b         -    -          -          -
`
	if diff := cmp.Diff(strings.Replace(want, "LIMIT                      PEAK", "LIMIT                    PEAK", 1), out.String()); diff != "" {
		t.Errorf("workers (-want +got):\n%s", diff)
	}
}

func TestWorkersInspect(t *testing.T) {
	f := newFakeService(t, map[string]any{"GET /v1/workers": crew()})
	got := f.run(t, "scanner", "workers", "inspect", "a/default-2")
	const want = `name: default-2
instance: a
pool: default
state: busy
pid: 77
isolation: cgroup v1
limit: 64.0 MiB (then 128 MiB)
memory: 61.0 MiB of 64.0 MiB (95%)
peak: 62.0 MiB of 64.0 MiB (97%)
cpu: 99%
job: 12
image: app:1.4
progress: layers 3/127  25% of 4.0 MiB  12,345 packages
layer: 5
file: srv/` + "\uFFFD" + `big.jar
restarts:
  crash: 1
  oom: 2
last_exit:
  exit_code: 137
  reason: oom
  job: 11
  kills: 1
  limit: 64.0 MiB
  peak: 64.0 MiB of 64.0 MiB (100%)
  message: out of memory
`
	var lines []string // without those that change with the clock
	for line := range strings.Lines(got.stdout) {
		if !strings.HasPrefix(line, "started: ") && !strings.HasPrefix(line, "  at: ") {
			lines = append(lines, line)
		}
	}
	if diff := cmp.Diff(want, strings.Join(lines, "")); diff != "" {
		t.Errorf("worker (-want +got):\n%s", diff)
	}
	f.run(t, "scanner", "workers", "inspect", "default-2").want(t, ExitFailed, "", "stella: 2 servers have a worker \"default-2\": say which one: a/default-2, b/default-2\n")
	f.run(t, "scanner", "workers", "inspect", "default-11").want(t, ExitFailed, "",
		"stella: there is no worker \"default-11\" among default-10, default-2, default-2; did you mean \"default-10\"?\n")
	if got := f.run(t, "scanner", "workers", "inspect", "a/default-2", "-o", "yaml"); !strings.Contains(got.stdout, "\n  exit_code: 137\n") {
		t.Errorf("YAML:\n%s", got.stdout)
	}
}

func TestPoolCommands(t *testing.T) {
	f := newFakeService(t, map[string]any{
		"PUT /v1/pools/large-images": scanner.PoolChange{
			Pool: scanner.Pool{Name: "large-images", Memory: 16 << 30, Count: 2}, Running: 1, Draining: []string{"large-images-0"}, Warnings: []string{"1 worker waits for memory"},
		},
		"DELETE /v1/pools/large-images": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }),
		"DELETE /v1/pools/default":      refuse(http.StatusConflict, "the pool default cannot be removed"),
		"POST /v1/workers/restart":      []scanner.PoolChange{{Pool: scanner.Pool{Name: "default"}, Restarted: 1, Draining: []string{"default-1"}}, {Pool: scanner.Pool{Name: "large"}}},
	})
	f.run(t, "scanner", "workers", "add", "--pool", "large-images", "--memory", "16Gi", "--count", "2").want(t, ExitOK,
		"pool large-images: 2 workers with 16.0 GiB each, 1 running\npool large-images: restarting when their scans end: large-images-0\n",
		"stella: warning: 1 worker waits for memory\n")
	f.run(t, "scanner", "workers", "remove", "--pool", "large-images").want(t, ExitOK, "pool large-images is removed\n", "")
	f.run(t, "scanner", "workers", "remove", "--pool", "default").want(t, ExitFailed, "", "stella: the pool default cannot be removed\n")
	f.run(t, "scanner", "workers", "restart").want(t, ExitOK,
		"pool default: 1 worker restarted\npool default: restarting when their scans end: default-1\npool large: 0 workers restarted\n", "")
	f.run(t, "scanner", "workers", "restart", "--pool", "large", "--now", "-q", "-o", "json")
	wantRequests(t, f,
		`PUT /v1/pools/large-images {"memory":17179869184,"count":2}`,
		`DELETE /v1/pools/large-images`,
		`DELETE /v1/pools/default`,
		`POST /v1/workers/restart {}`,
		`POST /v1/workers/restart {"pool":"large","now":true}`,
	)
}
