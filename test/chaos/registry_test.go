package chaos

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"stella/bench/ociwrite"
)

// registry serves images by the names of their packages. While it holds, it gives
// no layer to anybody, so that attempts last as long as a test wants.
type registry struct {
	*testing.T
	host string

	mu      sync.Mutex
	images  map[string]served
	gate    chan struct{} // closed unless it holds
	waiting int
}

// served is an image, its manifest and its layer.
type served struct {
	image
	manifest, layer string // digests
}

// newRegistry serves images, by which it makes them asked for from now on.
func newRegistry(t *testing.T, images []image) *registry {
	t.Helper()
	r := &registry{T: t, images: map[string]served{}, gate: make(chan struct{})}
	close(r.gate)
	for _, i := range images {
		var index struct{ Manifests []ociwrite.Descriptor }
		raw, err := os.ReadFile(filepath.Join(i.layout, "index.json"))
		if err == nil {
			err = json.Unmarshal(raw, &index)
		}
		if err != nil {
			t.Fatal(err)
		}
		layers, err := ociwrite.Layers(i.layout, "")
		if err != nil {
			t.Fatal(err)
		}
		r.images[i.name] = served{i, index.Manifests[0].Digest, layers[0].Digest}
	}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	t.Cleanup(r.release)
	r.host = strings.TrimPrefix(server.URL, "http://")
	for i := range images {
		images[i].ref = r.host + "/" + images[i].name + ":latest"
	}
	return r
}

// hold holds layers back from now on, until release.
func (r *registry) hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gate = make(chan struct{})
}

func (r *registry) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.gate:
	default:
		close(r.gate)
	}
}

// await waits until so many requests wait for a layer.
func (r *registry) await(n int) {
	r.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(look) {
		r.mu.Lock()
		waiting := r.waiting
		r.mu.Unlock()
		if waiting == n {
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("%d scans wait for a layer; want %d", waiting, n)
		}
	}
}

// ServeHTTP is the part of the distribution specification that a scan needs: /v2/, and
// /v2/NAME/manifests/REFERENCE and /v2/NAME/blobs/DIGEST.
func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	parts := strings.Split(strings.TrimPrefix(q.URL.Path, "/v2/"), "/")
	if len(parts) < 3 {
		return
	}
	r.mu.Lock()
	s, gate := r.images[parts[0]], r.gate
	r.mu.Unlock()
	digest := parts[2]
	if parts[1] == "manifests" {
		digest = s.manifest
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Header().Set("Docker-Content-Digest", digest)
	}
	if digest == s.layer {
		r.wait(q, gate)
	}
	http.ServeFile(w, q, filepath.Join(s.layout, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:")))
}

func (r *registry) wait(q *http.Request, gate <-chan struct{}) {
	count := func(n int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.waiting += n
	}
	count(1)
	defer count(-1)
	select {
	case <-gate:
	case <-q.Context().Done():
	}
}
