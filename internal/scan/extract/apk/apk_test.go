package apk

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/extracttest"
	"stella/internal/scan/inventory"
)

const path = "lib/apk/db/installed"

func TestWants(t *testing.T) {
	for path, want := range map[string]bool{
		"lib/apk/db/installed":          true,
		"usr/lib/apk/db/installed":      true,
		"srv/root/lib/apk/db/installed": true,
		"xlib/apk/db/installed":         false,
		"lib/apk/db/installed.new":      false,
		"lib/apk/db/scripts.tar":        false,
	} {
		if got := New().Wants(extract.Header{Path: path}); got != want {
			t.Errorf("Wants(%q) = %v", path, got)
		}
	}
}

// testdata/installed is two records of Alpine Linux (musl of 3.15, musl-utils
// of 3.12), some files and descriptions left out.
func TestAlpine(t *testing.T) {
	data, err := os.ReadFile("testdata/installed")
	if err != nil {
		t.Fatal(err)
	}
	r := extracttest.Run(t, New(), path, data)
	const timo = "Timo Teräs <timo.teras@iki.fi>"
	want := []inventory.Package{
		{
			Type: inventory.APK, Name: "musl", Version: "1.2.2-r7", Supplier: timo,
			Qualifiers: []inventory.Qualifier{{Key: "arch", Value: "x86_64"}}, Licenses: []string{"MIT"},
			Provides: []string{"apk:so:libc.musl-x86_64.so.1", "apk:musl"},
		},
		{
			Type: inventory.APK, Name: "musl-utils", Version: "1.1.24-r2", Supplier: timo,
			Qualifiers: []inventory.Qualifier{{Key: "arch", Value: "x86_64"}, {Key: "upstream", Value: "musl"}},
			Licenses:   []string{"MIT BSD GPL2+"},
			Provides:   []string{"apk:cmd:getconf", "apk:cmd:getent", "apk:cmd:iconv", "apk:cmd:ldconfig", "apk:cmd:ldd", "apk:musl-utils"},
			Requires:   []inventory.Requirement{{"apk:scanelf"}, {"apk:so:libc.musl-x86_64.so.1"}},
		},
	}
	if diff := cmp.Diff(want, r.Packages); diff != "" || r.Err != nil || r.Reasons != nil {
		t.Errorf("error %v, reasons %q\n%s", r.Err, r.Reasons, diff)
	}
	for n := range data {
		got := extracttest.Run(t, New(), path, data[:n]).Packages
		if full := strings.Count(string(data[:n]), "\n\n"); len(got) < full || !cmp.Equal(want[:full], got[:full], cmpopts.EquateEmpty()) {
			t.Fatalf("of the first %d bytes, with %d records, came %d packages, or others", n, full, len(got))
		}
	}
}

func TestForms(t *testing.T) {
	for _, c := range []struct {
		name, path, text string
		requires         []inventory.Requirement
		packages         int
		reason           string
	}{
		{"bounds, conflicts, repositories", path, "P:a\nV:1\nD:b>=1 c<2 d=3 e~4 f=~5 g@edge !h /bin/sh pc:zlib>=1\n",
			[]inventory.Requirement{{"apk:b"}, {"apk:c"}, {"apk:d"}, {"apk:e"}, {"apk:f"}, {"apk:g"}, {"apk:/bin/sh"}, {"apk:pc:zlib"}}, 1, ""},
		{"the new place", "usr/lib/apk/db/installed", "P:a\nV:1\nD:b\n", []inventory.Requirement{{"apk:b"}}, 1, ""},
		{"another root", "srv/x/usr/lib/apk/db/installed", "P:a\nV:1\nD:b\n", []inventory.Requirement{{"apk:/srv/x:b"}}, 1, ""},
		{"no version", path, "P:a\n\nP:b\nV:1\n", nil, 1, "line 1 states no version of a"},
		{"not a database", path, "<html>\n<p>\n", nil, 0, "line 1 is not a field"},
		{"too long", path, "P:" + strings.Repeat("a", 5000) + "\nV:1\n", nil, 1, "line 1, field P, is longer than 4 KiB"},
	} {
		r := extracttest.Run(t, New(), c.path, []byte(c.text))
		if all := strings.Join(r.Reasons, "\n"); len(r.Packages) != c.packages || r.Err != nil || (c.reason == "") != (all == "") || !strings.Contains(all, c.reason) {
			t.Errorf("%s: %d packages, error %v, reasons %q", c.name, len(r.Packages), r.Err, r.Reasons)
			continue
		}
		if c.packages > 0 {
			if diff := cmp.Diff(c.requires, r.Packages[0].Requires, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s:\n%s", c.name, diff)
			}
		}
	}
}

// generate gives n texts, made while they are read.
func generate(n int, text func(i int) string) io.Reader {
	r, w := io.Pipe()
	go func() {
		b := bufio.NewWriter(w)
		for i := range n {
			if _, err := b.WriteString(text(i)); err != nil {
				return
			}
		}
		b.Flush()
		w.Close()
	}()
	return r
}

func TestMemory(t *testing.T) {
	part := strings.Repeat("so:libx.so.1=2 ", 4<<10)
	for _, c := range []struct {
		name     string
		n        int
		text     func(i int) string
		packages int
	}{
		{"20,000 packages, 12 MB", 20_000, func(i int) string {
			return fmt.Sprintf("P:p%d\nV:1\nA:x\np:%s\nD:%s\n%s\n", i, part[:150], part[:150], strings.Repeat("R:file\n", 40))
		}, 20_000},
		{"one line of 12 MiB", 200, func(i int) string {
			if i == 0 {
				return "P:a\nV:1\nD:"
			}
			return part
		}, 1},
	} {
		live, n, err := extracttest.Peak(t, New(), extracttest.Header(path, 0), generate(c.n, c.text))
		if err != nil || n != c.packages || live > extract.Budget {
			t.Errorf("%s: %d packages, %d bytes live, error %v", c.name, n, live, err)
		}
		t.Logf("%s: %d KiB live", c.name, live>>10)
	}
}

func FuzzExtract(f *testing.F) {
	data, err := os.ReadFile("testdata/installed")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("P:a\nV:1\nD:!b =c\n\n:\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		extracttest.Fuzz(t, New(), path, 0o644, data)
		// A record gives a package or a reason.
		records := 0
		for r := range strings.SplitSeq("\n"+string(data)+"\n", "\n\n") {
			if strings.Trim(r, "\n") != "" {
				records++
			}
		}
		if r := extracttest.Run(t, New(), path, data); len(r.Packages)+len(r.Reasons) < min(records, 1000) {
			t.Fatalf("%d records gave %d packages and %d reasons", records, len(r.Packages), len(r.Reasons))
		}
	})
}
