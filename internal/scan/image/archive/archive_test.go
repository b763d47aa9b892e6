package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"stella/internal/spool"
)

// opened opens what was written.
func opened(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func build(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		data := h.Uname // the content, for brevity
		h.Uname, h.Mode = "", 0o644
		if h.Typeflag == 0 || h.Typeflag == tar.TypeReg {
			h.Size = int64(len(data))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			io.WriteString(w, data)
		}
	}
	w.Close()
	return b.Bytes()
}

func write(t testing.TB, data []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "x.tar")
	if err := os.WriteFile(p, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func openBytes(t testing.TB, data []byte) (*Archive, error) {
	t.Helper()
	a, err := Open(t.Context(), opened(t, write(t, data)), t.TempDir(), slog.New(slog.DiscardHandler))
	if err == nil {
		t.Cleanup(func() { a.Close() })
	}
	return a, err
}

func file(name, data string) tar.Header { return tar.Header{Name: name, Uname: data} }

func link(name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}
}

func TestMembers(t *testing.T) {
	long := strings.Repeat("n", 300)
	a, err := openBytes(t, build(t,
		file("./a", "first"), file("a", "last"), file("/abs", "abs"), file("d/../up", "up"),
		link("x/layer.tar", "../y/layer.tar"), file("y/layer.tar", "layer"), link("z", "x/layer.tar"),
		tar.Header{Name: "hard", Typeflag: tar.TypeLink, Linkname: "y/layer.tar"},
		tar.Header{Name: "dir/", Typeflag: tar.TypeDir}, file(long, "long"), link("tolong", long),
		link("round", "about"), link("about", "round"), link("out", "../../etc/passwd"), link("abslink", "/etc/passwd"), link("dangling", "nothing"),
	))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"a": "last", "./a": "last", "abs": "abs", "up": "up", "x/layer.tar": "layer", "z": "layer", "hard": "layer", long: "long",
	} {
		if got, err := a.Read(t.Context(), name, 100); err != nil || string(got) != want {
			t.Errorf("%.20s: %q, %v; want %q", name, got, err, want)
		}
	}
	for name, want := range map[string]string{
		"dir": "no such member", "nothing": "no such member", "dangling": "no such member", "../../etc/passwd": "no such member",
		"round": "leads nowhere", "out": "outside of the archive", "abslink": "outside of the archive", "tolong": "more than 256 bytes",
	} {
		if got, err := a.Read(t.Context(), name, 100); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := a.Read(t.Context(), "a", 3); err == nil || !strings.Contains(err.Error(), "more than the 3") {
		t.Errorf("error %v", err)
	}
}

func TestSparseMembersAreRefused(t *testing.T) {
	data := build(t, tar.Header{Name: "s", Uname: "content", PAXRecords: map[string]string{"comment": "0123456789"}})
	data = bytes.Replace(data, []byte("22 comment=0123456789\n"), []byte("22 GNU.sparse.major=1\n"), 1)
	a, err := openBytes(t, data)
	if err != nil {
		t.Fatal(err) // archive/tar may refuse it first in another version; then there is nothing to test
	}
	if got, err := a.Read(t.Context(), "s", 100); err == nil || !strings.Contains(err.Error(), "sparse") {
		t.Errorf("%q, %v", got, err)
	}
}

// TestBeyondMemory has more members than are remembered, with a later copy of an early one and one only behind them all.
func TestBeyondMemory(t *testing.T) {
	headers := []tar.Header{file("early", "old"), link("way", "late")}
	for i := range 2 * maxKnown {
		headers = append(headers, file(fmt.Sprintf("junk%d", i), ""))
	}
	headers = append(headers, file("early", "new"), file("late", "first"), file("late", "second"))
	a, err := openBytes(t, build(t, headers...))
	if err != nil {
		t.Fatal(err)
	}
	if len(a.known) > maxKnown {
		t.Errorf("%d members are remembered", len(a.known))
	}
	for name, want := range map[string]string{"early": "new", "late": "second", "way": "second"} {
		if got, err := a.Read(t.Context(), name, 100); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestTruncatedIsSaid(t *testing.T) {
	whole := build(t, file("a", strings.Repeat("x", 700)), file("b", "y"))
	for n := 1; n < len(whole); n++ {
		a := &Archive{r: bytes.NewReader(whole), size: int64(n), close: func() {}}
		if err := a.index(t.Context()); err != nil {
			continue
		}
		// Only padding is missing, or the cut is between two members, which ends an archive to every tar.
		got, err := a.Read(t.Context(), "a", 1000)
		if n < 512+700 || n > 3*512 && n <= 4*512 || err != nil || len(got) != 700 {
			t.Errorf("cut at %d and opened: %d bytes of a, %v", n, len(got), err)
		}
	}
	if _, err := openBytes(t, []byte("hello")); !errors.Is(err, ErrNotTar) {
		t.Errorf("error %v", err)
	}
}

func TestGzip(t *testing.T) {
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	zw.Write(build(t, file("a", "content")))
	zw.Close()
	p, tmp := write(t, packed.Bytes()), t.TempDir()
	var log bytes.Buffer
	a, err := Open(t.Context(), opened(t, p), tmp, slog.New(slog.NewTextHandler(&log, nil)))
	if mem, _ := spool.OnMemory(tmp); mem {
		if err == nil || !strings.Contains(err.Error(), "kept in memory") {
			t.Errorf("error %v", err)
		}
		t.Skip("the temporary directory is in memory")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if got, err := a.Read(t.Context(), "a", 100); string(got) != "content" || !strings.Contains(log.String(), "unpacking it to a temporary file") {
		t.Errorf("%q, %v, log:\n%s", got, err, &log)
	}
	if left, _ := os.ReadDir(tmp); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(cancelled, opened(t, p), tmp, slog.New(slog.DiscardHandler)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	for n := 3; n < packed.Len(); n += 7 {
		if _, err := Open(t.Context(), opened(t, write(t, packed.Bytes()[:n])), tmp, slog.New(slog.DiscardHandler)); err == nil {
			t.Fatalf("cut at %d and opened", n)
		}
	}
}

func FuzzArchive(f *testing.F) {
	f.Add(build(f, file("index.json", "{}"), link("x/layer.tar", "../index.json"), tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "x/layer.tar"}))
	f.Add(build(f, link("a", "b"), link("b", "a"), link("x/layer.tar", "../../y")))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 || bytes.HasPrefix(data, []byte("\x1f\x8b")) {
			return
		}
		a := &Archive{r: bytes.NewReader(data), size: int64(len(data)), close: func() {}}
		if a.index(t.Context()) != nil {
			return
		}
		found, err := a.Find(t.Context(), []string{"index.json", "x/layer.tar", "h", "a"})
		if err != nil {
			return
		}
		for name, m := range found {
			if m.offset < 0 || m.Size < 0 || m.offset+m.Size > int64(len(data)) {
				t.Fatalf("%s: %+v is not within %d bytes", name, m, len(data))
			}
			if _, err := io.Copy(io.Discard, a.Open(m)); err != nil {
				t.Fatal(err)
			}
		}
	})
}
