package edges

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scan/extract/extracttest"
	"stella/internal/scan/inventory"
)

func TestSet(t *testing.T) {
	var s Set
	var p inventory.Package
	s.Provide("npm:a")
	s.Require("npm:b", "npm:\x00c")
	s.Require()
	s.Give(&p)
	want := inventory.Package{Provides: []string{"npm:a"}, Requires: []inventory.Requirement{{"npm:b", "npm: c"}}}
	if !cmp.Equal(p, want) {
		t.Error(cmp.Diff(want, p))
	}
	s.Reset()
	if s.Give(&p); len(p.Provides)+len(p.Requires) != 0 {
		t.Error("not empty after Reset")
	}
}

func TestSetIsBounded(t *testing.T) {
	var s Set
	var p inventory.Package
	var out extracttest.Result
	key := strings.Repeat("k", 1000)
	for range 1000 {
		s.Require(key)
	}
	if s.Require("short"); !s.Reject() {
		t.Error("a full set takes more")
	}
	s.Give(&p)
	s.Report(&out, "x")
	if n := len(p.Requires); n == 0 || n*len(key) > MaxBytes || len(out.Reasons) != 1 {
		t.Errorf("%d kept, reasons %q", n, out.Reasons)
	}
}

func TestScope(t *testing.T) {
	long := strings.Repeat("d/", 200)
	if Scope("app/x") != "app/x" || len(Scope(long)) > 64 || Scope(long+"a") == Scope(long+"b") || Scope("\xff") == Scope("\xfe") {
		t.Error("scopes are too long, or collide")
	}
}
