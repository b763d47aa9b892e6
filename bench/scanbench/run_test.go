package main

import (
	"archive/tar"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/bench/images"
	"stella/bench/ociwrite"
	"stella/internal/testkit"
)

// measured runs a shell script as a tool would be run.
func measured(t *testing.T, script string, limit int64, timeout time.Duration) Run {
	t.Helper()
	testkit.Need(t, testkit.MemoryCgroup)
	work := t.TempDir()
	run, err := runOnce(context.Background(), "test", []string{"sh", "-c", script}, limit, timeout, work)
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(work); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	return run
}

func TestRunSeesNamedAndUnlinkedFiles(t *testing.T) {
	const mib = 1 << 20
	run := measured(t, `dd if=/dev/zero of=$TMPDIR/a bs=1M count=8 2>/dev/null
		exec 9>$HOME/b; rm $HOME/b; dd if=/dev/zero bs=1M count=4 >&9 2>/dev/null; sleep 0.6`, 256*mib, time.Minute)
	if run.Failure != "" || run.OOMKilled {
		t.Fatalf("%+v", run)
	}
	if run.TempDisk < 12*mib || run.TempDisk > 13*mib {
		t.Errorf("temporary disk %d bytes, want 12 MiB", run.TempDisk)
	}
	if run.Wall < 0.6 || run.CPU <= 0 || run.CPU > run.Wall*4 {
		t.Errorf("wall %.2f s, CPU %.2f s", run.Wall, run.CPU)
	}
	if run.RSS < 100<<10 || run.RSS > 16*mib {
		t.Errorf("peak RSS of a shell is %d bytes", run.RSS)
	}
}

func TestRunReportsAKill(t *testing.T) {
	run := measured(t, `exec awk 'BEGIN { s = "xxxxxxxxxxxxxxxx"; while (1) s = s s }'`, 24<<20, time.Minute)
	if !run.OOMKilled || !run.CutShort || run.Failure != "OOM-killed at its limit of 24 MiB" {
		t.Errorf("%+v", run)
	}
}

func TestRunReportsFailureAndTimeout(t *testing.T) {
	run := measured(t, `echo first >&2; echo the reason >&2; exit 3`, 64<<20, time.Minute)
	if run.OOMKilled || run.CutShort || run.Failure != "exit status 3: the reason" {
		t.Errorf("%+v", run)
	}
	run = measured(t, `exec sleep 60`, 64<<20, 200*time.Millisecond)
	if run.OOMKilled || !run.CutShort || run.Failure != "stopped after 200ms" {
		t.Errorf("%+v", run)
	}
}

func TestArchiveHoldsTheImage(t *testing.T) {
	store := images.Store{Dir: t.TempDir(), Compression: ociwrite.Gzip}
	im, err := store.BuildSynthetic(context.Background(), images.Synthetic{Layers: 3, Files: 30, Packages: 3, FileSize: 100})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), archiveFile)
	if err := writeArchive(im.Path, "", name); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := map[string]int64{}
	var manifest string
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == "manifest.json" {
			text, _ := io.ReadAll(tr)
			manifest = string(text)
			continue
		}
		got[h.Name] = h.Size
	}
	m, err := ociwrite.Read(im.Path, images.Tag)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{archiveName(m.Config.Digest): m.Config.Size}
	for _, l := range m.Layers {
		want[archiveName(l.Digest)] = l.Size
		if !strings.Contains(manifest, archiveName(l.Digest)) {
			t.Errorf("manifest.json does not name layer %s", l.Digest)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestValidateNamesEveryMistake(t *testing.T) {
	err := Options{Image: t.TempDir()}.Validate()
	for _, want := range []string{"no OCI layout", "no tools", "limit must be positive", "repetitions"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
