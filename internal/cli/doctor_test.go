package cli

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/doctor"
)

var sick = doctor.Report{State: doctor.Fail, At: noon, Checks: []doctor.Result{
	{ID: "check.scanner.disk", Title: "disk", Finding: doctor.Finding{State: doctor.OK, Summary: "12.0 GiB are free"}},
	{ID: "check.scanner.queue", Title: "queue", Finding: doctor.Finding{State: doctor.Unknown, Summary: "the database does not answer"}},
	{ID: "check.scanner.memory-usage", Title: "memory of workers", Finding: doctor.Finding{
		State: doctor.Fail, Summary: "app|1_4\n## was OOM-killed",
		Evidence: []doctor.Evidence{{What: "limit", Value: "64.0", Unit: "MiB", Source: "pool default"}, doctor.Count("OOM kills", 2, "incidents")},
		Cause:    "the image needs more memory", Fix: []string{"stella scanner config set worker.memory_limit 8Gi", "stella scanner workers restart"},
		Runbook: "runbooks/scanner-oom.md", Verify: "stella scan image app",
	}},
}}

func TestDoctorText(t *testing.T) {
	var out bytes.Buffer
	if err := writeDoctor(&out, &sick, false); err != nil {
		t.Fatal(err)
	}
	const want = `ok              check.scanner.disk (disk): 12.0 GiB are free
could not tell  check.scanner.queue (queue): the database does not answer
fail            check.scanner.memory-usage (memory of workers): app|1_4; ## was OOM-killed
                evidence: limit: 64.0 MiB (pool default)
                evidence: OOM kills: 2 (incidents)
                cause:    the image needs more memory
                fix:      stella scanner config set worker.memory_limit 8Gi
                fix:      stella scanner workers restart
                verify:   stella scan image app
                runbook:  runbooks/scanner-oom.md

3 checks: 1 ok, 1 could not tell, 1 fail
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	out.Reset()
	if err := writeDoctor(&out, &sick, true); err != nil || !strings.Contains(out.String(), "\x1b[31mfail          \x1b[0m  check.scanner.memory-usage") {
		t.Errorf("in colour: %v\n%q", err, out.String())
	}
}

func TestDoctorMarkdown(t *testing.T) {
	var out bytes.Buffer
	if err := writeDoctorMarkdown(&out, &sick); err != nil {
		t.Fatal(err)
	}
	const want = `# Stella doctor: fail

2026-11-21T12:00:00Z, 3 checks: 1 ok, 1 could not tell, 1 fail.

| check | state | found |
|---|---|---|
| check.scanner.disk | ok | 12.0 GiB are free |
| check.scanner.queue | could not tell | the database does not answer |
| check.scanner.memory-usage | fail | app\|1\_4; \#\# was OOM-killed |

## queue: could not tell

check.scanner.queue: the database does not answer

## memory of workers: fail

check.scanner.memory-usage: app\|1\_4; \#\# was OOM-killed

| evidence | value | source |
|---|---|---|
| limit | 64.0 MiB | pool default |
| OOM kills | 2 | incidents |

Likely cause: the image needs more memory

To fix it:

~~~sh
stella scanner config set worker.memory_limit 8Gi
stella scanner workers restart
~~~

To see whether that helped:

~~~sh
stella scan image app
~~~

Runbook: runbooks/scanner-oom.md
`
	if diff := cmp.Diff(strings.ReplaceAll(want, "~~~", "```"), out.String()); diff != "" {
		t.Errorf("Markdown (-want +got):\n%s", diff)
	}
}

func TestDoctorExitCodes(t *testing.T) {
	warn := doctor.Report{State: doctor.Warn, At: noon, Checks: []doctor.Result{{ID: "check.scanner.queue", Title: "queue", Finding: doctor.Finding{State: doctor.Warn, Summary: "long"}}}}
	f := newFakeService(t, map[string]any{"GET /v1/doctor": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch ids := r.URL.RawQuery; {
		case strings.Contains(ids, "memory"):
			writeJSON(w, sick)
		case strings.Contains(ids, "nosuch"):
			refuse(http.StatusUnprocessableEntity, `"nosuch": no such check`)(w, r)
		default:
			writeJSON(w, warn)
		}
	})})
	f.run(t, "doctor", "--format", "table").want(t, ExitOK, "CHECK                STATE  FOUND  FIX\ncheck.scanner.queue  warn   long   -\n", "")
	f.run(t, "doctor", "--check", "check.scanner.memory-usage", "--format", "table").want(t, ExitFailed,
		`CHECK                       STATE           FOUND                         FIX
check.scanner.disk          ok              12.0 GiB are free             -
check.scanner.queue         could not tell  the database does not answer  -
check.scanner.memory-usage  fail            app|1_4; ## was OOM-killed    stella scanner config set worker.memory_limit 8Gi && stella scanner workers restart
`, "stella: 1 check failed: check.scanner.memory-usage\n")
	f.run(t, "doctor", "--check", "nosuch").want(t, ExitUsage, "", "stella: \"nosuch\": no such check\n")
}

// Without a service the report is there, and says that nothing is known.
func TestDoctorWithoutService(t *testing.T) {
	got := runWith(t.Context(), t, map[string]string{"STELLA_SERVER": "unix:///nonexistent/s"}, "doctor", "--check", "check.scanner.disk")
	got.want(t, ExitFailed, `could not tell  check.scanner.disk (scanner service): the scanner service does not answer
                evidence: answer: no scanner service at unix:///nonexistent/s: the socket does not exist; start one with stella up, or give the address of one that runs (this command)
                cause:    it does not run, or listens elsewhere than --server and STELLA_SERVER say
                fix:      stella up
                verify:   stella scanner status

1 check: 1 could not tell
`, "stella: nothing could be checked, because the scanner service does not answer\n")
	if r := unreachable(nil, http.ErrServerClosed, time.Now()); r.State != doctor.Unknown || r.Checks[0].ID != "check.scanner" {
		t.Errorf("report is %+v", r)
	}
}
