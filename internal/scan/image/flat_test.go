package image_test

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"stella/internal/scan/image"
)

// live is the live heap in bytes.
func live() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// manyLayers is an image of n layers, all with a history, and all but two of them the same.
func manyLayers(b blobs, n int) object {
	layer, last := b.add(ociLayer, []byte("layer")), b.add(ociLayer, []byte("last"))
	var layers, diffIDs, history []any
	for i := range n {
		l := layer
		if i == n-1 {
			l = last
		}
		layers = append(layers, l)
		diffIDs = append(diffIDs, tinyDiff1)
		history = append(history, object{"created_by": "RUN /bin/sh -c " + strings.Repeat("x", 300), "created": "2026-01-02T03:04:05.678901234Z"})
	}
	config := b.json(ociConfig, object{"os": "linux", "architecture": "amd64", "history": history, "rootfs": object{"type": "layers", "diff_ids": diffIDs}})
	return b.json(ociManifest, object{"schemaVersion": 2, "config": config, "layers": layers})
}

func TestTenThousandLayers(t *testing.T) {
	b := blobs{}
	img := manyLayers(b, 10_000)
	_, o := serve(b, img)
	for _, ref := range []string{"r.test/app", writeDir(t, b.files(img)), writeFile(t, "x.tar", tarOf(b.files(img)))} {
		before := live()
		m := open(t, ref, o)
		held := live() - before
		if len(m.Layers) != 10_000 || m.Config.History != 10_000 {
			t.Fatalf("%s: %d layers, history of %d", ref, len(m.Layers), m.Config.History)
		}
		if got, err := layerBytes(t, &m.Layers[9_999]); err != nil || string(got) != "last" {
			t.Errorf("%s: %q, %v", ref, got, err)
		}
		// Manifest and configuration are 7 MB of it.
		if held > 16<<20 {
			t.Errorf("%s: %d bytes are held", ref, held)
		}
		runtime.KeepAlive(m)
	}
}

// TestJunkMembers opens an archive in which the image is lost among members
// that nothing names; the layers come last.
func TestJunkMembers(t *testing.T) {
	const n = 10_000
	b := blobs{}
	img := b.image("linux/amd64", "one", "two")
	p := filepath.Join(t.TempDir(), "junk.tar")
	f, err := os.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	buf := bufio.NewWriterSize(f, 1<<20)
	w := tar.NewWriter(buf)
	for i := range n {
		w.WriteHeader(&tar.Header{Name: fmt.Sprintf("blobs/sha256/%064x", i), Mode: 0o644})
	}
	for name, data := range b.files(img) {
		w.WriteHeader(&tar.Header{Name: "./" + name, Mode: 0o644, Size: int64(len(data))})
		w.Write(data)
	}
	if err := errors.Join(w.Close(), buf.Flush(), f.Close()); err != nil {
		t.Fatal(err)
	}
	before := live()
	m := open(t, p, image.Options{})
	if held := live() - before; held > 1<<20 {
		t.Errorf("%d bytes are held", held)
	}
	if got, err := layerBytes(t, &m.Layers[1]); err != nil || string(got) != "two" {
		t.Errorf("%q, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := image.Open(ctx, p, image.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestWalk(t *testing.T) {
	root := t.TempDir()
	outside := writeFile(t, "outside", []byte("secret"))
	for _, d := range []string{"a/b/c", "empty"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, data string) {
		if err := os.WriteFile(filepath.Join(root, name), []byte(data), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	write("a/file", "12345")
	write("a/b/c/deep", "x")
	for name, target := range map[string]string{"out": outside, "up": "..", "loop": "loop", "dirlink": "a", "dangling": "nowhere"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(root, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := open(t, "dir:"+root, image.Options{}).Walk(t.Context(), func(e image.Entry) error {
		got = append(got, fmt.Sprintf("%s %d %d %s %v", e.Path, e.Type, e.Size, e.Linkname, e.Err))
		f, err := e.Open()
		if (err == nil) != (e.Type == image.TypeRegular) {
			t.Errorf("%s: Open: %v", e.Path, err)
		}
		if f != nil {
			f.Close()
		}
		if e.Path == "a/b/c" {
			return fs.SkipDir
		}
		return nil
	})
	slices.Sort(got)
	want := []string{
		"a 1 0  <nil>", "a/b 1 0  <nil>", "a/b/c 1 0  <nil>", "a/file 0 5  <nil>", "dangling 2 0 nowhere <nil>", "dirlink 2 0 a <nil>",
		"empty 1 0  <nil>", "loop 2 0 loop <nil>", "out 2 0 " + outside + " <nil>", "pipe 3 0  <nil>", "up 2 0 .. <nil>",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n got %q\nwant %q", err, got, want)
	}
	stop := errors.New("stop")
	if err := open(t, "dir:"+root, image.Options{}).Walk(t.Context(), func(image.Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
	if _, err := image.Open(t.Context(), "dir:"+filepath.Join(root, "nothing"), image.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

// TestWalkSwapped replaces a file by a link between its entry and its opening.
func TestWalkSwapped(t *testing.T) {
	root := writeDir(t, map[string][]byte{"d/file": []byte("x"), "d2/other": []byte("secret")})
	err := open(t, "dir:"+root, image.Options{}).Walk(t.Context(), func(e image.Entry) error {
		if e.Path != "d/file" {
			return nil
		}
		p := filepath.Join(root, "d", "file")
		for _, target := range []string{filepath.Join(root, "d2", "other"), "../d2/other", "sibling"} {
			os.WriteFile(filepath.Join(root, "d", "sibling"), nil, 0o644)
			os.Remove(p)
			os.Symlink(target, p)
			if f, err := e.Open(); err == nil {
				f.Close()
				t.Errorf("a link to %s was opened in the place of a file", target)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestWalkDeep(t *testing.T) {
	root := t.TempDir()
	r, err := os.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	for range 450 {
		if err := r.Mkdir("d", 0o755); err != nil {
			t.Fatal(err)
		}
		sub, err := r.OpenRoot("d")
		r.Close()
		if r = sub; err != nil {
			t.Fatal(err)
		}
	}
	r.Close()
	n, deep := 0, 0
	err = open(t, "dir:"+root, image.Options{}).Walk(t.Context(), func(e image.Entry) error {
		n++
		if e.Err != nil {
			deep++
		}
		return nil
	})
	if err != nil || n != 401 || deep != 1 {
		t.Errorf("%d entries, %d with an error, %v", n, deep, err)
	}
}

func TestWalkWideIsFlat(t *testing.T) {
	root := t.TempDir()
	const files = 3_000
	for i := range files {
		f, err := os.Create(filepath.Join(root, fmt.Sprintf("a-file-with-a-name-of-ordinary-length-%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	before, peak, n := live(), int64(0), 0
	err := open(t, "dir:"+root, image.Options{}).Walk(t.Context(), func(image.Entry) error {
		if n++; n%500 == 0 {
			peak = max(peak, live()-before)
		}
		return nil
	})
	if err != nil || n != files || peak > 128<<10 {
		t.Errorf("%d entries, %d bytes at the peak, %v", n, peak, err)
	}
}

func TestWalkSlash(t *testing.T) {
	err := open(t, "dir:/", image.Options{}).Walk(t.Context(), func(e image.Entry) error {
		for _, d := range []string{"proc/", "sys/", "dev/", "run/"} {
			if strings.HasPrefix(e.Path, d) {
				t.Fatalf("%s was entered", e.Path)
			}
		}
		if e.Type == image.TypeDir && !slices.Contains([]string{"proc", "sys", "dev", "run"}, e.Path) {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
