package api_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"stella/internal/client"
	"stella/internal/doctor"
	"stella/internal/incident/book"
	"stella/internal/listen"
	"stella/internal/scan/sbom"
	"stella/internal/scanner"
	"stella/internal/server/api"
	"stella/internal/server/auth"
	"stella/internal/store"
)

// service is a small one: it remembers what it was asked, and answers with what a test gave it.
type service struct {
	mu    sync.Mutex
	calls []string // each with its caller and arguments
	err   error    // what every method returns, unless nil

	job    scanner.JobDetails
	events func(ctx context.Context, after int64, fn func(scanner.Event) error) error
	logs   func(ctx context.Context, f scanner.LogFilter, follow bool, fn func(scanner.LogLine) error) error
	sbom   func(ctx context.Context, w io.Writer) error
	submit func(ctx context.Context) error
}

func (s *service) called(format string, args ...any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, fmt.Sprintf(format, args...))
	return s.err
}

// count is how many calls there were.
func (s *service) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

// last is the last call.
func (s *service) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) == 0 {
		return ""
	}
	return s.calls[len(s.calls)-1]
}

func (s *service) Submit(ctx context.Context, by scanner.Caller, r scanner.Request) (scanner.Job, error) {
	err := s.called("Submit %v %+v", by, r)
	if s.submit != nil && err == nil {
		err = s.submit(ctx)
	}
	return s.job.Job, err
}

func (s *service) Job(_ context.Context, id int64) (scanner.JobDetails, error) {
	return s.job, s.called("Job %d", id)
}

func (s *service) Jobs(_ context.Context, f scanner.JobFilter) ([]scanner.Job, error) {
	return []scanner.Job{s.job.Job}, s.called("Jobs %+v", f)
}

func (s *service) Cancel(_ context.Context, by scanner.Caller, id int64) (scanner.Job, error) {
	return s.job.Job, s.called("Cancel %v %d", by, id)
}

func (s *service) Retry(_ context.Context, by scanner.Caller, id int64) (scanner.Job, error) {
	return s.job.Job, s.called("Retry %v %d", by, id)
}

func (s *service) Events(ctx context.Context, id, after int64, fn func(scanner.Event) error) error {
	if err := s.called("Events %d %d", id, after); err != nil || s.events == nil {
		return err
	}
	return s.events(ctx, after, fn)
}

func (s *service) SBOM(ctx context.Context, id int64, f sbom.Format, w io.Writer) error {
	if err := s.called("SBOM %d %v", id, f); err != nil || s.sbom == nil {
		return err
	}
	return s.sbom(ctx, w)
}

func (s *service) Workers(context.Context) ([]scanner.Worker, error) {
	return []scanner.Worker{{Name: "default-0", State: scanner.WorkerIdle, Limit: 64 << 20, Restarts: map[scanner.RestartReason]int64{scanner.RestartOOM: 1},
		LastExit: &scanner.Exit{ExitCode: 137, Reason: scanner.RestartOOM}}}, s.called("Workers")
}

func (s *service) RestartWorkers(_ context.Context, by scanner.Caller, r scanner.RestartRequest) ([]scanner.PoolChange, error) {
	return []scanner.PoolChange{{Pool: scanner.Pool{Name: "default"}, Restarted: 2}}, s.called("RestartWorkers %v %+v", by, r)
}

func (s *service) Pools(context.Context) ([]scanner.PoolStatus, error) { return nil, s.called("Pools") }

func (s *service) PutPool(_ context.Context, by scanner.Caller, p scanner.Pool) (scanner.PoolChange, error) {
	return scanner.PoolChange{Pool: p}, s.called("PutPool %v %+v", by, p)
}

func (s *service) RemovePool(_ context.Context, by scanner.Caller, name string) error {
	return s.called("RemovePool %v %s", by, name)
}

func (s *service) Settings(_ context.Context, key string) ([]scanner.Setting, error) {
	return []scanner.Setting{{Key: "worker.count", Value: "2"}}, s.called("Settings %q", key)
}

func (s *service) Set(_ context.Context, by scanner.Caller, key, value string) (scanner.SettingChange, error) {
	return scanner.SettingChange{Old: "1"}, s.called("Set %v %s=%s", by, key, value)
}

func (s *service) Unset(_ context.Context, by scanner.Caller, key string) (scanner.SettingChange, error) {
	return scanner.SettingChange{Old: "1"}, s.called("Unset %v %s", by, key)
}

func (s *service) Status(context.Context) (scanner.ServiceStatus, error) {
	return scanner.ServiceStatus{Version: "1", Store: "sqlite"}, s.called("Status")
}

func (s *service) Queue(context.Context) (scanner.QueueStatus, error) {
	return scanner.QueueStatus{Pending: 3}, s.called("Queue")
}

func (s *service) Stats(_ context.Context, last time.Duration) (scanner.Stats, error) {
	return scanner.Stats{Jobs: map[scanner.Status]int64{scanner.StatusFailed: 1}, Attempts: map[scanner.Outcome]int64{}}, s.called("Stats %v", last)
}

func (s *service) WorkerKills(_ context.Context, last time.Duration) ([]scanner.WorkerKill, error) {
	return []scanner.WorkerKill{{ID: "job-4", End: scanner.End{Kills: 1}, Action: "quarantined"}}, s.called("WorkerKills %v", last)
}

func (s *service) Logs(ctx context.Context, f scanner.LogFilter, follow bool, fn func(scanner.LogLine) error) error {
	if err := s.called("Logs %+v %v", f, follow); err != nil || s.logs == nil {
		return err
	}
	return s.logs(ctx, f, follow, fn)
}

func (s *service) Doctor(_ context.Context, checks []string) (doctor.Report, error) {
	return doctor.Report{State: doctor.Fail, Checks: []doctor.Result{{ID: "check.a", Finding: doctor.Finding{State: doctor.Fail, Evidence: []doctor.Evidence{doctor.Count("x", 1, "y")}}}}},
		s.called("Doctor %v", checks)
}

// running is a server with a service, for a test.
type running struct {
	*service
	keys      *auth.Keys
	incidents *book.Book
	log       *syncBuffer
	tcp       string // http://HOST:PORT
	socket    string // its path

	server  *http.Server
	serving sync.WaitGroup
}

// syncBuffer is a log.
type syncBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// start serves on loopback and on a Unix socket until the test ends.
func start(t *testing.T) *running {
	t.Helper()
	run := prepare(t)
	run.serve(t)
	return run
}

// prepare makes a server that listens nowhere yet.
func prepare(t *testing.T) *running {
	t.Helper()
	dir := t.TempDir()
	run := &running{service: &service{job: someJob()}, log: &syncBuffer{}, socket: filepath.Join(dir, "sock")}
	db, err := store.Open(t.Context(), store.Options{URL: "sqlite:" + filepath.Join(dir, "db"), Log: run.logger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if run.keys, err = auth.Open(t.Context(), db, run.logger()); err != nil {
		t.Fatal(err)
	}
	if run.incidents, err = book.Open(t.Context(), db, book.Options{Log: run.logger()}); err != nil {
		t.Fatal(err)
	}
	run.build(t)
	t.Cleanup(run.stop)
	return run
}

func (run *running) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(run.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// build makes the server that serves next.
func (run *running) build(t *testing.T) {
	t.Helper()
	a, err := api.New(api.Options{Service: run.service, Incidents: run.incidents, Keys: run.keys, Gate: auth.NewGate(run.keys), Version: "9.9", Log: run.logger()})
	if err != nil {
		t.Error(err)
		return
	}
	run.server = a.Server()
}

// serve listens on the socket, and on a port of its own.
func (run *running) serve(t *testing.T) {
	t.Helper()
	tcp, err := listen.TCP(t.Context(), listen.TCPOptions{Address: "127.0.0.1:0"})
	if err != nil {
		t.Error(err)
		return
	}
	run.tcp = "http://" + tcp.Addr().String()
	unix, err := listen.Unix(t.Context(), run.socket, "")
	if err != nil {
		t.Error(err)
		return
	}
	run.listen(tcp)
	run.listen(unix)
}

func (run *running) listen(l net.Listener) {
	server := run.server
	run.serving.Go(func() { server.Serve(l) })
}

// stop ends the server at once, as a crash would.
func (run *running) stop() {
	run.server.Close()
	run.serving.Wait()
}

// key makes a key with a scope.
func (run *running) key(t *testing.T, scope scanner.Scope) string {
	t.Helper()
	key, err := run.keys.Create(t.Context(), scanner.Caller{Name: "test"}, scanner.KeyRequest{Name: "key-" + string(scope), Scope: scope})
	if err != nil {
		t.Fatal(err)
	}
	return key.Secret
}

// client talks to the server through its socket.
func (run *running) client(t *testing.T) *client.Client {
	t.Helper()
	return newClient(t, client.Options{Address: "unix://" + run.socket, UserAgent: "test"})
}

func newClient(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func someJob() scanner.JobDetails {
	code := 137
	now := time.Date(2026, 1, 17, 12, 0, 0, 123456000, time.UTC)
	return scanner.JobDetails{
		Job: scanner.Job{
			ID: 7, Image: "debian:12", Target: scanner.Target{Digest: "sha256:ab", Size: 1 << 30, Layers: 3}, Status: scanner.StatusSucceeded,
			Pool: "large", Attempts: 2, Requests: 1, Timeout: scanner.Duration(90 * time.Second), Submitted: now, Started: now, Ended: now,
			Result: &scanner.Result{Inventory: "sha256:cd", Size: 100, Components: 5},
		},
		History:   []scanner.Attempt{{Job: 7, Number: 1, Pool: "default", Worker: "default-0", Limit: 64 << 20, Started: now, Outcome: scanner.OutcomeOOM, End: scanner.End{ExitCode: &code, Kills: 1, Message: "killed"}}},
		Incidents: []scanner.WorkerKill{{ID: "job-7", At: now, Job: 7, Number: 1, End: scanner.End{Kills: 1, Progress: scanner.Progress{Layer: 2, Path: "a"}}, Action: "re-routed"}},
		Events:    []scanner.Event{{ID: 11, Job: 7, At: now, Kind: scanner.EventSubmitted, Status: scanner.StatusPending}, {ID: 15, Job: 7, At: now, Kind: scanner.EventEnded, Status: scanner.StatusSucceeded}},
	}
}

// do sends a request as curl would; the key may be empty.
func (run *running) do(t *testing.T, method, path, key, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, run.tcp+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}
