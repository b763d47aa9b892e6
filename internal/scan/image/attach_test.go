package image_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"stella/internal/scan/image"
)

// referrer is a document of n bytes.
func referrer(n int) image.Referrer {
	text := strings.Repeat("{}\n", n/3)
	return image.Referrer{Type: "application/vnd.cyclonedx+json", Content: strings.NewReader(text), Size: int64(len(text)),
		Digest: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text)))}
}

// fetch gets a manifest or a blob of a registry on this machine.
func fetch(t *testing.T, address string, v any) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", ociManifest+", "+ociIndex)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v\n%s", address, resp.Status, err, b)
	}
	if v != nil {
		mustJSON(t, b, v)
	}
	return b
}

// described is a manifest or an index as OCI has it.
type described struct {
	MediaType, ArtifactType, Digest string
	Size                            int64
	Config, Subject                 *described
	Layers, Manifests               []described
}

// Debian's registry knows no referrers, so that the list is a tag. Two documents are
// attached, and one of them twice.
func TestAttachToARealRegistry(t *testing.T) {
	host := startRegistry(t, false)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	b := blobs{}
	img := b.image("linux/amd64", "one")
	push(t, host, "team/app", b, img)
	m := open(t, host+"/team/app", image.Options{Platform: "linux/amd64"})
	m.RawManifest = nil // a scan lets go of it

	docs := []image.Referrer{referrer(3 << 20), referrer(300), referrer(300)}
	digests := make([]string, len(docs))
	for i, r := range docs {
		var err error
		if digests[i], err = m.Attach(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if digests[1] != digests[2] {
		t.Errorf("the same document has the manifests %s and %s", digests[1], digests[2])
	}
	base := "http://" + host + "/v2/team/app/"
	var index described
	fetch(t, base+"manifests/"+strings.Replace(m.Digest, ":", "-", 1), &index)
	if len(index.Manifests) != 2 || index.MediaType != ociIndex {
		t.Fatalf("the list of referrers: %+v", index)
	}
	for i, want := range docs[:2] {
		var r described
		raw := fetch(t, base+"manifests/"+digests[i], &r)
		if r.MediaType != ociManifest || r.ArtifactType != want.Type || len(r.Layers) != 1 {
			t.Errorf("%s", raw)
		}
		if s := r.Subject; s == nil || s.Digest != m.Digest || s.MediaType != m.MediaType || s.Size != int64(len(b[m.Digest])) {
			t.Errorf("subject %+v, want %s with %d bytes", s, m.Digest, len(b[m.Digest]))
		}
		got := fetch(t, base+"blobs/"+r.Layers[0].Digest, nil)
		content, _ := io.ReadAll(io.NewSectionReader(want.Content, 0, want.Size))
		if !bytes.Equal(got, content) || r.Layers[0].Size != want.Size {
			t.Errorf("read back %d bytes, want %d", len(got), len(content))
		}
		if config := fetch(t, base+"blobs/"+r.Config.Digest, nil); string(config) != "{}" {
			t.Errorf("configuration %s", config)
		}
	}
	for _, e := range index.Manifests {
		if e.ArtifactType != docs[0].Type || e.Digest != digests[0] && e.Digest != digests[1] {
			t.Errorf("listed: %+v", e)
		}
	}
}

func TestAttachNeedsARegistry(t *testing.T) {
	b := blobs{}
	m := open(t, "oci-dir:"+writeDir(t, b.files(b.image("linux/amd64", "one"))), image.Options{})
	if _, err := m.Attach(t.Context(), referrer(3)); !errors.Is(err, image.ErrNoRegistry) {
		t.Error(err)
	}
}

// A registry that lists referrers itself gets no tag. One that refuses to be written to is said to.
func TestAttachByTheReferrersAPI(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	b := blobs{}
	img := b.image("linux/amd64", "one")
	var mu sync.Mutex
	var put []string
	refuse := false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		id := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		if id == "latest" {
			id = img["digest"].(string)
		}
		switch {
		case r.URL.Path == "/v2/":
		case r.Method == http.MethodPost && refuse:
			w.WriteHeader(http.StatusForbidden)
			json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]any{"code": "DENIED", "message": "read only"}}})
		case r.Method == http.MethodPost:
			w.Header().Set("Location", "/v2/app/blobs/uploads/1?state=x")
			w.WriteHeader(http.StatusAccepted)
		case r.Method == http.MethodPut:
			put = append(put, id+"?"+r.URL.RawQuery)
			if strings.Contains(r.URL.Path, "/manifests/") {
				w.Header().Set("OCI-Subject", img["digest"].(string))
			}
			w.WriteHeader(http.StatusCreated)
		case b[id] == nil:
			w.WriteHeader(http.StatusNotFound)
		default:
			w.Header().Set("Content-Type", ociManifest)
			w.Write(b[id])
		}
	}))
	defer s.Close()
	m := open(t, s.Listener.Addr().String()+"/app", image.Options{Platform: "linux/amd64"})
	digest, err := m.Attach(t.Context(), referrer(300))
	if err != nil {
		t.Fatal(err)
	}
	if len(put) != 3 || put[2] != digest+"?" || !strings.Contains(put[1], "digest=sha256") || !strings.Contains(put[1], "state=x") {
		t.Errorf("written: %q", put)
	}
	refuse = true
	if _, err := m.Attach(t.Context(), referrer(600)); !errors.Is(err, image.ErrAuth) || !strings.Contains(err.Error(), "read only") {
		t.Error(err)
	}
}
