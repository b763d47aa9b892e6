package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scanner"
	"stella/internal/sse"
)

// fakeService answers the requests of the API that a test expects, over a Unix socket.
// What the wire looks like is tested where client and server are.
type fakeService struct {
	address string
	mux     *http.ServeMux

	mu    sync.Mutex
	asked []string // method, path and query, and behind it the body, or the last event that was seen
}

// newFakeService serves answers by "METHOD /path": a value is sent as JSON, an
// http.HandlerFunc is called.
func newFakeService(t *testing.T, answers map[string]any) *fakeService {
	t.Helper()
	f := &fakeService{mux: http.NewServeMux()}
	for pattern, answer := range answers {
		handler, ok := answer.(http.HandlerFunc)
		if !ok {
			handler = func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(answer) }
		}
		f.mux.HandleFunc(pattern, handler)
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(f)
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	f.address = "unix://" + socket
	return f
}

func (f *fakeService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.asked = append(f.asked, strings.TrimSpace(fmt.Sprintf("%s %s %s%s", r.Method, r.URL.RequestURI(), body, r.Header.Get("Last-Event-ID"))))
	f.mu.Unlock()
	f.mux.ServeHTTP(w, r)
}

func (f *fakeService) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// refuse is an answer that says no.
func refuse(status int, detail string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]any{"status": status, "detail": detail})
	}
}

// stream sends events and waits, unless the last of them ends the job.
func stream(events ...scanner.Event) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		sse.Serve(w, r, nil, func(ctx context.Context, send func(sse.Event) error) error {
			for _, e := range events {
				data, err := json.Marshal(e)
				if err != nil {
					return err
				}
				id := ""
				if e.ID > 0 {
					id = fmt.Sprint(e.ID)
				}
				if err := send(sse.Event{ID: id, Name: string(e.Kind), Data: data}); err != nil {
					return err
				}
				if e.Kind == scanner.EventEnded {
					return nil
				}
			}
			<-ctx.Done()
			return nil
		})
	}
}

// ran is what a command did.
type ran struct {
	stdout, stderr string
	code           ExitCode
}

// run runs a command with a service.
func (f *fakeService) run(t *testing.T, args ...string) ran {
	t.Helper()
	return runWith(t.Context(), t, map[string]string{"STELLA_SERVER": f.address}, args...)
}

func runWith(ctx context.Context, t *testing.T, env map[string]string, args ...string) ran {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := Main(ctx, Options{Args: args, Stdout: &stdout, Stderr: &stderr, Getenv: func(k string) string { return env[k] }, Version: "0.0.0"})
	return ran{stdout.String(), stderr.String(), code}
}

func (r ran) want(t *testing.T, code ExitCode, stdout, stderr string) {
	t.Helper()
	if diff := cmp.Diff(stdout, r.stdout); diff != "" {
		t.Errorf("standard output (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(stderr, r.stderr); diff != "" {
		t.Errorf("standard error (-want +got):\n%s", diff)
	}
	if r.code != code {
		t.Errorf("exit code is %d; want %d", r.code, code)
	}
}

func wantRequests(t *testing.T, f *fakeService, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, f.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestUsageBeforeAnyRequest(t *testing.T) {
	f := newFakeService(t, nil)
	for _, tt := range []struct{ args, want string }{
		{"scanner jobs lst", `did you mean "list"?`},
		{"scanner jobs list --status faild", `did you mean "failed"?`},
		{"scanner jobs list --limit 0", "--limit 0: must be 1 to 10000"},
		{"scanner jobs list --last 5x", "write a length of time as 90s, 30m, 24h or 7d"},
		{"scanner jobs list -o jsn", `did you mean "json"?`},
		{"scanner job details", "needs the ID of one job"},
		{"scanner job retry twelve", `"twelve" is no ID of a job`},
		{"scanner config get", "needs the key of a setting"},
		{"scanner config set worker.count", "needs a key and a value, but got 1 argument"},
		{"scanner config set worker.count -1", "put -- before a value that begins with a dash"},
		{"scanner workers add --memory 16Gi", "name the pool"},
		{"scanner workers add --pool large", "--memory 16Gi"},
		{"scanner workers add --pool large --memory -1", "no whole number of bytes above zero"},
		{"scanner workers add --pool large --memory 16Gi --count 0", "0 workers: must be 1 to 256"},
		{"scanner workers add --pool Large --memory 16Gi", `pool "Large" is no name of a pool`},
		{"scanner workers add --pool large --memory 1Mi", "is less than a worker needs"},
		{"scanner workers remove", "name the pool"},
		{"scanner workers inspect", "needs the name of a worker"},
		{"scanner workers stats --interval 1ms", "must be at least 100ms"},
		{"scanner logs --level inf", `did you mean "info"?`},
		{"scanner logs --tail 0", "--tail 0: must be 1 to 5000"},
		{"keys create ci --scope amin", `did you mean "admin"?`},
		{"keys create ci", `--scope "": choose read, scan, incidents, remedies or admin`},
		{"keys create CI --scope scan", `"CI" is no name of a key`},
		{"keys create ci --scope scan --expires 0d", "must be above 0"},
		{"scan get", "needs the ID of one job"},
		{"scan get 1 --progress no", "must be one of auto, tty, plain, none"},
		{"scan image app --local --retry", "--local is for a scan in this process, --retry for one by the scanner service"},
		{"scan image app --max-memory 1Gi --detach", "--max-memory is for a scan in this process, --detach for one"},
		{"scan image app --profile --server unix:///s", "--profile is for a scan in this process, --server for one"},
	} {
		got := f.run(t, strings.Fields(tt.args)...)
		if got.code != ExitUsage || !strings.Contains(got.stderr, tt.want) || got.stdout != "" {
			t.Errorf("%s: exit %d, %q; want exit 2 and %q", tt.args, got.code, got.stderr, tt.want)
		}
	}
	if asked := f.requests(); asked != nil {
		t.Errorf("the service was asked %q", asked)
	}
}

// Every kind of refusal has its exit code and its words.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		status int
		want   ExitCode
	}{
		{http.StatusUnprocessableEntity, ExitUsage},
		{http.StatusNotFound, ExitFailed},
		{http.StatusConflict, ExitFailed},
		{http.StatusUnauthorized, ExitAuth},
		{http.StatusForbidden, ExitAuth},
		{http.StatusInternalServerError, ExitFailed},
	} {
		f := newFakeService(t, map[string]any{"GET /v1/status": refuse(tt.status, "no, because")})
		got := f.run(t, "scanner", "status")
		if got.code != tt.want || !strings.Contains(got.stderr, "no, because") || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%d: exit %d, %q; want exit %d and the reason in one line", tt.status, got.code, got.stderr, tt.want)
		}
	}
}

func TestNoServer(t *testing.T) {
	t.Run("named", func(t *testing.T) {
		got := runWith(t.Context(), t, nil, "scanner", "status", "--server", "unix:///nonexistent/s")
		got.want(t, ExitFailed, "", "stella: no scanner service at unix:///nonexistent/s: the socket does not exist; start one with stella up, or give the address of one that runs\n")
	})
	t.Run("wrong address", func(t *testing.T) {
		got := runWith(t.Context(), t, map[string]string{"STELLA_SERVER": "localhost:80"}, "scanner", "status")
		if got.code != ExitFailed || !strings.Contains(got.stderr, "write unix:///PATH, https://HOST:PORT or http://HOST:PORT") {
			t.Errorf("exit %d, %q", got.code, got.stderr)
		}
	})
}
