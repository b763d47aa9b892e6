package telemetry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func get(t *testing.T, h http.Handler, target string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.RemoteAddr = "127.0.0.1:50000"
	h.ServeHTTP(w, r)
	body, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(body)
}

func TestHealth(t *testing.T) {
	var storeErr error
	h := NewScanner("1.2.3").Admin(
		[]Check{{"ping", func(context.Context) error { return nil }}},
		[]Check{{"ping", func(context.Context) error { return nil }}, {"store", func(context.Context) error { return storeErr }}},
	)
	expect := func(target string, code int, body string) {
		t.Helper()
		if c, b := get(t, h, target); c != code || b != body {
			t.Errorf("%s: %d %q, want %d %q", target, c, b, code, body)
		}
	}
	expect("/livez", 200, "ok")
	expect("/readyz", 200, "ok")
	expect("/readyz?verbose", 200, "[+]ping ok\n[+]store ok\nreadyz check passed\n")
	expect("/readyz/store", 200, "ok")
	storeErr = errors.New("the database\ndoes not answer")
	const failed = "[+]ping ok\n[-]store failed: the database does not answer\nreadyz check failed\n"
	expect("/readyz", 503, failed)
	expect("/readyz?verbose", 503, failed)
	expect("/readyz/store", 503, "[-]store failed: the database does not answer\nreadyz check failed\n")
	expect("/readyz/ping?verbose", 200, "[+]ping ok\nreadyz check passed\n")
	expect("/readyz?exclude=store&verbose", 200, "[+]ping ok\nreadyz check passed\n")
	expect("/livez?verbose", 200, "[+]ping ok\nlivez check passed\n")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz/store", nil)) // from 192.0.2.1
	if body := w.Body.String(); w.Code != 503 || body != "[-]store failed: reason withheld\nreadyz check failed\n" {
		t.Errorf("another machine is told %d %q", w.Code, body)
	}
	storeErr = errors.New(strings.Repeat("x", 10_000))
	if _, body := get(t, h, "/readyz"); len(body) > 2*maxReason {
		t.Errorf("an answer of %d bytes", len(body))
	}
	for _, target := range []string{"/readyz/nothing", "/healthz"} {
		if code, _ := get(t, h, target); code != 404 {
			t.Errorf("%s: %d", target, code)
		}
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/metrics", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST /metrics: %d", w.Code)
	}
}

// A store that does not answer at all makes the service not ready, in time.
func TestSlowCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewScanner("1.2.3").Admin(nil, []Check{{"store", func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}}})
		start := time.Now()
		code, body := get(t, h, "/readyz")
		if code != 503 || !strings.Contains(body, "no answer within 5s") || time.Since(start) != checkTime {
			t.Errorf("%d %q after %v", code, body, time.Since(start))
		}
	})
}

func TestAdminServesMetricsAndProfiles(t *testing.T) {
	s, _ := watched(t)
	h := s.Admin(nil, nil)
	for target, part := range map[string]string{
		"/metrics":                       `scanner_worker_restarts_total{pool="default",reason="oom"} 1`,
		"/debug/pprof/":                  "goroutine",
		"/debug/pprof/goroutine?debug=1": "goroutine profile",
		"/debug/pprof/cmdline":           "test",
	} {
		if code, body := get(t, h, target); code != 200 || !strings.Contains(body, part) {
			t.Errorf("%s: %d, without %q", target, code, part)
		}
	}
	if _, body := get(t, h, "/metrics"); !strings.Contains(body, `stella_build_info{goversion="go`) || !strings.Contains(body, "go_goroutines") || !strings.Contains(body, "process_resident_memory_bytes") {
		t.Error("/metrics says nothing of the program or the process")
	}
}
