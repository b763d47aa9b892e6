package runbook

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"stella/bench/ociwrite"
)

// registry is the command "registry LAYOUT | open": a registry at $REGISTRY with one
// image, $REGISTRY/app:latest. It keeps everybody waiting who wants a layer, until it is opened.
func registry(ts *testscript.TestScript, neg bool, args []string) {
	w := of(ts)
	switch {
	case neg || len(args) != 1 || args[0] == "open" && w.open == nil:
		ts.Fatalf("usage: registry LAYOUT | open")
	case args[0] == "open":
		w.open()
		return
	}
	s, err := newShelf(ts.MkAbs(args[0]))
	ts.Check(err)
	server := httptest.NewServer(s)
	w.open = sync.OnceFunc(func() { close(s.gate) })
	ts.Defer(func() {
		w.open()
		server.Close()
	})
	ts.Setenv("REGISTRY", server.Listener.Addr().String())
}

// shelf is a registry with one image.
type shelf struct {
	layout   string
	manifest ociwrite.Descriptor
	layers   map[string]bool // digests of those behind the gate
	gate     chan struct{}   // closed when layers may be had
}

func newShelf(layout string) (*shelf, error) {
	s := &shelf{layout: layout, layers: map[string]bool{}, gate: make(chan struct{})}
	text, err := os.ReadFile(filepath.Join(layout, "index.json"))
	if err != nil {
		return nil, err
	}
	var index struct{ Manifests []ociwrite.Descriptor }
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, err
	}
	s.manifest = index.Manifests[0]
	layers, err := ociwrite.Layers(layout, "latest")
	for _, l := range layers {
		s.layers[l.Digest] = true
	}
	return s, err
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	dir, digest := filepath.Split(r.URL.Path)
	switch {
	case strings.HasSuffix(dir, "/manifests/"):
		digest = s.manifest.Digest
		w.Header().Set("Content-Type", s.manifest.MediaType)
	case !strings.HasSuffix(dir, "/blobs/"):
		return // /v2/ itself
	case s.layers[digest]:
		select {
		case <-s.gate:
		case <-r.Context().Done():
			return
		}
	}
	path, err := ociwrite.BlobPath(s.layout, digest)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	http.ServeFile(w, r, path)
}
