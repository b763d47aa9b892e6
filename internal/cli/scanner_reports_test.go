package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scanner"
	"stella/internal/sse"
)

func TestStatusText(t *testing.T) {
	var out bytes.Buffer
	err := writeStatus(&out, &scanner.ServiceStatus{
		Version: "1.2.3", Store: "sqlite", Isolation: "cgroup v2", Memory: 8 << 30, Reserved: 128 << 20, Pending: 1234, Running: 2, Incidents: 3,
		Instances: []scanner.Instance{{Name: "host-a", Host: "a", Version: "1.2.3", Started: noon.Add(-3 * day), Seen: noon.Add(-time.Second), Alive: true}},
		Pools: []scanner.PoolStatus{
			{Pool: scanner.Pool{Name: "default", Memory: 64 << 20, Count: 2}, Idle: 1, Busy: 1, Pending: 1234},
			{Pool: scanner.Pool{Name: "large", Memory: 16 << 30, Count: 1}, Waiting: 1},
		},
	}, noon, 0, "…")
	if err != nil {
		t.Fatal(err)
	}
	const want = `Version:    1.2.3
Store:      sqlite
Isolation:  cgroup v2
Workers:    1 idle, 1 busy, 1 waiting for memory
Memory:     128 MiB of 8.0 GiB given to workers
Jobs:       1,234 pending, 2 running
OOM kills:  3 in the last hour

POOL     MEMORY    COUNT  IDLE  BUSY  WAITING  PENDING
default  64.0 MiB  2      1     1     0        1,234
large    16.0 GiB  1      0     0     1        0

SERVER  ALIVE  HOST  VERSION  AGE  SEEN
host-a  yes    a     1.2.3    3d   1s
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func TestQueueAndStats(t *testing.T) {
	f := newFakeService(t, map[string]any{
		"GET /v1/queue": scanner.QueueStatus{Pending: 12, Running: 2, Oldest: 600, Pools: []scanner.QueuePool{
			{Pool: "default", Pending: 12, Delayed: 3, Running: 1, Oldest: 600}, {Pool: "large", Running: 1},
		}},
		"GET /v1/stats": scanner.Stats{
			Since: noon, Jobs: map[scanner.Status]int64{scanner.StatusFailed: 1, scanner.StatusSucceeded: 12345}, Attempts: map[scanner.Outcome]int64{scanner.OutcomeOOM: 2},
			Incidents: 2, Results: 12345, ResultBytes: 3 << 20, MeanSeconds: 1.5, MaxSeconds: 90, MaxPeak: 64 << 20,
		},
	})
	f.run(t, "scanner", "queue", "status").want(t, ExitOK, `POOL     PENDING  DELAYED  RUNNING  OLDEST
default  12       3        1        10m
large    0        0        1        -
(all)    12       3        2        10m
`, "")
	f.run(t, "scanner", "stats", "--last", "7d").want(t, ExitOK, `Since:           2026-11-21T12:00:00Z
Jobs:            12,345 succeeded, 1 failed
Attempts:        2 oom
OOM kills:       2
In quarantine:   0
Results:         12,345, 3.0 MiB
Time of a scan:  1.5s on average, 1m30s at most
Highest memory:  64.0 MiB
`, "")
	wantRequests(t, f, "GET /v1/queue", "GET /v1/stats?last=168h")
}

func TestIncidents(t *testing.T) {
	f := newFakeService(t, map[string]any{"GET /v1/workers/kills": []scanner.WorkerKill{}})
	f.run(t, "scanner", "incidents", "list").want(t, ExitOK, "", "stella: no worker was OOM-killed\n")
	f.run(t, "scanner", "incidents", "list", "-o", "json", "-q").want(t, ExitOK, "[]\n", "")

	var out bytes.Buffer
	incidents := []scanner.WorkerKill{{ID: "job-12", At: noon.Add(-time.Hour), Job: 12, Number: 1, Image: "app:1.4", Pool: "default", Worker: "default-0", Limit: 48 << 20, End: killed.History[0].End, Action: "re-routed to pool large (16Gi)"}}
	if err := incidentRows(incidents, noon, false).write(&out, 0, "…"); err != nil {
		t.Fatal(err)
	}
	const want = `ID      IMAGE    AGE  JOB  POOL     LIMIT     PEAK      EXIT  ACTION                          LAYER  FILE
job-12  app:1.4  60m  12   default  48.0 MiB  48.0 MiB  137   re-routed to pool large (16Gi)  3      usr/lib/big.jar
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("incidents (-want +got):\n%s", diff)
	}
}

var logLines = []scanner.LogLine{
	{ID: 1, At: noon, Level: "warn", Source: "worker", Worker: "default-0", Job: 12, Attempt: 1, Message: "out of memory limit=64Mi"},
	{ID: 2, At: noon.Add(time.Millisecond), Level: "error", Source: "stderr", Worker: "default-0", Message: "fatal error: runtime: out of memory\n\x1b[2J"},
}

func TestLogs(t *testing.T) {
	f := newFakeService(t, map[string]any{"GET /v1/logs": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for _, l := range logLines {
			json.NewEncoder(w).Encode(l)
		}
	})})
	f.run(t, "scanner", "logs", "--filter", "out of memory", "--level", "debug", "--tail", "100", "--job", "12").want(t, ExitOK,
		"2026-11-21T12:00:00.000Z WARN  worker default-0 job=12 attempt=1: out of memory limit=64Mi\n"+
			"2026-11-21T12:00:00.001Z ERROR stderr default-0: fatal error: runtime: out of memory; \uFFFD[2J\n", "")
	wantRequests(t, f, "GET /v1/logs?job=12&level=debug&tail=100&text=out+of+memory")
	got := f.run(t, "scanner", "logs", "-o", "json")
	if lines := strings.Split(strings.TrimSpace(got.stdout), "\n"); len(lines) != 2 || !json.Valid([]byte(lines[1])) {
		t.Errorf("JSON is one object a line: %q", got.stdout)
	}
}

// --follow shows a line when it is there, and ends without a word when it is interrupted.
func TestLogsFollow(t *testing.T) {
	f := newFakeService(t, map[string]any{"GET /v1/logs": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sse.Serve(w, r, nil, func(ctx context.Context, send func(sse.Event) error) error {
			data, _ := json.Marshal(logLines[0])
			send(sse.Event{ID: "1", Data: data})
			<-ctx.Done()
			return nil
		})
	})})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := writerFunc(func(p []byte) (int, error) {
		if strings.Contains(string(p), "out of memory") {
			cancel()
		}
		return len(p), nil
	})
	var stderr bytes.Buffer
	code := Main(ctx, Options{Args: []string{"scanner", "logs", "--follow", "--server", f.address}, Stdout: out, Stderr: &stderr, Getenv: func(string) string { return "" }})
	if code != ExitOK || stderr.Len() > 0 {
		t.Errorf("exit %d, %q", code, stderr.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestKeys(t *testing.T) {
	f := newFakeService(t, map[string]any{
		"POST /v1/keys": scanner.NewKey{Key: scanner.Key{Name: "ci", Scope: scanner.ScopeScan, Expires: noon}, Secret: "stl_secret"},
		"GET /v1/keys":  []scanner.Key{},
		"DELETE /v1/keys/ci": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNoContent)
		}),
		"DELETE /v1/keys/cd": refuse(http.StatusForbidden, "this key has the scope read; admin is needed"),
	})
	f.run(t, "keys", "create", "ci", "--scope", "scan", "--expires", "90d").want(t, ExitOK, "stl_secret\n",
		"stella: key ci may scan, until 2026-11-21T12:00:00Z; its secret is shown this once\n")
	f.run(t, "keys", "revoke", "ci").want(t, ExitOK, "key ci is revoked\n", "")
	f.run(t, "keys", "revoke", "cd").want(t, ExitAuth, "", "stella: this key has the scope read; admin is needed\n")
	wantRequests(t, f, `POST /v1/keys {"name":"ci","scope":"scan","ttl":"2160h"}`, "DELETE /v1/keys/ci", "DELETE /v1/keys/cd")

	var out bytes.Buffer
	err := keyRows([]scanner.Key{
		{Name: "ci", Scope: scanner.ScopeScan, By: "uid 0", Created: noon.Add(-3 * day), Expires: noon.Add(time.Hour), Used: noon.Add(-2 * time.Hour)},
		{Name: "old", Scope: scanner.ScopeRead, By: "key ci", Created: noon.Add(-90 * day), Expires: noon},
	}, noon).write(&out, 0, "…")
	if err != nil {
		t.Fatal(err)
	}
	const want = `NAME  SCOPE  STATE    EXPIRES               USED    AGE  BY
ci    scan   valid    2026-11-21T13:00:00Z  2h ago  3d   uid 0
old   read   expired  2026-11-21T12:00:00Z  never   90d  key ci
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}
