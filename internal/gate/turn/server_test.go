package turn

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"stella/internal/gate"
	"stella/internal/kube"
)

const namespace = "kube-system"

// server is an API server with one Lease, some nodes, and a clock of its own, which goes on as requests are handled and at no other time.
type server struct {
	t *testing.T

	mu      sync.Mutex
	now     time.Time
	slow    time.Duration // at most, of each half of a request, by its clock
	version int
	lease   map[string]any // nil is none
	nodes   map[string]bool
	faults  float64 // the share of requests that go wrong
	late    []func()
	asked   []string
	// changed is called with each change that is made.
	changed func(before, after string)
}

func newServer(t *testing.T, nodes ...string) (*server, *kube.Client) {
	s := &server{t: t, now: time.Date(2026, 5, 31, 14, 40, 0, 0, time.UTC), nodes: map[string]bool{}}
	for _, n := range nodes {
		s.nodes[n] = true
	}
	return s, connect(t, s)
}

// connect makes a client of what answers.
func connect(t *testing.T, answer http.Handler) *kube.Client {
	t.Helper()
	web := httptest.NewServer(answer)
	t.Cleanup(web.Close)
	name := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("{current-context: c, contexts: [{name: c, context: {cluster: c}}], clusters: [{name: c, cluster: {server: %q}}]}", web.URL)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := kube.Kubeconfig(name, "")
	if err != nil {
		t.Fatal(err)
	}
	client := kube.New(config, "test/1")
	t.Cleanup(client.Close)
	return client
}

// pass has the server's clock go on.
func (s *server) pass() {
	if s.slow > 0 && rand.IntN(2) == 0 {
		s.now = s.now.Add(rand.N(s.slow))
	}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.Method)
	s.pass()
	if len(s.late) > 0 && rand.IntN(3) == 0 { // something that somebody has given up on long ago
		s.late[0]()
		s.late = s.late[1:]
		s.pass()
	}
	var body map[string]any
	if r.Method != http.MethodGet {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			s.t.Error(err)
		}
	}
	fault := -1
	if rand.Float64() < s.faults {
		fault = rand.IntN(4)
	}
	switch fault {
	case 0:
		s.fail(w, 500, "InternalError")
		return
	case 1: // the change is made later, if at all
		s.late = append(s.late, func() { s.handle(r, body) })
		panic(http.ErrAbortHandler)
	}
	code, answer := s.handle(r, body)
	s.pass()
	switch {
	case fault == 2: // made, and nobody is told
		panic(http.ErrAbortHandler)
	case fault == 3: // made, and the contrary is told
		s.fail(w, 504, "Timeout")
	case code >= 400:
		s.fail(w, code, answer.(string))
	default:
		w.Header().Set("Date", s.now.Format(http.TimeFormat))
		w.WriteHeader(code)
		json.NewEncoder(w).Encode(answer)
	}
}

func (s *server) fail(w http.ResponseWriter, code int, reason string) {
	w.Header().Set("Date", s.now.Format(http.TimeFormat))
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind":"Status","status":"Failure","reason":%q,"message":"no","code":%d}`, reason, code)
}

// handle does what a request asks for, at the time that it is.
func (s *server) handle(r *http.Request, body map[string]any) (int, any) {
	const path = "/apis/coordination.k8s.io/v1/namespaces/" + namespace + "/leases"
	if name, ok := strings.CutPrefix(r.URL.Path, "/api/v1/nodes/"); ok {
		if !s.nodes[name] {
			return 404, "NotFound"
		}
		return 200, map[string]any{"kind": "PartialObjectMetadata", "metadata": map[string]any{"name": name}}
	}
	switch {
	case r.Method == http.MethodPost && r.URL.Path == path:
		if s.lease != nil {
			return 409, "AlreadyExists"
		}
		s.keep(body)
		return 201, s.lease
	case r.URL.Path != path+"/"+gate.LeaseName || s.lease == nil:
		return 404, "NotFound"
	case r.Method == http.MethodPatch:
		if was := object(s.lease, "metadata")["resourceVersion"]; object(body, "metadata")["resourceVersion"] != was {
			return 409, "Conflict"
		}
		after := merge(s.lease, body).(map[string]any)
		if text(after) != text(s.lease) {
			s.keep(after)
		}
	}
	return 200, s.lease
}

// keep makes a change.
func (s *server) keep(after map[string]any) {
	before := s.holder()
	s.version++
	after = merge(after, map[string]any{"metadata": map[string]any{"resourceVersion": strconv.Itoa(s.version)}}).(map[string]any)
	for _, key := range []string{"acquireTime", "renewTime"} {
		if at, ok := object(after, "spec")[key].(string); ok && len(at) != len("2026-05-31T14:40:00.000000Z") {
			s.t.Errorf("%s of the Lease is %q, which an API server does not take", key, at)
		}
	}
	s.lease = after
	if s.changed != nil {
		s.changed(before, s.holder())
	}
}

func (s *server) holder() string {
	name, _ := object(s.lease, "spec")["holderIdentity"].(string)
	return name
}

func object(o map[string]any, key string) map[string]any {
	below, _ := o[key].(map[string]any)
	return below
}

func text(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// merge is RFC 7396, without changing what it is given.
func merge(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	result := map[string]any{}
	if old, ok := target.(map[string]any); ok {
		for k, v := range old {
			result[k] = v
		}
	}
	for k, v := range changes {
		if v == nil {
			delete(result, k)
		} else {
			result[k] = merge(result[k], v)
		}
	}
	return result
}
