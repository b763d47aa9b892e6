package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scanner"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

// killed is a job that was OOM-killed twice.
var killed = scanner.JobDetails{
	Job: scanner.Job{
		ID: 12, Image: "registry.example/team/app:1.4", Target: scanner.Target{Digest: "sha256:0123456789abcdef", Size: 3 << 30, Layers: 127},
		Status: scanner.StatusFailed, Reason: "oom", Message: "killed for want of memory in the largest pool (64Mi)", Pool: "default", Attempts: 2, Requests: 3,
		Submitted: noon.Add(-10 * time.Minute), Started: noon.Add(-9 * time.Minute), Ended: noon.Add(-8*time.Minute - 30*time.Second),
	},
	History: []scanner.Attempt{{
		Job: 12, Number: 1, Pool: "default", Worker: "default-0", Limit: 48 << 20, Started: noon.Add(-9 * time.Minute), Ended: noon.Add(-9*time.Minute + 2*time.Second), Outcome: scanner.OutcomeOOM,
		End: scanner.End{ExitCode: ptr(137), Kills: 1, Peak: 48 << 20, Progress: scanner.Progress{Layers: 127, Layer: 3, Path: "usr/lib/big.jar"}, Message: "out of memory"},
	}, {
		Job: 12, Number: 2, Pool: "default", Worker: "default-1", Limit: 64 << 20, Started: noon.Add(-8*time.Minute - 40*time.Second),
	}},
	Events:     []scanner.Event{{ID: 40, Job: 12, At: noon.Add(-9 * time.Minute), Kind: scanner.EventOOM, Message: "attempt 1 was killed"}},
	Quarantine: &scanner.Quarantine{Limit: 64 << 20, Incident: "job-7", At: noon.Add(-8 * time.Minute)},
}

func TestJobsTable(t *testing.T) {
	jobs := []scanner.Job{killed.Job, {
		ID: 11, Image: "debian:12", Target: scanner.Target{Size: -1, Layers: 1}, Status: scanner.StatusSucceeded, Pool: "default", Attempts: 1, Requests: 1,
		Submitted: noon.Add(-3 * time.Hour), Started: noon.Add(-3 * time.Hour), Ended: noon.Add(-3*time.Hour + 1500*time.Millisecond), Result: &scanner.Result{Problems: 2},
	}, {ID: 10, Image: "app", Status: scanner.StatusPending, Pool: "large", Submitted: noon.Add(-5 * time.Second)}}
	for _, tt := range []struct {
		wide  bool
		width int
		want  string
	}{
		{false, 0, `
ID  IMAGE                          STATUS               REASON  POOL     ATTEMPTS  AGE  TOOK
12  registry.example/team/app:1.4  failed               oom     default  2         10m  30s
11  debian:12                      succeeded (partial)  -       default  1         3h   1.5s
10  app                            pending              -       large    0         5s   -
`},
		{false, 80, `
ID  IMAGE              STATUS               REASON  POOL     ATTEMPTS  AGE  TOOK
12  registry…/app:1.4  failed               oom     default  2         10m  30s
11  debian:12          succeeded (partial)  -       default  1         3h   1.5s
10  app                pending              -       large    0         5s   -
`},
		{true, 0, `
ID  IMAGE                          STATUS               REASON  POOL     ATTEMPTS  AGE  TOOK  SIZE     LAYERS  DIGEST               REQUESTS  MESSAGE
12  registry.example/team/app:1.4  failed               oom     default  2         10m  30s   3.0 GiB  127     sha256:0123456789ab  3         killed for want of memory in the largest pool (64Mi)
11  debian:12                      succeeded (partial)  -       default  1         3h   1.5s  -        1       -                    1         -
10  app                            pending              -       large    0         5s   -     0 B      0       -                    0         -
`},
	} {
		var out bytes.Buffer
		if err := jobRows(jobs, noon, tt.wide).write(&out, tt.width, "…"); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want[1:], out.String()); diff != "" {
			t.Errorf("wide %v, width %d (-want +got):\n%s", tt.wide, tt.width, diff)
		}
	}
}

func TestJobDetailsText(t *testing.T) {
	var out bytes.Buffer
	if err := writeJob(&out, &killed, noon, 0, "…"); err != nil {
		t.Fatal(err)
	}
	const want = `Job:         12
Image:       registry.example/team/app:1.4
Digest:      sha256:0123456789abcdef
Size:        3.0 GiB, 127 layers
Status:      failed
Reason:      oom
Message:     killed for want of memory in the largest pool (64Mi)
Pool:        default
Requests:    3
Submitted:   2026-11-21T11:50:00Z (10m ago)
Started:     2026-11-21T11:51:00Z (9m ago)
Ended:       2026-11-21T11:51:30Z (8m ago)
Quarantine:  since 2026-11-21T11:52:00Z (8m ago): killed in 64.0 MiB (incident job-7); stella scanner job retry 12 takes it out

ATTEMPT  OUTCOME  EXIT  KILLS  POOL     WORKER     LIMIT     PEAK      TOOK  LAYER  FILE
1        oom      137   1      default  default-0  48.0 MiB  48.0 MiB  2s    3      usr/lib/big.jar
2        running  -     0      default  default-1  64.0 MiB  -         8m    -      -
attempt 1: out of memory

TIME                  EVENT  MESSAGE
2026-11-21T11:51:00Z  oom    attempt 1 was killed
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("details (-want +got):\n%s", diff)
	}
}

func TestJobCommands(t *testing.T) {
	again := scanner.Job{ID: 12, Image: "app", Status: scanner.StatusPending, Pool: "large"}
	f := newFakeService(t, map[string]any{
		"GET /v1/jobs/12":         killed,
		"POST /v1/jobs/12/retry":  again,
		"POST /v1/jobs/12/cancel": refuse(http.StatusConflict, "job 12 has ended"),
		"GET /v1/jobs/13":         refuse(http.StatusNotFound, "there is no job 13"),
	})
	f.run(t, "scanner", "job", "retry", "12").want(t, ExitOK, "job 12 (app) is pending, in pool large\n", "")
	f.run(t, "scanner", "job", "cancel", "12").want(t, ExitFailed, "", "stella: job 12 has ended\n")
	f.run(t, "scanner", "job", "details", "13").want(t, ExitFailed, "", "stella: there is no job 13\n")
	var details scanner.JobDetails
	got := f.run(t, "scanner", "job", "details", "12", "-o", "json")
	if err := json.Unmarshal([]byte(got.stdout), &details); err != nil || *details.History[0].ExitCode != 137 {
		t.Errorf("details as JSON: %v, %s", err, got.stdout)
	}
	if got := f.run(t, "scanner", "job", "details", "12", "-o", "yaml"); !strings.Contains(got.stdout, "\n    exitCode: 137\n") {
		t.Errorf("details as YAML:\n%s", got.stdout)
	}
}

// --limit crosses pages, and says when there is more.
func TestJobsListPages(t *testing.T) {
	const last = 1200 // IDs count down to 1
	f := newFakeService(t, map[string]any{"GET /v1/jobs": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit, _ := strconv.Atoi(r.FormValue("limit"))
		before, err := strconv.Atoi(r.FormValue("before"))
		if err != nil {
			before = last + 1
		}
		page := []scanner.Job{}
		for id := before - 1; id > 0 && len(page) < limit; id-- {
			page = append(page, scanner.Job{ID: int64(id)})
		}
		json.NewEncoder(w).Encode(page)
	})})
	for _, tt := range []struct {
		limit, want int
		more        bool
	}{{1, 1, true}, {500, 500, true}, {1100, 1100, true}, {1200, 1200, false}, {5000, 1200, false}} {
		got := f.run(t, "scanner", "jobs", "list", "-o", "json", "--limit", strconv.Itoa(tt.limit))
		var jobs []scanner.Job
		if err := json.Unmarshal([]byte(got.stdout), &jobs); err != nil {
			t.Fatalf("%v: %s", err, got.stderr)
		}
		if len(jobs) != tt.want || jobs[len(jobs)-1].ID != int64(last-tt.want+1) {
			t.Errorf("limit %d: %d jobs, the last is %d", tt.limit, len(jobs), jobs[len(jobs)-1].ID)
		}
		if more := strings.Contains(got.stderr, "--limit shows more"); more != tt.more {
			t.Errorf("limit %d: standard error is %q", tt.limit, got.stderr)
		}
	}
}

func TestJobsListFilter(t *testing.T) {
	f := newFakeService(t, map[string]any{"GET /v1/jobs": []scanner.Job{}})
	start := time.Now()
	got := f.run(t, "scanner", "jobs", "list", "--status", "failed,timeout", "--last", "1h", "--image", "deb", "--pool", "large")
	got.want(t, ExitOK, "", "stella: no such jobs\n")
	asked := f.requests()[0]
	for _, want := range []string{"status=failed%2Ctimeout", "image=deb", "pool=large", "limit=101", "since=" + start.Add(-time.Hour).UTC().Format("2006-01-02T15")} {
		if !strings.Contains(asked, want) {
			t.Errorf("asked %s; want %s in it", asked, want)
		}
	}
	f.run(t, "scanner", "jobs", "list", "-o", "json", "-q").want(t, ExitOK, "[]\n", "")
	f.run(t, "scanner", "jobs", "list", "-o", "yaml", "-q").want(t, ExitOK, "[]\n", "")
}
