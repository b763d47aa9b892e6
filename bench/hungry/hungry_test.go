package hungry

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"stella/bench/ociwrite"
)

// Of a hungry layer comes all but its end, then the end to those who wait, and
// nothing to those who come later, before Open.
func TestRegistry(t *testing.T) {
	layout := filepath.Join(t.TempDir(), "a")
	if err := (Image{Package: "a", File: "opt/a.jar", Early: 4 << 20, Late: 1 << 20, Below: 1}).Write(layout); err != nil {
		t.Fatal(err)
	}
	layers, err := ociwrite.Layers(layout, "latest")
	if err != nil || len(layers) != 2 {
		t.Fatalf("%d layers, %v; want 2", len(layers), err)
	}
	small, hungry := layers[0], layers[1]
	synctest.Test(t, func(t *testing.T) {
		r, err := open(map[string]string{"some/a": layout}, Held/2)
		if err != nil {
			t.Fatal(err)
		}
		if got := ask(t, r, "manifests/latest").Body.String(); !strings.Contains(got, hungry.Digest) {
			t.Errorf("the manifest is %q", got)
		}
		check(t, "a small layer", small, ask(t, r, "blobs/"+small.Digest), small.Size)
		first := ask(t, r, "blobs/"+hungry.Digest)
		check(t, "before Release", hungry, first, hungry.Size-Held/2)
		r.Release()
		synctest.Wait()
		check(t, "after Release", hungry, first, hungry.Size)

		later := ask(t, r, "blobs/"+hungry.Digest)
		check(t, "who came later", hungry, later, 0)
		r.Open()
		synctest.Wait()
		check(t, "after Open", hungry, later, hungry.Size)
	})
	if _, err := Serve(map[string]string{"b": t.TempDir()}, 0); err == nil {
		t.Error("a directory that is no layout is served")
	}
}

// ask returns what has come when nothing comes any more.
func ask(t *testing.T, r *Registry, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	go r.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v2/some/a/"+path, nil))
	synctest.Wait()
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d", path, w.Code)
	}
	return w
}

func check(t *testing.T, when string, layer ociwrite.Descriptor, w *httptest.ResponseRecorder, want int64) {
	t.Helper()
	sum := sha256.Sum256(w.Body.Bytes())
	whole := "sha256:"+hex.EncodeToString(sum[:]) == layer.Digest
	if got := int64(w.Body.Len()); got != want || whole != (want == layer.Size) {
		t.Errorf("%s: %d bytes, whole %v; want %d of %d", when, got, whole, want, layer.Size)
	}
}
