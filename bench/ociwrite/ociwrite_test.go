package ociwrite

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

func write(t *testing.T, dir string, c Compression) {
	t.Helper()
	w, err := New(dir, c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		l, err := w.Layer()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Layer(); err == nil {
			t.Fatal("two layers open at once")
		}
		body := strings.Repeat(fmt.Sprint("layer ", i, "\n"), 5000)
		must(t, l.Entry(tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}, nil))
		must(t, l.Entry(tar.Header{Name: "etc/file", Mode: 0o644, Size: int64(len(body))}, strings.NewReader(body)))
		must(t, l.Close())
	}
	must(t, w.Close("bench"))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The reader here shares nothing with the writer: plain JSON maps, compress/gzip,
// archive/tar and a hash of every byte.
func TestReadBackIndependently(t *testing.T) {
	for _, c := range []Compression{Gzip, Zstd, None} {
		t.Run(string(c), func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, c)
			ix := readJSON(t, filepath.Join(dir, "index.json"))
			entry := ix["manifests"].([]any)[0].(map[string]any)
			if tag := entry["annotations"].(map[string]any)["org.opencontainers.image.ref.name"]; tag != "bench" {
				t.Errorf("tag %v", tag)
			}
			manifest := readJSON(t, checkedBlob(t, dir, entry))
			conf := readJSON(t, checkedBlob(t, dir, manifest["config"].(map[string]any)))
			diffIDs := conf["rootfs"].(map[string]any)["diff_ids"].([]any)
			layers := manifest["layers"].([]any)
			if len(layers) != 3 || len(diffIDs) != 3 {
				t.Fatalf("%d layers, %d diffIDs; want 3", len(layers), len(diffIDs))
			}
			for i, l := range layers {
				names, diffID := readLayer(t, checkedBlob(t, dir, l.(map[string]any)), c)
				if diffID != diffIDs[i] {
					t.Errorf("layer %d: diffID %s, configuration says %s", i, diffID, diffIDs[i])
				}
				if d := cmp.Diff([]string{"etc/", "etc/file"}, names); d != "" {
					t.Errorf("layer %d: %s", i, d)
				}
			}
		})
	}
}

func TestOutputIsReproducible(t *testing.T) {
	for _, c := range []Compression{Gzip, Zstd, None} {
		a, b := t.TempDir(), t.TempDir()
		write(t, a, c)
		write(t, b, c)
		first, err := os.ReadFile(filepath.Join(a, "index.json"))
		must(t, err)
		second, err := os.ReadFile(filepath.Join(b, "index.json"))
		must(t, err)
		// The index names the manifest's digest, and that every other one.
		if d := cmp.Diff(string(first), string(second)); d != "" {
			t.Errorf("%s: %s", c, d)
		}
	}
}

func TestReuseKeepsDigestsAndLayersFindsThem(t *testing.T) {
	base, dir := t.TempDir(), t.TempDir()
	write(t, base, Gzip)
	w, err := New(dir, Zstd)
	must(t, err)
	if n, err := w.Reuse(base); n != 3 || err != nil {
		t.Fatalf("reused %d layers, %v", n, err)
	}
	must(t, w.Close("again"))
	want, err := Layers(base, "bench")
	must(t, err)
	got, err := Layers(dir, "")
	must(t, err)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := Layers(dir, "bench"); err == nil || !strings.Contains(err.Error(), `tag "bench"`) {
		t.Errorf("an absent tag gave %v", err)
	}
}

func TestRefusals(t *testing.T) {
	if _, err := New(t.TempDir(), "lzma"); err == nil {
		t.Error("unknown compression was accepted")
	}
	w, err := New(t.TempDir(), None)
	must(t, err)
	l, err := w.Layer()
	must(t, err)
	if err := l.Entry(tar.Header{Name: "short", Size: 4}, strings.NewReader("abc")); err == nil {
		t.Error("content shorter than its header was accepted")
	}
	if err := w.Close("x"); err == nil {
		t.Error("image closed over an open layer")
	}
	if err := l.Close(); err == nil {
		t.Error("a broken layer was closed without an error")
	}
	for _, digest := range []string{"sha256:..", "md5:aa", "sha256:" + strings.Repeat("/", 64)} {
		if _, err := BlobPath("layout", digest); err == nil {
			t.Errorf("digest %q was accepted", digest)
		}
	}
}

func TestSplitTag(t *testing.T) {
	colon := filepath.Join(t.TempDir(), "a:b")
	must(t, os.Mkdir(colon, 0o755))
	for ref, want := range map[string][2]string{
		"dir/image:v1": {"dir/image", "v1"},
		"dir/image":    {"dir/image", ""},
		"d:x/image":    {"d:x/image", ""},
		colon:          {colon, ""},
	} {
		layout, tag := SplitTag(ref)
		if d := cmp.Diff(want, [2]string{layout, tag}); d != "" {
			t.Errorf("%s: %s", ref, d)
		}
	}
}

func readJSON(t *testing.T, name string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(name)
	must(t, err)
	var v map[string]any
	must(t, json.Unmarshal(text, &v))
	return v
}

func checkedBlob(t *testing.T, dir string, d map[string]any) string {
	t.Helper()
	hex := strings.TrimPrefix(d["digest"].(string), "sha256:")
	name := filepath.Join(dir, "blobs", "sha256", hex)
	text, err := os.ReadFile(name)
	must(t, err)
	if sum := fmt.Sprintf("%x", sha256.Sum256(text)); sum != hex || float64(len(text)) != d["size"] {
		t.Errorf("blob %s: SHA-256 %s, %d bytes; descriptor says %v", hex, sum, len(text), d["size"])
	}
	return name
}

func readLayer(t *testing.T, name string, c Compression) (names []string, diffID string) {
	t.Helper()
	f, err := os.Open(name)
	must(t, err)
	defer f.Close()
	var plain io.Reader = f
	switch c {
	case Gzip:
		plain, err = gzip.NewReader(f)
	case Zstd:
		plain, err = zstd.NewReader(f)
	}
	must(t, err)
	sum := sha256.New()
	plain = io.TeeReader(plain, sum)
	for tr := tar.NewReader(plain); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		if !h.ModTime.Equal(Epoch) {
			t.Errorf("%s has time %v", h.Name, h.ModTime)
		}
		names = append(names, h.Name)
	}
	_, err = io.Copy(io.Discard, plain)
	must(t, err)
	return names, fmt.Sprintf("sha256:%x", sum.Sum(nil))
}
