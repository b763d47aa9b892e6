package kured

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"stella/internal/gate"
	"stella/internal/gate/sentinel"
	"stella/internal/kube"
)

// any JSON object.
type js = map[string]any

// api is an API server with a few objects by their paths; "list" below a path has what is listed there. A test may answer itself.
type api struct {
	mu       sync.Mutex
	objects  map[string]any
	asked    []string
	fault    func(w http.ResponseWriter, r *http.Request) bool
	requests int
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests++
	a.asked = append(a.asked, r.Method+" "+r.URL.Path+" "+r.URL.Query().Get("labelSelector")+" "+r.URL.Query().Get("fieldSelector"))
	if a.fault != nil && a.fault(w, r) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	o, ok := a.objects[r.URL.Path]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		o = js{"kind": "Status", "code": 404, "reason": "NotFound", "message": "not found"}
	}
	_ = json.NewEncoder(w).Encode(o)
}

func client(t *testing.T, h http.Handler) *kube.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("current-context: c\ncontexts: [{name: c, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: %q}}]\n", s.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := kube.Kubeconfig(file, "")
	if err != nil {
		t.Fatal(err)
	}
	c := kube.New(config, "test/1")
	t.Cleanup(c.Close)
	return c
}

// metrics is kured's own server, which answers as a test wants.
type metrics struct {
	mu     sync.Mutex
	answer func(w http.ResponseWriter)
	port   string
}

func newMetrics(t *testing.T) *metrics {
	t.Helper()
	m := &metrics{answer: sample("0")}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.answer(w)
	}))
	t.Cleanup(s.Close)
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	m.port = port
	return m
}

func (m *metrics) set(answer func(http.ResponseWriter)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answer = answer
}

// sample answers as kured does.
func sample(value string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		io.WriteString(w, "# HELP kured_reboot_required OS requires reboot due to software updates.\n# TYPE kured_reboot_required gauge\n"+
			`kured_reboot_required{node="n1"} `+value+"\ngo_goroutines 12\n")
	}
}

// rig is a node with kured as its chart deploys it, and a gate, which all agree.
type rig struct {
	api     *api
	metrics *metrics
	options Options
	client  *kube.Client
	// podSpec and container are those of kured, own that of the gate.
	podSpec, container, own js
	pod                     js
	pods                    []any
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	file, err := sentinel.Open(filepath.Join(dir, "gated-reboot-required"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	m := newMetrics(t)
	r := &rig{metrics: m, options: Options{
		Node: "n1", PodNamespace: "gate", Pod: "gate-x", Raw: filepath.Join(dir, "reboot-required"), Gated: file,
	}}
	r.container = js{
		"name": "kured", "image": "kubereboot/kured:1.23.0", "command": []any{"/usr/bin/kured"},
		"args":         []any{"--ds-name=kured", "--metrics-port=" + m.port, "--period=1m", "--reboot-sentinel=/sentinel/gated-reboot-required"},
		"env":          []any{js{"name": "KURED_NODE_ID", "valueFrom": js{"fieldRef": js{"fieldPath": "spec.nodeName"}}}},
		"volumeMounts": []any{js{"name": "sentinel", "mountPath": "/sentinel", "readOnly": true}},
	}
	r.podSpec = js{
		"nodeName": "n1", "containers": []any{r.container},
		"volumes": []any{js{"name": "sentinel", "hostPath": js{"path": "/var/run", "type": "Directory"}}},
	}
	r.pod = js{
		"metadata": js{"name": "kured-abc", "namespace": "kube-system", "uid": "pod-uid", "ownerReferences": []any{js{"kind": "DaemonSet", "name": "kured", "uid": "ds-uid", "controller": true}}},
		"spec":     r.podSpec,
		"status":   js{"phase": "Running", "podIP": "127.0.0.1", "containerStatuses": []any{js{"name": "kured", "restartCount": 0}}},
	}
	r.pods = []any{r.pod}
	r.own = js{
		"kind": "Pod", "metadata": js{"name": "gate-x", "namespace": "gate", "uid": "own-uid"},
		"spec": js{
			"containers": []any{
				js{"name": "gate", "volumeMounts": []any{js{"name": "host-run", "mountPath": dir}}},
				js{"name": "other"},
			},
			"volumes": []any{js{"name": "token"}, js{"name": "host-run", "hostPath": js{"path": "/var/run"}}},
		},
	}
	r.api = &api{objects: map[string]any{}}
	r.client = client(t, r.api)
	return r
}

const (
	setPath  = "/apis/apps/v1/namespaces/kube-system/daemonsets/kured"
	podsPath = "/api/v1/namespaces/kube-system/pods"
	ownPath  = "/api/v1/namespaces/gate/pods/gate-x"
	setsPath = "/apis/apps/v1/daemonsets"
)

func set(namespace, name string) js {
	return js{
		"kind": "DaemonSet", "metadata": js{"name": name, "namespace": namespace, "uid": "ds-uid"},
		"spec": js{"selector": js{"matchLabels": js{"name": "kured", "app": "x"}}},
	}
}

// check is the check about the rig as it is now.
func (r *rig) check() gate.Check {
	r.api.mu.Lock()
	defer r.api.mu.Unlock()
	for path, o := range map[string]any{
		setPath: set("kube-system", "kured"), ownPath: r.own,
		podsPath: js{"kind": "PodList", "metadata": js{}, "items": r.pods},
	} {
		if _, given := r.api.objects[path]; !given {
			r.api.objects[path] = o
		}
	}
	return Path(r.client, r.options)
}

func (r *rig) look(t *testing.T) gate.Result {
	t.Helper()
	return r.check().Run(t.Context())
}

func want(t *testing.T, got gate.Result, outcome gate.Outcome, reason string, words ...string) {
	t.Helper()
	if got.Outcome != outcome || got.Reason != reason {
		t.Errorf("%s %q, want %s %q: %s", got.Outcome, got.Reason, outcome, reason, got.Detail)
	}
	if got.Outcome != gate.Pass && got.Clears == "" {
		t.Errorf("nothing clears it: %+v", got)
	}
	for _, w := range words {
		if !strings.Contains(got.Detail, w) {
			t.Errorf("%q says nothing of %q", got.Detail, w)
		}
	}
}
