package pkgdb_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scan/extract/extracttest"
	"stella/internal/scan/extract/pkgdb"
	"stella/internal/scan/inventory"
)

func TestRoot(t *testing.T) {
	for _, c := range []struct {
		path, root string
		ok         bool
	}{
		{"var/lib/dpkg/status", "", true},
		{"opt/chroot/var/lib/dpkg/status", "opt/chroot", true},
		{"notvar/lib/dpkg/status", "", false},
		{"var/lib/dpkg/status-old", "", false},
		{"/var/lib/dpkg/status", "", true},
		{"status", "", false},
		{"", "", false},
	} {
		root, ok := pkgdb.Root(c.path, "var/lib/dpkg/status")
		if root != c.root || ok != c.ok {
			t.Errorf("Root(%q) = %q, %v; want %q, %v", c.path, root, ok, c.root, c.ok)
		}
	}
}

func TestLines(t *testing.T) {
	long := "begin" + strings.Repeat("x", 3*pkgdb.MaxLine)
	text := "one\n\n" + long + "\nafter\n" + strings.Repeat("y", pkgdb.MaxLine-1) + "\nlast"
	var got []string
	l := pkgdb.NewLines(t.Context(), strings.NewReader(text))
	defer l.Close()
	for l.Next() {
		s := fmt.Sprintf("%d %d %v", l.Number(), len(l.Bytes()), l.Long())
		got = append(got, s+" "+string(l.Bytes()[:min(5, len(l.Bytes()))]))
	}
	want := []string{
		"1 3 false one", "2 0 false ",
		fmt.Sprintf("3 %d true begin", pkgdb.MaxLine), "4 5 false after",
		fmt.Sprintf("5 %d false yyyyy", pkgdb.MaxLine-1), "6 4 false last",
	}
	if diff := cmp.Diff(want, got); diff != "" || l.Err() != nil {
		t.Errorf("lines differ (error %v):\n%s", l.Err(), diff)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the disk is gone") }

func TestLinesStop(t *testing.T) {
	l := pkgdb.NewLines(t.Context(), io.MultiReader(strings.NewReader("a\nb"), failing{}))
	n := 0
	for l.Next() {
		n++
	}
	if n != 2 || l.Err() == nil {
		t.Errorf("%d lines and error %v; want 2 lines and the reader's error", n, l.Err())
	}
	l.Close()

	ctx, cancel := context.WithCancel(t.Context())
	l = pkgdb.NewLines(ctx, endless{})
	defer l.Close()
	for l.Next() {
		if l.Number() == 1000 {
			cancel()
		}
	}
	if !errors.Is(l.Err(), context.Canceled) || l.Number() > 2000 {
		t.Errorf("stopped at line %d with %v", l.Number(), l.Err())
	}
	cancel()
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '\n'
	}
	return len(p), nil
}

func TestRecord(t *testing.T) {
	r := pkgdb.NewRecord(inventory.RPM, "opt/root")
	r.Package.Name, r.Package.Version = "a", "1"
	r.Provide("a")
	r.Provide("b")
	r.Provide("b")
	r.Require("x")
	r.Require("x")
	r.Require("y", "z")
	r.Require("")
	r.Qualify("arch", "")
	r.Qualify("upstream", "src")
	var res extracttest.Result
	if err := r.Emit(&res, "the first"); err != nil {
		t.Fatal(err)
	}
	r.Reset()
	if err := r.Emit(&res, "the second"); err != nil {
		t.Fatal(err)
	}
	r.Reset()
	r.Package.Name = "c"
	if err := r.Emit(&res, "the third"); err != nil {
		t.Fatal(err)
	}
	want := []inventory.Package{{
		Type: inventory.RPM, Name: "a", Version: "1",
		Qualifiers: []inventory.Qualifier{{Key: "upstream", Value: "src"}},
		Provides:   []string{"rpm:/opt/root:a", "rpm:/opt/root:b"},
		Requires:   []inventory.Requirement{{"rpm:/opt/root:x"}, {"rpm:/opt/root:y", "rpm:/opt/root:z"}},
	}}
	if diff := cmp.Diff(want, res.Packages); diff != "" {
		t.Error(diff)
	}
	if len(res.Reasons) != 2 || !strings.Contains(res.Reasons[0], "the second names no package") || !strings.Contains(res.Reasons[1], "the third states no version of c") {
		t.Errorf("reasons: %q", res.Reasons)
	}
}

// What does not fit is counted and said, and the package's own name is kept.
func TestRecordBound(t *testing.T) {
	r := pkgdb.NewRecord(inventory.Deb, "")
	r.Package.Name, r.Package.Version = "fat", "1"
	for i := range 100_000 {
		r.Provide(fmt.Sprint("name", i))
	}
	r.Require(strings.Repeat("n", 1<<20))
	var res extracttest.Result
	if err := r.Emit(&res, "it"); err != nil {
		t.Fatal(err)
	}
	p := res.Packages[0]
	if n := len(p.Provides); n < 1000 || n > 10_000 || p.Provides[n-1] != "deb:fat" || len(p.Requires) != 0 {
		t.Errorf("%d provided, the last is %q, %d required", n, p.Provides[n-1], len(p.Requires))
	}
	if want := fmt.Sprint(100_000 + 1 - (len(p.Provides) - 1)); len(res.Reasons) != 1 || !strings.Contains(res.Reasons[0], want) {
		t.Errorf("reasons %q do not say that %s were left out", res.Reasons, want)
	}
}
