package bench

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"stella/bench/images"
	"stella/bench/ociwrite"
)

// fragments are the finished layers in a cache.
func fragments(t *testing.T, cache string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(cache, "*.fragment"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A scan that was killed in the middle goes on behind the layers that were
// finished, and its document is the one of a scan that was not killed.
func TestGoesOnAfterSIGKILL(t *testing.T) {
	stella := binary(t)
	const layers = 40
	img, err := images.Store{Dir: t.TempDir(), Compression: ociwrite.Gzip}.
		BuildSynthetic(t.Context(), images.Synthetic{Layers: layers, Files: 4000, Packages: 400, FileSize: 20_000})
	if err != nil {
		t.Fatal(err)
	}
	cache, tmp, out := t.TempDir(), t.TempDir(), t.TempDir()
	command := func(doc string, more ...string) *exec.Cmd {
		args := append([]string{"scan", "image", "oci-dir:" + img.Path, "--tmp-dir", tmp, "--progress", "none", "--workers", "1", "-o", "cyclonedx-json=" + filepath.Join(out, doc)}, more...)
		return exec.Command(stella, args...)
	}
	if b, err := command("whole", "--no-cache").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}

	killed := command("killed", "--cache-dir", cache)
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for len(fragments(t, cache)) < layers/4 {
		if time.Now().After(deadline) {
			t.Fatal("no layer was finished in a minute")
		}
	}
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed.Wait()
	finished := fragments(t, cache)
	if len(finished) >= layers {
		t.Fatal("the scan was over before it was killed")
	}
	if _, err := os.Stat(filepath.Join(out, "killed")); err == nil {
		t.Error("a killed scan left a document")
	}
	// What was finished is not written again: its modification as a file (change of inode) would show.
	inodes := map[string]fs.FileInfo{}
	for _, name := range finished {
		if inodes[name], err = os.Stat(name); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := command("resumed", "--cache-dir", cache).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	for name, before := range inodes {
		if after, err := os.Stat(name); err != nil || !os.SameFile(before, after) {
			t.Errorf("a finished layer was decoded again (%v)", err)
		}
	}
	if n := len(fragments(t, cache)); n != layers {
		t.Errorf("%d layers in the cache", n)
	}
	whole, err := os.ReadFile(filepath.Join(out, "whole"))
	if err != nil {
		t.Fatal(err)
	}
	resumed, err := os.ReadFile(filepath.Join(out, "resumed"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(whole, resumed) {
		t.Error("the document of the scan that was killed and went on differs")
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) > 0 {
		t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
	docs, err := os.ReadDir(out)
	if err != nil || len(docs) != 2 {
		t.Errorf("documents: %v, %v", docs, err)
	}
}
