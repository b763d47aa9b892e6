package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stella/internal/client"
	"stella/internal/scanner"
	"stella/internal/server/auth"
	"stella/internal/store"
)

// options are of a server whose workers cannot start, which does not matter to it.
func options(t *testing.T) Options {
	t.Helper()
	dir := t.TempDir()
	worker := filepath.Join(dir, "no-stella")
	if err := os.WriteFile(worker, []byte("#!/bin/false\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return Options{
		Version: "1.2.3", DataDir: filepath.Join(dir, "data"), Socket: filepath.Join(dir, "run", "s"), Worker: worker,
		Instance: "here", Log: slog.New(slog.DiscardHandler),
	}
}

// run starts a server and returns when it is ready; the function it returns ends it.
func run(t *testing.T, o Options) (end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- Run(ctx, o, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("the server ended: %v", err)
	}
	end = func() error {
		cancel()
		err := <-done
		done <- nil
		return err
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Errorf("end: %v", err)
		}
	})
	return end
}

// briefly runs a server that should not become ready, and ends it if it does.
func briefly(t *testing.T, o Options) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	return Run(ctx, o, func() {
		t.Error("a second server became ready")
		cancel()
	})
}

func connect(t *testing.T, o Options) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{Address: "unix://" + o.Socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestRun(t *testing.T) {
	o := options(t)
	end := run(t, o)
	c := connect(t, o)
	status, err := c.Status(t.Context())
	if err != nil || status.Version != "1.2.3" || status.Store != "sqlite" || len(status.Instances) != 1 || !status.Instances[0].Alive {
		t.Errorf("%+v, %v", status, err)
	}
	if _, err := c.Set(t.Context(), "worker.count", "1"); err != nil {
		t.Fatal(err)
	}

	// A second one is refused, and says by what; the first goes on.
	second := o
	second.Socket += "2"
	if err := briefly(t, second); !errors.Is(err, store.ErrLocked) {
		t.Errorf("a second server on the same data: %v; want that it is locked", err)
	}
	second = options(t)
	second.Socket = o.Socket
	if err := briefly(t, second); err == nil || !strings.Contains(err.Error(), o.Socket) {
		t.Errorf("a second server on the same socket: %v; want the socket named", err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("the first server: %v", err)
	}

	if err := end(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context()); !errors.Is(err, client.ErrNoServer) {
		t.Errorf("after the end: %v; want that nobody is there", err)
	}
	// What was set is still set, and a log is there.
	run(t, o)
	settings, err := c.Settings(t.Context(), "worker.count")
	if err != nil || settings[0].Value != "1" || !strings.HasPrefix(settings[0].Origin, "set by uid ") {
		t.Errorf("%+v, %v; want the value that was set", settings, err)
	}
	lines := 0
	err = c.Logs(t.Context(), scanner.LogFilter{Text: "ready", Tail: 10}, false, func(scanner.LogLine) error { lines++; return nil })
	if err != nil || lines != 2 {
		t.Errorf("%d lines of two starts (%v)", lines, err)
	}
	report, err := c.Doctor(t.Context(), nil)
	if err != nil || len(report.Checks) != 4 {
		t.Errorf("%+v, %v; want four checks", report, err)
	}
	if _, err := c.Doctor(t.Context(), []string{"check.nothing"}); !errors.Is(err, scanner.ErrInvalid) {
		t.Errorf("an unknown check: %v; want it refused", err)
	}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"--data-dir is needed":    func(o *Options) { o.DataDir = "" },
		"--store: write sqlite":   func(o *Options) { o.Store = "mysql://x" },
		"nobody could reach":      func(o *Options) { o.Socket = "" },
		"belong together":         func(o *Options) { o.TLSCert = "x" },
		"there is no program":     func(o *Options) { o.Worker = "" },
		"there are only":          func(o *Options) { o.WorkerMemory = 1 << 50 },
		"from other machines":     func(o *Options) { o.Listen = "0.0.0.0:0" },
		"be reached from other":   func(o *Options) { o.Admin = "0.0.0.0:0" },
		"mkdir /proc/nobody":      func(o *Options) { o.DataDir = "/proc/nobody/x" },
		"name a registry as HOST": func(o *Options) { o.AllowRegistries = []string{"http://x"} },
	} {
		o := options(t)
		change(&o)
		ctx, cancel := context.WithCancel(t.Context())
		err := Run(ctx, o, cancel)
		cancel()
		if err == nil {
			t.Errorf("%q: no error", want)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

func TestNoPasswordOnTheCommandLine(t *testing.T) {
	if err := CheckFlag("postgres://stella:geheim@db/stella"); err == nil || strings.Contains(err.Error(), "geheim") {
		t.Errorf("%v; want it refused, and not shown", err)
	}
	for _, store := range []string{"", "sqlite:/x", "postgres://stella@db/stella"} {
		if err := CheckFlag(store); err != nil {
			t.Errorf("%s: %v", store, err)
		}
	}
}

// Beyond loopback, metrics and profiles are for who has a key.
func TestAdminWantsAKey(t *testing.T) {
	db, err := store.Open(t.Context(), store.Options{URL: "sqlite:" + filepath.Join(t.TempDir(), "db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	keys, err := auth.Open(t.Context(), db, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	secret := map[scanner.Scope]string{}
	for _, scope := range []scanner.Scope{scanner.ScopeRead, scanner.ScopeAdmin} {
		key, err := keys.Create(t.Context(), scanner.Caller{Name: "test"}, scanner.KeyRequest{Name: string(scope), Scope: scope})
		if err != nil {
			t.Fatal(err)
		}
		secret[scope] = key.Secret
	}
	server := httptest.NewServer(withKey(auth.NewGate(keys), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })))
	defer server.Close()
	for _, c := range []struct {
		path string
		key  string
		want int
	}{
		{"/livez", "", 200},
		{"/readyz/store", "", 200},
		{"/metrics", "", 401},
		{"/metrics", "wrong", 401},
		{"/metrics", secret[scanner.ScopeRead], 200},
		{"/debug/pprof/heap", "", 401},
		{"/debug/pprof/heap", secret[scanner.ScopeRead], 403},
		{"/debug/pprof/heap", secret[scanner.ScopeAdmin], 200},
		{"/livez/../metrics", "", 401},
		{"//metrics", "", 401},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+c.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if c.key != "" {
			req.Header.Set("Authorization", "Bearer "+c.key)
		}
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != c.want {
			t.Errorf("%s with %q: %d; want %d", c.path, c.key[:min(len(c.key), 8)], res.StatusCode, c.want)
		}
	}
}

func TestWorkerMemory(t *testing.T) {
	all, err := workerMemory(0)
	if err != nil || all < 64<<20 {
		t.Fatalf("%d, %v", all, err)
	}
	if got, err := workerMemory(all); err != nil || got != all {
		t.Errorf("%d, %v; want what was asked for", got, err)
	}
	if _, err := workerMemory(all * 10); err == nil || !strings.Contains(err.Error(), "there are only") {
		t.Errorf("more than there is: %v", err)
	}
}

// What is opened later is closed earlier, and all of it.
func TestClosers(t *testing.T) {
	var order []string
	var end closers
	for _, name := range []string{"a", "b", "c"} {
		end.add(name, func() error { order = append(order, name); return errors.New("broken " + name) })
	}
	err := end.close()
	if strings.Join(order, "") != "cba" {
		t.Errorf("closed %v", order)
	}
	for _, name := range []string{"close the a: broken a", "broken b", "broken c"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v; want %q", err, name)
		}
	}
}
