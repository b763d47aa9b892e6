// Package extracttest runs an extractor as the engine would, and checks the
// contract of package extract: [Run] collects what it gives, [Peak] measures
// the live memory it holds, [Fuzz] is the invariant of every fuzz target.
package extracttest

import (
	"bytes"
	"io"
	"io/fs"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"stella/internal/scan/extract"
	"stella/internal/scan/inventory"
	"stella/internal/spool"
)

// Result is everything that one Extract gave. It implements extract.Output.
type Result struct {
	Packages []inventory.Package
	// Members holds, for each package, the member path given to PackageAt.
	Members  []string
	Releases []inventory.Release
	// Reasons are those given to Partial, the first thousand.
	Reasons []string
	Err     error
}

// Find returns the first package with that name.
func (r *Result) Find(name string) (inventory.Package, bool) {
	for _, p := range r.Packages {
		if p.Name == name {
			return p, true
		}
	}
	return inventory.Package{}, false
}

// Package implements extract.Output.
func (r *Result) Package(p *inventory.Package) error { return r.PackageAt("", p) }

// PackageAt implements extract.Output. Like the engine, it copies.
func (r *Result) PackageAt(member string, p *inventory.Package) error {
	c := *p
	c.Qualifiers = append([]inventory.Qualifier(nil), p.Qualifiers...)
	c.Licenses = append([]string(nil), p.Licenses...)
	c.Provides = append([]string(nil), p.Provides...)
	c.Requires = nil
	for _, q := range p.Requires {
		c.Requires = append(c.Requires, append(inventory.Requirement(nil), q...))
	}
	r.Packages = append(r.Packages, c)
	r.Members = append(r.Members, member)
	return nil
}

// Release implements extract.Output.
func (r *Result) Release(v *inventory.Release) error { r.Releases = append(r.Releases, *v); return nil }

// Partial implements extract.Output.
func (r *Result) Partial(reason string) {
	if len(r.Reasons) < 1000 {
		r.Reasons = append(r.Reasons, reason)
	}
}

// Header is the header of a plain file of mode 0644, or 0755 where the path is in a bin directory.
func Header(path string, size int64) extract.Header {
	h := extract.Header{Path: path, Size: size, Mode: 0o644}
	if strings.Contains(path, "bin/") {
		h.Mode |= 0o111
	}
	return h
}

// Run extracts data as the file at path, streamed: random access is spooled,
// as it would be from a layer.
func Run(tb testing.TB, x extract.Extractor, path string, data []byte) *Result {
	tb.Helper()
	return RunReader(tb, x, Header(path, int64(len(data))), bytes.NewReader(data))
}

// RunReader is Run for content that is too large to hold.
func RunReader(tb testing.TB, x extract.Extractor, h extract.Header, r io.Reader) *Result {
	tb.Helper()
	res := new(Result)
	res.Err = run(tb, x, h, r, res)
	return res
}

func run(tb testing.TB, x extract.Extractor, h extract.Header, r io.Reader, out extract.Output) error {
	f := extract.NewFile(h, onlyReader{r}, spool.NewSpace(tb.TempDir(), 64<<10))
	defer f.Close()
	return x.Extract(tb.Context(), f, out)
}

type onlyReader struct{ io.Reader }

// Peak runs the extractor over r, which should yield at least some megabytes, and returns
// the most live heap, in bytes, that was seen above the level before. It
// collects garbage every 256 KiB of input and every 512 packages, so
// that only live memory counts. What is found is dropped.
func Peak(tb testing.TB, x extract.Extractor, h extract.Header, r io.Reader) (live int64, packages int, err error) {
	tb.Helper()
	p := &probe{r: r, base: heap()}
	err = run(tb, x, h, p, p)
	return p.peak, p.packages, err
}

type probe struct {
	r               io.Reader
	base, peak      int64
	bytes, packages int
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(min(m.HeapAlloc, math.MaxInt64))
}

func (p *probe) measure() { p.peak = max(p.peak, heap()-p.base) }

func (p *probe) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if p.bytes += n; p.bytes >= 256<<10 || err != nil {
		p.bytes = 0
		p.measure()
	}
	return n, err
}

func (p *probe) Package(v *inventory.Package) error { return p.PackageAt("", v) }
func (p *probe) PackageAt(string, *inventory.Package) error {
	if p.packages++; p.packages%512 == 1 {
		p.measure()
	}
	return nil
}
func (p *probe) Release(*inventory.Release) error { return nil }
func (p *probe) Partial(string)                   {}

// Fuzz checks the invariant that every extractor keeps on any input: no
// panic, the same output twice, and only clean fields in packages.
func Fuzz(t *testing.T, x extract.Extractor, path string, mode fs.FileMode, data []byte) {
	h := extract.Header{Path: path, Size: int64(len(data)), Mode: mode}
	a := RunReader(t, x, h, bytes.NewReader(data))
	b := RunReader(t, x, h, bytes.NewReader(data))
	if !reflect.DeepEqual(a.Packages, b.Packages) || !reflect.DeepEqual(a.Reasons, b.Reasons) || (a.Err == nil) != (b.Err == nil) {
		t.Fatalf("two runs differ:\n%+v\n%+v", a, b)
	}
	for _, p := range a.Packages {
		Check(t, &p)
	}
}

// Check fails the test where a package breaks a rule of inventory.Package.
func Check(tb testing.TB, p *inventory.Package) {
	tb.Helper()
	if p.Type == "" || p.Name == "" {
		tb.Errorf("package without type or name: %+v", p)
	}
	fields := append([]string{p.Namespace, p.Name, p.Version, p.Supplier}, p.Licenses...)
	fields = append(fields, p.Provides...)
	for _, q := range p.Qualifiers {
		fields = append(fields, q.Key, q.Value)
	}
	for _, q := range p.Requires {
		fields = append(fields, q...)
	}
	for _, s := range fields {
		if len(s) > 2*inventory.MaxField || !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			tb.Errorf("unclean field %.80q (%d bytes) in %s %s", s, len(s), p.Type, p.Name)
		}
	}
}
