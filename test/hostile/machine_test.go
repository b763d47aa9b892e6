package hostile

import (
	"archive/zip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"stella/internal/testkit"
)

// goodLayout is an image with nothing wrong.
func goodLayout(t *testing.T) string {
	m := newImage(t)
	m.hostile(gzipped, func(*tarball) {})
	return "oci-dir:" + m.close()
}

// serial waits for its turn beside TestHostile.
func serial(t *testing.T) string {
	t.Helper()
	stella := buildStella(t)
	t.Parallel()
	slots <- struct{}{}
	t.Cleanup(func() { <-slots })
	return stella
}

func expect(t *testing.T, o *outcome, exit int, says ...string) {
	t.Helper()
	if o.exit != exit {
		t.Errorf("exit code %d, want %d: %s", o.exit, exit, o.message)
	}
	for _, s := range says {
		if !strings.Contains(o.message, s) {
			t.Errorf("the message does not say %q: %s", s, o.message)
		}
	}
	if exit == 1 && o.document {
		t.Error("there is a document")
	}
}

// A temporary directory of 1 MiB is too small for a jar of 20 MiB, and for the entries of many files.
func TestFullDisk(t *testing.T) {
	testkit.Need(t, testkit.Namespaces) // that is, the right to mount
	for name, fill := range map[string]func(m *image){
		"disk-full-jar": jar(func(a *archive) { a.member("data", zip.Store, noise(20<<20)) }),
		"disk-full-entries": func(m *image) {
			m.hostile(gzipped, func(w *tarball) {
				for i := range 200_000 {
					w.file(fmt.Sprintf("data/%d/some-name-%d", i%100, i*7919), "")
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, serial(t))
			if err := syscall.Mount("tmpfs", w.tmp, "tmpfs", 0, "size=1m"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := syscall.Unmount(w.tmp, 0); err != nil {
					t.Error(err)
				}
			})
			m := newImage(t)
			fill(m)
			o := w.scanWithoutCache("oci-dir:" + m.close())
			report(t, name, "nothing wrong, but the temporary directory has room for 1 MiB", "names the directory and `--tmp-dir`", o)
			expect(t, o, 1, w.tmp, "--tmp-dir", "no space left")
		})
	}
}

// nobody is a user who may write nothing that this process made.
const nobody = 65534

func TestReadOnlyCache(t *testing.T) {
	testkit.Need(t, testkit.Root) // to scan as another user
	w := newWorld(t, serial(t))
	image := goodLayout(t)
	dirs := map[string]os.FileMode{filepath.Dir(w.root): 0o755, filepath.Dir(strings.TrimPrefix(image, "oci-dir:")): 0o755, w.tmp: 0o777, w.out: 0o777}
	for dir, mode := range dirs {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	w.uid = nobody
	o := w.scan(image)
	report(t, "cache-read-only", "nothing wrong, but `--cache-dir` cannot be written", "names the directory before it reads anything", o)
	expect(t, o, 1, w.cache, "--cache-dir")
}

// A file of the cache that is a symbolic link must not lead to its target being written.
func TestCacheOfSymlinks(t *testing.T) {
	w := newWorld(t, serial(t))
	image := goodLayout(t)
	expect(t, w.scan(image), 0)
	files, err := os.ReadDir(w.cache)
	if err != nil || len(files) == 0 {
		t.Fatalf("nothing in the cache: %v", err)
	}
	victim := filepath.Join(w.root, "victim") // watched by scan
	if err := os.WriteFile(victim, []byte("precious"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		path := filepath.Join(w.cache, f.Name())
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(victim, path); err != nil {
			t.Fatal(err)
		}
	}
	o := w.scan(image)
	report(t, "cache-symlinks", "nothing wrong, but the files of the cache are symbolic links to another file", "replaces the links; the target is not written", o)
	expect(t, o, 0)
	if !o.has("pkg:npm/before@1") {
		t.Error("the result is not that of the image")
	}
	if b, err := os.ReadFile(victim); err != nil || string(b) != "precious" {
		t.Errorf("the target holds %q, %v", b, err)
	}
}

// Directories and dangling links in the cache's place of a layer are not an end either.
func TestCacheOfOtherThings(t *testing.T) {
	w := newWorld(t, serial(t))
	image := goodLayout(t)
	expect(t, w.scan(image), 0)
	files, err := os.ReadDir(w.cache)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range files {
		path := filepath.Join(w.cache, f.Name())
		os.Remove(path)
		if i%2 == 0 {
			err = os.Symlink(filepath.Join(w.root, "nowhere"), path)
		} else {
			err = os.WriteFile(path, []byte("not a fragment"), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	o := w.scan(image)
	report(t, "cache-damaged", "nothing wrong, but the files of the cache are dangling links and garbage", "makes them again", o)
	expect(t, o, 0)
	if !o.has("pkg:npm/before@1") {
		t.Error("the result is not that of the image")
	}
}
