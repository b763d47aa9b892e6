package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"stella/internal/scanner"
)

// jobAnswers are a service's answers about job 12, which is running at first, and
// after the events has ended as it says.
func jobAnswers(ended scanner.Job, events ...scanner.Event) map[string]any {
	ended.ID, ended.Image = 12, "app"
	var over atomic.Bool
	follow := stream(append(events, scanner.Event{ID: 99, Job: 12, Kind: scanner.EventEnded, Status: ended.Status})...)
	return map[string]any{
		"POST /v1/jobs": scanner.Job{ID: 12, Image: "app", Status: scanner.StatusPending, Pool: "default", Requests: 1},
		"GET /v1/jobs/12": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			d := scanner.JobDetails{Job: scanner.Job{ID: 12, Status: scanner.StatusRunning, Pool: "default"}, Events: []scanner.Event{{ID: 7}, {ID: 40}}}
			if over.Load() {
				d.Job = ended
			}
			json.NewEncoder(w).Encode(d)
		}),
		"GET /v1/jobs/12/events": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			over.Store(true)
			follow(w, r)
		}),
		"GET /v1/jobs/12/sbom": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "SBOM as %s\n", r.FormValue("format"))
		}),
	}
}

func succeeded(problems int) scanner.Job {
	return scanner.Job{Status: scanner.StatusSucceeded, Result: &scanner.Result{Components: 3, Problems: problems}}
}

func TestScanByService(t *testing.T) {
	f := newFakeService(t, jobAnswers(succeeded(0)))
	dir := t.TempDir()
	file := filepath.Join(dir, "app.cdx.json")
	got := f.run(t, "scan", "image", "app", "--platform", "linux/arm64", "--timeout", "30m", "--pool", "large", "--attach", "--retry",
		"-o", "table", "-o", "cyclonedx-json="+file, "--progress", "none")
	got.want(t, ExitOK, "SBOM as table\n", "")
	text, err := os.ReadFile(file)
	if err != nil || string(text) != "SBOM as cyclonedx-json@1.7\n" {
		t.Errorf("file has %q, %v", text, err)
	}
	asked := f.requests()
	if want := `POST /v1/jobs {"image":"app","platform":"linux/arm64","pool":"large","timeout":"30m","retry":true,"attach":true}`; asked[0] != want {
		t.Errorf("asked %s\nwant  %s", asked[0], want)
	}
	// What happened before is not told again.
	if want := "GET /v1/jobs/12/events 40"; asked[2] != want {
		t.Errorf("asked %s\nwant  %s", asked[2], want)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestScanByServiceEnds(t *testing.T) {
	oom := scanner.Event{ID: 50, Kind: scanner.EventOOM, Status: scanner.StatusPending, Message: "attempt 1 was OOM-killed in 48 MiB; re-routed to pool large"}
	for _, tt := range []struct {
		name   string
		ended  scanner.Job
		code   ExitCode
		stderr string
	}{
		{"partial", succeeded(2), ExitPartial, "stella: the result is partial: 2 places in the image could not be read\n"},
		{"oom", scanner.Job{Status: scanner.StatusFailed, Reason: "oom", Message: "no pool has more memory"}, ExitMemory,
			"stella: app was not scanned: job 12 ended as failed (oom): no pool has more memory; see: stella scanner job details 12\n"},
		{"refused", scanner.Job{Status: scanner.StatusFailed, Reason: "memory", Message: "needs 128 MiB"}, ExitMemory,
			"stella: app was not scanned: job 12 ended as failed (memory): needs 128 MiB; see: stella scanner job details 12\n"},
		{"quarantined", scanner.Job{Status: scanner.StatusFailed, Reason: "quarantined", Message: "killed before"}, ExitMemory,
			"stella: app was not scanned: job 12 ended as failed (quarantined): killed before; see: stella scanner job details 12\n"},
		{"error", scanner.Job{Status: scanner.StatusFailed, Reason: "error", Message: "digest is wrong"}, ExitFailed,
			"stella: app was not scanned: job 12 ended as failed (error): digest is wrong; see: stella scanner job details 12\n"},
		{"timeout", scanner.Job{Status: scanner.StatusTimeout}, ExitFailed,
			"stella: app was not scanned: job 12 ended as timeout; see: stella scanner job details 12\n"},
		{"cancelled", scanner.Job{Status: scanner.StatusCancelled}, ExitFailed,
			"stella: app was not scanned: job 12 ended as cancelled; see: stella scanner job details 12\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeService(t, jobAnswers(tt.ended, oom))
			stdout := ""
			if tt.code == ExitPartial {
				stdout = "SBOM as json@1\n"
			}
			f.run(t, "scan", "get", "12", "-o", "json", "--progress", "none").want(t, tt.code, stdout,
				"stella: job 12: attempt 1 was OOM-killed in 48 MiB; re-routed to pool large\n"+tt.stderr)
		})
	}
}

// A job that is tried again has ended before; that end is not the last.
func TestScanOfRetriedJob(t *testing.T) {
	answers := jobAnswers(succeeded(0))
	looks := 0
	final := answers["GET /v1/jobs/12"].(http.HandlerFunc)
	answers["GET /v1/jobs/12"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if looks++; looks == 2 { // tried again between its end and this look
			writeJSON(w, scanner.JobDetails{Job: scanner.Job{ID: 12, Status: scanner.StatusPending}})
			return
		}
		final(w, r)
	})
	f := newFakeService(t, answers)
	f.run(t, "scan", "image", "app", "-o", "json", "-q").want(t, ExitOK, "SBOM as json@1\n", "")
	if looks != 3 {
		t.Errorf("looked %d times; want 3", looks)
	}
}

func TestScanDetached(t *testing.T) {
	f := newFakeService(t, map[string]any{"POST /v1/jobs": scanner.Job{ID: 12, Requests: 3}})
	f.run(t, "scan", "image", "app", "--detach").want(t, ExitOK, "12\n",
		"stella: scanning by the service at "+f.address+"\nstella: job 12, which was asked for before and is shared\n")
}

// An interrupted command leaves the job running, and says how to go on.
func TestScanByServiceInterrupted(t *testing.T) {
	answers := jobAnswers(succeeded(0))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answers["GET /v1/jobs/12/events"] = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	f := newFakeService(t, answers)
	file := filepath.Join(t.TempDir(), "app.json")
	got := runWith(ctx, t, map[string]string{"STELLA_SERVER": f.address}, "scan", "image", "app", "-o", "json="+file, "--progress", "none")
	got.want(t, ExitInterrupted, "",
		"stella: interrupted; job 12 goes on: stella scan get 12 waits for its result, stella scanner job cancel 12 ends it\n")
	for _, asked := range f.requests() {
		if strings.Contains(asked, "cancel") {
			t.Errorf("the service was asked %s", asked)
		}
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("there is a file without a result")
	}
}

// Of a job that does not exist, nobody says that it goes on.
func TestGetOfNoJob(t *testing.T) {
	f := newFakeService(t, map[string]any{"GET /v1/jobs/12": refuse(http.StatusNotFound, "there is no job 12")})
	f.run(t, "scan", "get", "12", "--progress", "none").want(t, ExitFailed, "", "stella: there is no job 12\n")
}

// A result that breaks off leaves no file.
func TestResultBreaksOff(t *testing.T) {
	answers := jobAnswers(succeeded(0))
	answers["GET /v1/jobs/12/sbom"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "half")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	f := newFakeService(t, answers)
	dir := t.TempDir()
	got := f.run(t, "scan", "get", "12", "-o", "json="+filepath.Join(dir, "app.json"), "-q")
	if got.code != ExitFailed {
		t.Errorf("exit code is %d: %s", got.code, got.stderr)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Where a scan runs, and what is said of it.
func TestPlace(t *testing.T) {
	f := newFakeService(t, map[string]any{"POST /v1/jobs": scanner.Job{ID: 12}})
	runtimeDir := t.TempDir()
	if err := os.Mkdir(filepath.Join(runtimeDir, "stella"), 0o700); err != nil {
		t.Fatal(err)
	}
	socket := scanner.Socket(1, runtimeDir)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close() // the socket stays, and nobody listens
	if err := knock(t.Context(), endpoint{address: "unix://" + socket}); err == nil {
		t.Error("somebody answers at a socket that nobody listens on")
	}

	const missing = "dir:/nonexistent/root" // fails at once, so that the test is about the place alone
	for _, tt := range []struct {
		name   string
		server string
		args   string
		remote bool
		said   string
	}{
		{"named", f.address, "--detach", true, "stella: scanning by the service at " + f.address + "\n"},
		{"local", f.address, "--local", false, "stella: scanning in this process, because of --local\n"},
		{"process flag", f.address, "--no-cache", false, "stella: scanning in this process, because of --no-cache\n"},
		{"profile", f.address, "--profile-memory", false, "stella: scanning in this process, because of --profile-memory\n"},
		{"quiet", f.address, "--local -q", false, ""},
		{"no progress", f.address, "--local --progress none", false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			before := len(f.requests())
			got := runWith(t.Context(), t, map[string]string{"STELLA_SERVER": tt.server}, append([]string{"scan", "image", missing}, strings.Fields(tt.args)...)...)
			if said, _, _ := strings.Cut(got.stderr, "stella: opening"); !strings.HasPrefix(said, tt.said) || tt.said == "" && strings.Contains(said, "scanning") {
				t.Errorf("said %q; want %q", got.stderr, tt.said)
			}
			if remote := len(f.requests()) > before; remote != tt.remote {
				t.Errorf("asked the service: %v; want %v (%q)", remote, tt.remote, got.stderr)
			}
		})
	}
}

func TestServiceFlagsNeedAService(t *testing.T) {
	for _, socket := range sockets(func(string) string { return "" }) {
		if _, err := os.Stat(socket); err == nil {
			t.Skip("this machine has a scanner service")
		}
	}
	got := runWith(t.Context(), t, nil, "scan", "image", "app", "--retry")
	if got.code != ExitFailed || !strings.Contains(got.stderr, "--retry needs the scanner service: ") || !strings.Contains(got.stderr, "stella up") {
		t.Errorf("exit %d, %q", got.code, got.stderr)
	}
}

func TestAbsoluteRef(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"app.tar", "a:b"} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir("layout", 0o700); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		"debian:12":              "debian:12",
		"registry:layout":        "registry:layout",
		"host:5000/app@sha256:0": "host:5000/app@sha256:0",
		"layout":                 dir + "/layout",
		"layout:tag":             dir + "/layout:tag",
		"layout@sha256:0123":     dir + "/layout@sha256:0123",
		"a:b":                    dir + "/a:b",
		"./nothing":              dir + "/nothing",
		"/etc/../app.tar":        "/app.tar",
		"oci-archive:app.tar":    "oci-archive:" + dir + "/app.tar",
		"oci-dir:./layout:tag":   "oci-dir:" + dir + "/layout:tag",
		"dir:.":                  "dir:" + dir,
		"dir:":                   "dir:",
		"docker-archive:/x.tar":  "docker-archive:/x.tar",
	} {
		got, err := absoluteRef(ref)
		if err != nil || got != want {
			t.Errorf("absoluteRef(%q) = %q, %v; want %q", ref, got, err, want)
		}
	}
}
