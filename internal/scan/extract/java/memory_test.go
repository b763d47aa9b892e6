package java

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"

	"github.com/klauspost/compress/flate"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/extracttest"
	"stella/internal/scan/inventory"
	"stella/internal/spool"
)

// archiveFile writes an archive to a file, so that nothing of the generator is live when memory is measured.
func archiveFile(t *testing.T, fill func(w *zip.Writer) error) *os.File {
	t.Helper()
	f, err := os.Create(t.TempDir() + "/test.jar")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	w := zip.NewWriter(f)
	// Level 0: deflated members, at no cost.
	w.RegisterCompressor(zip.Deflate, func(o io.Writer) (io.WriteCloser, error) { return flate.NewWriter(o, 0) })
	if err := fill(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f
}

// seekable is a file of a directory source, which measures live memory while it is read.
type seekable struct {
	*os.File
	every, reads int
	base, peak   uint64
}

func (s *seekable) ReadAt(p []byte, off int64) (int, error) {
	if s.reads++; s.reads%s.every == 0 {
		s.peak = max(s.peak, heap())
	}
	return s.File.ReadAt(p, off)
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// peakWhileReading is the live memory above the start at the worst moment of Extract.
func peakWhileReading(t *testing.T, f *os.File, every int, out extract.Output) int64 {
	t.Helper()
	i, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	s := &seekable{File: f, every: every, base: heap()}
	s.peak = s.base
	file := extract.NewFile(extract.Header{Path: "app-1.jar", Size: i.Size()}, s, spool.NewSpace(t.TempDir(), 64<<10))
	defer file.Close()
	if err := New().Extract(t.Context(), file, out); err != nil {
		t.Fatal(err)
	}
	if s.reads < 10*every {
		t.Fatalf("%d reads: too few to have measured anything", s.reads)
	}
	t.Logf("%d KiB live at most", (s.peak-s.base)>>10)
	return int64(s.peak - s.base)
}

func TestMemoryManyMembers(t *testing.T) {
	f := archiveFile(t, func(w *zip.Writer) error {
		for i := range 150_000 {
			if _, err := w.CreateHeader(&zip.FileHeader{Name: fmt.Sprintf("com/example/application/package%d/Class%d.class", i/100, i)}); err != nil {
				return err
			}
		}
		_, err := w.Create("META-INF/maven/g/app/pom.properties")
		return err
	})
	r := new(extracttest.Result)
	if peak := peakWhileReading(t, f, 32, r); peak > extract.Budget {
		t.Errorf("%d KiB live, the budget is %d KiB", peak>>10, extract.Budget>>10)
	}
	if len(r.Packages) != 1 || r.Reasons != nil {
		t.Error(lines(r), r.Reasons)
	}
	// And as a layer gives it.
	i, _ := f.Stat()
	f.Seek(0, io.SeekStart)
	peak, n, err := extracttest.Peak(t, New(), extract.Header{Path: "app-1.jar", Size: i.Size()}, f)
	if err != nil || n != 1 || peak > extract.Budget {
		t.Errorf("%d packages, %d KiB live, %v", n, peak>>10, err)
	}
}

// One large jar in a jar, and many small ones.
func TestMemoryNested(t *testing.T) {
	lib := []byte(jar(manifestOf(), properties("g", "lib", "1")))
	f := archiveFile(t, func(w *zip.Writer) error {
		big, err := w.Create("lib/big-1.jar")
		if err != nil {
			return err
		}
		z := zip.NewWriter(big)
		data, err := z.CreateHeader(&zip.FileHeader{Name: "data", Method: zip.Store})
		if err != nil {
			return err
		}
		if _, err := io.CopyN(data, rand.NewChaCha8([32]byte{}), 64<<20); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		for i := range 2000 {
			m, err := w.Create(fmt.Sprintf("lib/lib%d-1.jar", i))
			if err == nil {
				_, err = io.Copy(m, bytes.NewReader(lib))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	r := new(counting)
	if peak := peakWhileReading(t, f, 256, r); peak > extract.Budget {
		t.Errorf("%d KiB live, the budget is %d KiB", peak>>10, extract.Budget>>10)
	}
	// The archive has neither manifest nor descriptor, big has neither name nor content of one: both go by their names.
	if want := (counting{packages: 2002, partial: 1}); *r != want {
		t.Errorf("got %+v, want %+v: the dependencies of app on all of them are too many", *r, want)
	}
}

// counting drops what it takes.
type counting struct{ packages, partial int }

func (c *counting) Package(*inventory.Package) error           { c.packages++; return nil }
func (c *counting) PackageAt(string, *inventory.Package) error { c.packages++; return nil }
func (c *counting) Release(*inventory.Release) error           { return nil }
func (c *counting) Partial(string)                             { c.partial++ }
