package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"stella/internal/client"
	"stella/internal/scanner"
)

// wantProblem checks that an answer is a problem document with this status, and returns its detail.
func wantProblem(t *testing.T, resp *http.Response, status int) string {
	t.Helper()
	var p struct {
		Status        int
		Title, Detail string
	}
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		t.Errorf("%s: not a problem: %v", resp.Status, err)
		return ""
	}
	if resp.StatusCode != status || p.Status != status || p.Title == "" || p.Detail == "" || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s %s: %s with %+v as %q, want %d", resp.Request.Method, resp.Request.URL, resp.Status, p, resp.Header.Get("Content-Type"), status)
	}
	return p.Detail
}

// Each operation, with each scope and without a key: it is done where the scope is
// enough, and nothing reaches the service where it is not.
func TestScopes(t *testing.T) {
	run := start(t)
	d, _ := openAPI(t, run)
	keys := map[scanner.Scope]string{}
	for _, scope := range scanner.Scopes {
		if scope != scanner.ScopeRead {
			keys[scope] = run.key(t, scope)
		}
	}
	// The document was fetched with this one.
	read, err := run.keys.Create(t.Context(), scanner.Caller{}, scanner.KeyRequest{Name: "read", Scope: scanner.ScopeRead})
	if err != nil {
		t.Fatal(err)
	}
	keys[scanner.ScopeRead] = read.Secret
	counts := map[scanner.Scope]int{}
	for path, methods := range d.Paths {
		path = strings.NewReplacer("{id}", "7", "{name}", "a", "{key}", "worker.count").Replace(path)
		for method, op := range methods {
			counts[op.scope()]++
			before := run.count()
			wantProblem(t, run.do(t, strings.ToUpper(method), path, "", "{}"), http.StatusUnauthorized)
			for have, key := range keys {
				resp := run.do(t, strings.ToUpper(method), path, key, "{}")
				if !have.Includes(op.scope()) {
					if detail := wantProblem(t, resp, http.StatusForbidden); !strings.Contains(detail, string(op.scope())) {
						t.Errorf("%s %s: %q does not say which scope it needs", method, path, detail)
					}
					if run.count() != before {
						t.Errorf("%s %s with scope %s reached the service: %s", method, path, have, run.last())
					}
				} else if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden || resp.StatusCode >= 500 {
					t.Errorf("%s %s with scope %s: %s", method, path, have, resp.Status)
				}
				if path == "/v1/incidents/stream" { // which does not end
					resp.Body.Close()
				}
				_, _ = io.Copy(io.Discard, resp.Body) // streams reach the service behind their beginning
				before = run.count()
			}
		}
	}
	if counts[scanner.ScopeRead] < 12 || counts[scanner.ScopeScan] != 3 || counts[scanner.ScopeAdmin] < 8 {
		t.Errorf("operations by scope: %v", counts)
	}
}

// Requests that are nobody's.
func TestBadCredentials(t *testing.T) {
	run := start(t)
	good := run.key(t, scanner.ScopeAdmin)
	last := good[:len(good)-1] + string(good[len(good)-1]^1)
	for name, headers := range map[string][]string{
		"none":            nil,
		"empty":           {""},
		"no key":          {"Bearer "},
		"another scheme":  {"Basic " + good},
		"without scheme":  {good},
		"last character":  {"Bearer " + last},
		"a prefix":        {"Bearer " + good[:len(good)-1]},
		"with more":       {"Bearer " + good + "A"},
		"two":             {"Bearer " + good, "Bearer " + good},
		"a very long one": {"Bearer stella_" + strings.Repeat("a", 8<<10)},
		"an injection":    {"Bearer stella_' OR 1=1 --"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, run.tcp+"/v1/status?key="+good, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header["Authorization"] = headers
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			detail := wantProblem(t, resp, http.StatusUnauthorized)
			if strings.Contains(detail, good) || resp.Header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%q, %v", detail, resp.Header)
			}
		})
		resp.Body.Close()
	}
	if run.count() != 0 {
		t.Errorf("the service was called: %s", run.last())
	}
	if strings.Contains(run.log.String(), good) {
		t.Error("the log has the key")
	}
}

// Guessing is stopped before the database is asked; a key that was right before goes on to work.
func TestGuessing(t *testing.T) {
	run := start(t)
	good, other := run.key(t, scanner.ScopeRead), run.key(t, scanner.ScopeScan)
	if resp := run.do(t, "GET", "/v1/status", good, ""); resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	wrong := good[:len(good)-4] + "AAAA"
	var last *http.Response
	for range 25 {
		last = run.do(t, "GET", "/v1/status", wrong, "")
	}
	wantProblem(t, last, http.StatusTooManyRequests)
	if last.Header.Get("Retry-After") == "" {
		t.Error("nothing says when to come back")
	}
	if resp := run.do(t, "GET", "/v1/status", good, ""); resp.StatusCode != 200 {
		t.Errorf("a key that was right before: %s", resp.Status)
	}
	wantProblem(t, run.do(t, "GET", "/v1/status", other, ""), http.StatusTooManyRequests)
	if _, err := run.client(t).Status(t.Context()); err != nil {
		t.Errorf("on the socket: %v", err)
	}
}

// On the socket the kernel says who it is; a key says it better.
func TestPeers(t *testing.T) {
	run := start(t)
	if _, err := run.client(t).Set(t.Context(), "worker.count", "1"); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("Set {uid %d true} worker.count=1", os.Geteuid()); run.last() != want {
		t.Errorf("the service saw %q, want %q", run.last(), want)
	}
	keyed := newClient(t, client.Options{Address: "unix://" + run.socket, Key: run.key(t, scanner.ScopeScan)})
	if _, err := keyed.Submit(t.Context(), scanner.Request{Image: "a"}); err != nil || !strings.Contains(run.last(), "{key key-scan false}") {
		t.Errorf("the service saw %q, %v", run.last(), err)
	}
	if _, err := keyed.Set(t.Context(), "worker.count", "1"); !errors.Is(err, scanner.ErrDenied) {
		t.Errorf("with a key of scope scan: %v", err)
	}
}

func TestRate(t *testing.T) {
	run := start(t)
	key := run.key(t, scanner.ScopeRead)
	handler := run.server.Handler
	get := func() int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/status", nil)
		r.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}
	refused := 0
	for range 600 {
		if get() == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused == 0 {
		t.Error("600 requests at once were all answered")
	}
	c := run.client(t)
	for range 300 {
		if _, err := c.Status(t.Context()); err != nil {
			t.Fatalf("the administrator of the machine: %v", err)
		}
	}
}

// There are so many slots for requests, and others for streams; who has taken theirs
// leaves some for others, and gives them back.
func TestSlots(t *testing.T) {
	run := start(t)
	key, other := run.key(t, scanner.ScopeScan), run.key(t, scanner.ScopeAdmin)
	begun, end := make(chan bool, 100), make(chan bool)
	hold := func(ctx context.Context) error { begun <- true; <-end; return nil }
	run.submit = hold
	run.events = func(ctx context.Context, _ int64, _ func(scanner.Event) error) error { return hold(ctx) }

	var holding sync.WaitGroup
	take := func(n int, method, path, body string) {
		for range n {
			holding.Go(func() { run.do(t, method, path, key, body) })
			<-begun
		}
	}
	take(64, "POST", "/v1/jobs", `{"image":"a"}`)
	wantProblem(t, run.do(t, "GET", "/v1/status", key, ""), http.StatusTooManyRequests)
	if resp := run.do(t, "GET", "/v1/status", other, ""); resp.StatusCode != 200 {
		t.Errorf("another caller: %s", resp.Status)
	}
	take(32, "GET", "/v1/jobs/7/events", "")
	wantProblem(t, run.do(t, "GET", "/v1/jobs/7/events", key, ""), http.StatusTooManyRequests)
	close(end)
	holding.Wait()
	if resp := run.do(t, "GET", "/v1/status", key, ""); resp.StatusCode != 200 {
		t.Errorf("afterwards: %s", resp.Status)
	}
}
