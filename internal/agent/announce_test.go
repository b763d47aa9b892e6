package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/kube"
	"stella/internal/oom"
)

// A pod that is about to run out of memory has an event; where that may not be made, the log says what is missing.
func TestAnnounce(t *testing.T) {
	var got []map[string]any
	var paths []string
	status := http.StatusCreated
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		got, paths = append(got, body), append(paths, r.Method+" "+r.URL.Path)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"web-1.x"}}`)
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("current-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: %q}}]\nusers: [{name: u, user: {token: t}}]\n", server.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := kube.Kubeconfig(file, "")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	n := &node{o: Options{Node: "n1"}, kube: kube.New(config, "test"), log: slog.New(slog.NewTextHandler(&log, nil))}
	defer n.kube.Close()

	w := warning{at: noon, cgroup: "/a", text: "Its memory limit is reached in 2m0s.", container: oom.Container{Namespace: "shop", Pod: "web-1", PodUID: "u", Name: "app"}}
	n.announce(warning{at: noon, cgroup: "/unit", text: w.text}) // is no pod
	n.announce(w)
	want := map[string]any{
		"apiVersion": "v1", "kind": "Event", "metadata": map[string]any{"generateName": "web-1.", "namespace": "shop"},
		"involvedObject": map[string]any{"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web-1", "uid": "u", "fieldPath": "spec.containers{app}"},
		"reason":         "MemoryLimitNear", "type": "Warning", "message": "Container app is about to run out of memory. Its memory limit is reached in 2m0s.",
		"firstTimestamp": "2026-11-21T12:00:00Z", "lastTimestamp": "2026-11-21T12:00:00Z", "count": 1.0,
		"source":             map[string]any{"component": "stella-agent", "host": "n1"},
		"reportingComponent": "stella-agent", "reportingInstance": "n1",
	}
	if diff := cmp.Diff([]map[string]any{want}, got); diff != "" || paths[0] != "POST /api/v1/namespaces/shop/events" || log.Len() > 0 {
		t.Errorf("%v, the log says %q, -want +got:\n%s", paths, &log, diff)
	}
	status = http.StatusForbidden
	n.announce(w)
	if !strings.Contains(log.String(), "right to create events") {
		t.Errorf("the log says %q", &log)
	}
}
