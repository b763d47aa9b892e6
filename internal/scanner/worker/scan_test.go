package worker

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/bench/ociwrite"
	"stella/internal/scan"
	"stella/internal/scan/extract/all"
	"stella/internal/scan/image"
	"stella/internal/scan/squash"
	"stella/internal/scanner"
	"stella/internal/spool"
)

// content is a file of an image.
type content struct {
	name string
	size int64
	open func() io.Reader
}

func text(name, s string) content {
	return content{name, int64(len(s)), func() io.Reader { return strings.NewReader(s) }}
}

// jar is a valid archive of a Java library with so many bytes of something in it.
func jar(t *testing.T, name string, bytes int64) content {
	t.Helper()
	path := filepath.Join(t.TempDir(), "jar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	w, err := z.Create("META-INF/maven/org.example/lib/pom.properties")
	if err == nil {
		_, err = io.WriteString(w, "groupId=org.example\nartifactId=lib\nversion=1.2\n")
	}
	if err == nil {
		w, err = z.CreateHeader(&zip.FileHeader{Name: "data", Method: zip.Store})
	}
	if err == nil {
		_, err = io.CopyN(w, zeros{}, bytes)
	}
	err = errors.Join(err, z.Close())
	info, statErr := f.Stat()
	if err = errors.Join(err, statErr, f.Close()); err != nil {
		t.Fatal(err)
	}
	return content{name, info.Size(), func() io.Reader {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// layout writes an image with one layer of these files.
func layout(t testing.TB, c ociwrite.Compression, files ...content) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	w, err := ociwrite.New(dir, c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := w.Layer()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := l.Entry(tar.Header{Name: f.name, Mode: 0o644, Size: f.size}, f.open()); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.Close(), w.Close("test")); err != nil {
		t.Fatal(err)
	}
	return "oci-dir:" + dir
}

var npm = text("srv/node_modules/left/package.json", `{"name":"left","version":"1.0.0"}`)

// task is a task that can be done.
func task(t testing.TB, ref string) Task {
	t.Helper()
	m, err := image.Open(t.Context(), ref, image.Options{Platform: "linux/amd64"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	return Task{
		Job: 7, Attempt: 1, Image: ref, Digest: m.Digest, Platform: "linux/amd64", Local: true,
		Mode: scanner.ModeStreaming, Memory: scan.DefaultMemory, TempDir: t.TempDir(), OutDir: t.TempDir(),
	}
}

// purls are what a result lists.
func purls(t *testing.T, r Report) []string {
	t.Helper()
	f, err := os.Open(r.InventoryFile)
	if err != nil {
		t.Fatal(err)
	}
	inv, err := squash.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	defer inv.Close()
	var found []string
	for c, err := range inv.Components() {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, c.PURL)
	}
	return found
}

// A worker finds what the call of a function finds, to the byte, task after task.
func TestScan(t *testing.T) {
	ref := layout(t, ociwrite.Gzip, npm, jar(t, "srv/lib-1.2.jar", 1<<20), text("srv/node_modules/torn/package.json", `{"name":`))
	in := task(t, ref)
	m, err := image.Open(t.Context(), ref, image.Options{Platform: "linux/amd64"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	want, err := scan.Run(t.Context(), scan.Options{Image: m, Extractors: all.Extractors(), TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	var wantBytes bytes.Buffer
	if _, err := want.WriteTo(&wantBytes); err != nil {
		t.Fatal(err)
	}

	p, _ := begin(t, "serve", realLimit)
	for _, mode := range []scanner.Mode{scanner.ModeStreaming, scanner.ModeMemory, scanner.ModeStreaming} {
		in.Mode, in.OutDir = mode, t.TempDir()
		var phases []string
		r := p.Run(t.Context(), in, func(s scanner.Progress) { phases = append(phases, s.Phase) })
		if r.Outcome != scanner.OutcomeSucceeded || r.ExitCode != nil {
			t.Fatalf("%s: %+v", mode, r)
		}
		if got := slices.Compact(phases); !slices.Equal(got, []string{"opening", "layers", "links", "squash", "done"}) {
			t.Errorf("%s: phases %v", mode, got)
		}
		got, err := os.ReadFile(r.InventoryFile)
		if err != nil || !bytes.Equal(got, wantBytes.Bytes()) {
			t.Errorf("%s: the inventory differs (%v)", mode, err)
		}
		if r.Result.Components != 2 || r.Result.Problems != 1 || r.Result.Size != int64(len(got)) || !strings.HasPrefix(r.Result.Inventory, "sha256:") {
			t.Errorf("%s: %+v", mode, r.Result)
		}
		var s Subject
		raw, err := os.ReadFile(r.SubjectFile)
		if err := errors.Join(err, json.Unmarshal(raw, &s)); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(Subject{scan.Subject(m), m.Config.Created}, s); d != "" {
			t.Errorf("%s: subject (-want +got):\n%s", mode, d)
		}
		if r.Kills != 0 || r.Peak <= 0 && r.Peak > realLimit || r.RSS <= 0 || r.Progress.Done != 1 || r.Progress.Phase != "done" {
			t.Errorf("%s: %+v", mode, r.End)
		}
	}
	if left, err := os.ReadDir(in.TempDir); err != nil || len(left) > 0 {
		t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
}

// large is a task that needs random access to more than realLimit.
func large(t *testing.T) Task {
	return task(t, layout(t, ociwrite.Gzip, npm, jar(t, "srv/lib-1.2.jar", realLimit+32<<20)))
}

// What would be temporary files is memory of the worker's cgroup, and on no disk.
func TestInMemory(t *testing.T) {
	in := large(t)
	in.Mode, in.TempDir = scanner.ModeMemory, "/nonexistent"
	p, _ := begin(t, "serve", realLimit)
	r := p.Run(t.Context(), in, func(scanner.Progress) {})
	if r.Outcome != scanner.OutcomeOOM || *r.ExitCode != 137 || r.Kills < 1 || r.Progress.Path != "srv/lib-1.2.jar" || r.Progress.Layer != 0 {
		t.Errorf("in too little: %+v", r)
	}
	for _, words := range []string{"out of memory", "layer 0", "file srv/lib-1.2.jar"} {
		if !strings.Contains(r.Message, words) {
			t.Errorf("the message does not say %q: %s", words, r.Message)
		}
	}
	p, _ = begin(t, "serve", realLimit*2+64<<20)
	if r := p.Run(t.Context(), in, func(scanner.Progress) {}); r.Outcome != scanner.OutcomeSucceeded || r.Peak < realLimit {
		t.Errorf("in enough: %+v", r)
	}
}

// The same image is streamed in as little memory as a worker may have.
func TestStreaming(t *testing.T) {
	in := large(t)
	if memory, err := spool.OnMemory(in.TempDir); memory || err != nil {
		t.Skipf("%s is memory (%v), where nothing can be streamed", in.TempDir, err)
	}
	p, _ := begin(t, "serve", realLimit)
	r := p.Run(t.Context(), in, func(scanner.Progress) {})
	if r.Outcome != scanner.OutcomeSucceeded {
		t.Fatalf("%+v", r)
	}
	if got := purls(t, r); !slices.Equal(got, []string{"pkg:maven/org.example/lib@1.2", "pkg:npm/left@1.0.0"}) {
		t.Errorf("found %v", got)
	}
	// Without a cgroup nobody would see what is in memory and not mapped.
	in.Mode, in.OutDir = scanner.ModeMemory, t.TempDir()
	p, _ = beginWatched(t, "serve", realLimit)
	var disk, memory bool
	r = p.Run(t.Context(), in, func(scanner.Progress) { disk, memory = disk || holds(p, in.TempDir), memory || holds(p, "/memfd:") })
	if r.Outcome != scanner.OutcomeSucceeded || memory {
		t.Errorf("watched: %+v; in memory: %v", r, memory)
	}
	if !disk {
		t.Error("nothing was seen on disk; the test shows nothing")
	}
}

// holds reports whether the worker has a file open whose name begins so.
func holds(p *Process, prefix string) bool {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.PID()))
	return slices.ContainsFunc(files, func(fd string) bool {
		name, _ := os.Readlink(fd)
		return strings.HasPrefix(name, prefix)
	})
}

func TestScansThatFail(t *testing.T) {
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer busy.Close()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	good := layout(t, ociwrite.Gzip, npm)
	broken := layout(t, ociwrite.None, npm)
	damage(t, broken)
	// zstd makes its window as large as what is packed, up to 8 MiB; a worker this small has less.
	window := layout(t, ociwrite.Zstd, content{"zeros", 16 << 20, func() io.Reader { return io.LimitReader(zeros{}, 16<<20) }})
	for name, c := range map[string]struct {
		task      Task
		out       scanner.Outcome
		retryable bool
		words     []string
	}{
		"not there":  {Task{Image: "oci-dir:/nonexistent"}, scanner.OutcomeError, false, []string{"/nonexistent", "not exist"}},
		"denied":     {Task{Image: good}, scanner.OutcomeError, false, []string{"--allow-path"}},
		"vanished":   {Task{Image: good, Digest: "sha256:" + strings.Repeat("0", 64), Local: true}, scanner.OutcomeError, false, []string{"removed or replaced"}},
		"damaged":    {task(t, broken), scanner.OutcomeError, false, []string{"layer 0", "sha256:"}},
		"busy":       {Task{Image: busy.Listener.Addr().String() + "/app", Local: true}, scanner.OutcomeError, true, []string{"502"}},
		"no memory":  {Task{Image: good, Local: true, Memory: 1 << 20}, scanner.OutcomeMemory, false, []string{"memory allocation failed", "24 MiB"}},
		"window":     {Task{Image: window, Local: true, Memory: scan.MinMemory}, scanner.OutcomeMemory, false, []string{"memory allocation failed", "window", "8 MiB"}},
		"no out":     {Task{Image: good, Local: true, OutDir: "/nonexistent"}, scanner.OutcomeError, false, []string{"keep the result", "/nonexistent"}},
		"no referee": {Task{Image: good, Local: true, Attach: true}, scanner.OutcomeError, false, []string{"not in a registry"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := begin(t, "serve", realLimit)
			in := c.task
			in.TempDir = t.TempDir()
			if in.OutDir == "" {
				in.OutDir = t.TempDir()
			}
			if in.Memory == 0 {
				in.Memory = scan.DefaultMemory
			}
			if name == "not there" {
				in.Local = true
			}
			in.Platform = "linux/amd64"
			r := p.Run(t.Context(), in, func(scanner.Progress) {})
			if r.Outcome != c.out || r.Retryable != c.retryable || r.ExitCode != nil || r.InventoryFile != "" {
				t.Errorf("%+v", r)
			}
			for _, words := range c.words {
				if !strings.Contains(r.Message, words) {
					t.Errorf("the message does not say %q: %s", words, r.Message)
				}
			}
			if strings.Contains(r.Message, "--max-memory") && name == "window" {
				t.Errorf("advice for the command line: %s", r.Message)
			}
			// A scan that failed costs no worker.
			if r := p.Run(t.Context(), task(t, good), func(scanner.Progress) {}); r.Outcome != scanner.OutcomeSucceeded {
				t.Errorf("the next task: %+v", r)
			}
		})
	}
}

// damage changes a byte of the layer.
func damage(t *testing.T, ref string) {
	t.Helper()
	m, err := image.Open(t.Context(), ref, image.Options{Platform: "linux/amd64"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	name := filepath.Join(strings.TrimPrefix(ref, "oci-dir:"), "blobs/sha256", strings.TrimPrefix(m.Layers[0].Digest, "sha256:"))
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestRetryable(t *testing.T) {
	for _, err := range []error{syscall.ENOSPC, syscall.EDQUOT, scanner.Errorf(scanner.ErrUnavailable, "not now")} {
		if !retryable(fmt.Errorf("spool: %w", err)) {
			t.Errorf("%v is not tried again", err)
		}
	}
	for _, err := range []error{os.ErrNotExist, os.ErrPermission, image.ErrAuth, errors.New("the digest is wrong")} {
		if retryable(err) {
			t.Errorf("%v is tried again", err)
		}
	}
	if r := failed(fmt.Errorf("write: %w", syscall.ENOMEM), progressMessage{}); r.Outcome != scanner.OutcomeMemory || !strings.Contains(r.Message, "memory allocation failed") {
		t.Errorf("%+v", r)
	}
}
