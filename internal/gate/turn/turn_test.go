package turn

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"stella/internal/gate"
)

const delay = 10 * time.Minute

// look is a look of a node's gate, by the check that it has.
func look(t *testing.T, turn *Turn, want gate.Outcome, reason string) gate.Result {
	t.Helper()
	r := turn.Check().Run(t.Context())
	if r.Outcome != want || r.Reason != reason {
		t.Fatalf("%+v; want %s %s", r, want, reason)
	}
	return r
}

func TestTurn(t *testing.T) {
	s, client := newServer(t, "a", "b")
	a, b := New(client, namespace, "a", delay), New(client, namespace, "b", delay)

	// There is no Lease: it is made, and who had it before is not known, so a delay passes.
	r := look(t, a, gate.Block, ReasonDelay)
	if want := s.now.Add(time.Second + delay); !r.Until.Equal(want) {
		t.Errorf("until %v; want %v", r.Until, want)
	}
	s.now = r.Until.Add(-time.Millisecond)
	look(t, a, gate.Block, ReasonDelay)
	s.now = r.Until
	look(t, a, gate.Pass, "")
	taken := s.now

	// It stays a's, however long that takes.
	r = look(t, b, gate.Block, ReasonHeld)
	if r.Detail != "it is the turn of node a, since 2026-05-31T14:50:01Z" || r.Blockers[0] != "node a" || !strings.Contains(r.Clears, "stella gate release --turn a") {
		t.Errorf("b is told: %+v", r)
	}
	s.now = s.now.Add(1000 * time.Hour)
	look(t, b, gate.Block, ReasonHeld)
	if r := look(t, a, gate.Pass, ""); !strings.Contains(r.Detail, stamp(taken)) {
		t.Errorf("a is told: %+v", r)
	}
	if err := b.Release(t.Context()); err != nil || b.Held() || s.holder() != "a" {
		t.Errorf("b gave back what it had not: %v, %q", err, s.holder())
	}

	// A gate of a that was started again finds that it has it, and gives it back; and again, which does nothing.
	a = New(client, namespace, "a", delay)
	s.now = s.now.Add(999 * time.Millisecond) // which no Date tells
	for range 2 {
		if !a.Held() && s.holder() != "" {
			t.Error("a does not know that it may have the turn")
		}
		if err := a.Release(t.Context()); err != nil || a.Held() || s.holder() != "" {
			t.Fatalf("%v; the holder is %q", err, s.holder())
		}
	}
	r = look(t, b, gate.Block, ReasonDelay)
	if least := s.now.Add(delay); r.Until.Before(least) {
		t.Errorf("b may take it at %v, which is before %v", r.Until, least)
	}
	s.now = r.Until
	look(t, b, gate.Pass, "")
	if !b.Held() {
		t.Error("b does not know that it has the turn")
	}
	if n := object(s.lease, "spec")["leaseTransitions"]; n != 2.0 {
		t.Errorf("%v transitions", n)
	}
}

// What others wrote to the Lease stays, such as a hold of all nodes.
func TestLeaseKeepsOthersWords(t *testing.T) {
	s, client := newServer(t, "a")
	s.keep(map[string]any{"kind": "Lease", "metadata": map[string]any{
		"name": gate.LeaseName, "labels": map[string]any{"l": "1"}, "annotations": map[string]any{gate.HoldAnnotation: "{}", ReleasedAnnotation: "2026-05-31T00:00:00Z"},
	}})
	a := New(client, namespace, "a", delay)
	look(t, a, gate.Pass, "")
	look(t, a, gate.Pass, "")
	if err := a.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	meta := object(s.lease, "metadata")
	if object(meta, "labels")["l"] != "1" || object(meta, "annotations")[gate.HoldAnnotation] != "{}" {
		t.Errorf("it is now %v", s.lease)
	}
}

// The turn of a node that is gone is another's after the delay; a server that does not say so clearly changes nothing.
func TestGhost(t *testing.T) {
	s, client := newServer(t, "a", "b")
	s.keep(map[string]any{"kind": "Lease", "metadata": map[string]any{"name": gate.LeaseName}, "spec": map[string]any{"holderIdentity": "a"}})
	b := New(client, namespace, "b", delay)
	proxy := New(connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/nodes/") {
			http.NotFound(w, r)
			return
		}
		s.ServeHTTP(w, r)
	})), namespace, "b", delay)
	look(t, proxy, gate.Block, ReasonHeld)
	look(t, b, gate.Block, ReasonHeld)
	delete(s.nodes, "a")
	look(t, proxy, gate.Block, ReasonHeld)
	r := look(t, b, gate.Block, ReasonDelay)
	if s.holder() != "" {
		t.Errorf("the holder is %q", s.holder())
	}
	s.now = r.Until
	look(t, b, gate.Pass, "")
}

func TestClear(t *testing.T) {
	s, client := newServer(t, "a", "b")
	if had, err := Clear(t.Context(), client, namespace, "a"); had || err != nil {
		t.Errorf("without a Lease: %t, %v", had, err)
	}
	s.keep(map[string]any{"kind": "Lease", "metadata": map[string]any{"name": gate.LeaseName}, "spec": map[string]any{"holderIdentity": "a"}})
	if had, err := Clear(t.Context(), client, namespace, "b"); had || err != nil || s.holder() != "a" {
		t.Errorf("of another: %t, %v, %q", had, err, s.holder())
	}
	if had, err := Clear(t.Context(), client, namespace, "a"); !had || err != nil || s.holder() != "" {
		t.Errorf("%t, %v, %q", had, err, s.holder())
	}
	look(t, New(client, namespace, "a", delay), gate.Block, ReasonDelay)
}

// An end that cannot be so, because clocks were set back or somebody wrote nonsense, counts from now.
func TestReleasedInTheFuture(t *testing.T) {
	for _, at := range []string{"2027-05-31T00:00:00Z", "soon", ""} {
		s, client := newServer(t, "a")
		s.keep(map[string]any{"kind": "Lease", "metadata": map[string]any{"name": gate.LeaseName, "annotations": map[string]any{ReleasedAnnotation: at}}})
		r := look(t, New(client, namespace, "a", delay), gate.Block, ReasonDelay)
		if want := s.now.Add(time.Second + delay); !r.Until.Equal(want) {
			t.Errorf("%q: until %v; want %v", at, r.Until, want)
		}
	}
}

// No answer but the right one passes, to whichever of the requests it is.
func TestFaults(t *testing.T) {
	const right = `{"kind":"Lease","metadata":{"name":"kured-sentinel-gate","resourceVersion":"7"},"spec":{"holderIdentity":"a"}}`
	answer := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(code)
			fmt.Fprint(w, body)
		}
	}
	status := func(code int, reason string) http.HandlerFunc {
		return answer(code, fmt.Sprintf(`{"kind":"Status","reason":%q,"code":%d}`, reason, code))
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		reason string
	}{
		"401":            {status(401, "Unauthorized"), "unauthorized"},
		"403":            {status(403, "Forbidden"), "forbidden"},
		"404 of a proxy": {answer(404, "no such page"), "not_found"},
		"409":            {status(409, "Conflict"), ReasonConflict},
		"429":            {status(429, "TooManyRequests"), "throttled"},
		"500":            {status(500, "InternalError"), "server_error"},
		"redirect":       {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, "redirected"},
		"empty":          {answer(200, ""), "bad_answer"},
		"object":         {answer(200, "{}"), "bad_answer"},
		"null":           {answer(200, "null"), "bad_answer"},
		"array":          {answer(200, "[]"), "bad_answer"},
		"html":           {answer(200, "<html>"), "bad_answer"},
		"truncated":      {answer(200, right[:len(right)-1]), "bad_answer"},
		"a wrong type":   {answer(200, strings.Replace(right, `"a"`, `["a"]`, 1)), "bad_answer"},
		"another kind":   {answer(200, strings.Replace(right, "Lease", "Pod", 1)), "bad_answer"},
		"another name":   {answer(200, strings.Replace(right, "kured", "x", 1)), "bad_answer"},
		"no version":     {answer(200, strings.Replace(right, `"7"`, `""`, 1)), "bad_answer"},
		"no date": {func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Date"] = nil
			fmt.Fprint(w, right)
		}, ReasonNoClock},
	} {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{"all", http.MethodGet, http.MethodPatch} {
				for holder, state := range map[string]string{"a": "", "": "2026-05-31T00:00:00Z"} {
					s, _ := newServer(t, "a")
					s.keep(map[string]any{"kind": "Lease", "metadata": map[string]any{
						"name": gate.LeaseName, "annotations": map[string]any{ReleasedAnnotation: state},
					}, "spec": map[string]any{"holderIdentity": holder}})
					client := connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if method == "all" || r.Method == method {
							test.answer(w, r)
						} else {
							s.ServeHTTP(w, r)
						}
					}))
					r := New(client, namespace, "a", delay).Check().Run(t.Context())
					if r.Outcome != gate.Unknown || r.Reason != test.reason {
						t.Errorf("%s of %q: %+v; want %s", method, holder, r, test.reason)
					}
				}
			}
		})
	}
}

// A server that says yes and does nothing is not believed.
func TestNothingChanges(t *testing.T) {
	for _, holder := range []string{"a", ""} {
		client := connect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"kind":"Lease","metadata":{"name":%q,"resourceVersion":"7","annotations":{%q:"2026-05-31T00:00:00Z"}},"spec":{"holderIdentity":%q}}`,
				gate.LeaseName, ReleasedAnnotation, holder)
		}))
		look(t, New(client, namespace, "a", delay), gate.Unknown, "bad_answer")
	}
}

// A server that has no Lease, and takes none.
func TestNoNamespace(t *testing.T) {
	client := connect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"kind":"Status","reason":"NotFound","message":"namespaces \"kube-system\" not found","code":404}`)
	}))
	if r := look(t, New(client, namespace, "a", delay), gate.Unknown, "not_found"); !strings.Contains(r.Detail, "namespaces") {
		t.Errorf("it says: %s", r.Detail)
	}
}

// A server that does not answer costs no more than the time of the check.
func TestSilence(t *testing.T) {
	client := connect(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	a := New(client, namespace, "a", delay)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if r := a.Check().Run(ctx); r.Outcome != gate.Unknown {
		t.Errorf("%+v", r)
	}
	if err := a.Release(ctx); err == nil || !a.Held() {
		t.Errorf("Release: %v; and it may have the turn: %t", err, a.Held())
	}
}

func TestRequests(t *testing.T) {
	s, client := newServer(t, "a", "b")
	a, b := New(client, namespace, "a", delay), New(client, namespace, "b", delay)
	asks := func(want string, what func()) {
		t.Helper()
		s.asked = nil
		what()
		if got := strings.Join(s.asked, " "); got != want {
			t.Errorf("asked %s; want %s", got, want)
		}
	}
	asks("GET POST PATCH", func() { look(t, a, gate.Block, ReasonDelay) })
	asks("GET", func() { look(t, a, gate.Block, ReasonDelay) })
	s.now = s.now.Add(time.Hour)
	asks("GET PATCH", func() { look(t, a, gate.Pass, "") })
	asks("GET PATCH", func() { look(t, a, gate.Pass, "") })
	asks("GET GET", func() { look(t, b, gate.Block, ReasonHeld) })
	asks("GET PATCH PATCH", func() { a.Release(t.Context()) })
	asks("GET", func() { a.Release(t.Context()) })
}
