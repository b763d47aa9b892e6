package pacman

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/extracttest"
	"stella/internal/scan/inventory"
)

const path = "var/lib/pacman/local/lantern-1:2.5-4/desc"

func TestWants(t *testing.T) {
	for path, want := range map[string]bool{
		path:                                   true,
		"srv/arch/" + path:                     true,
		"var/lib/pacman/local/desc":            false,
		"var/lib/pacman/local/a-1-1/files":     false,
		"var/lib/pacman/local/a-1-1/x/desc":    false,
		"var/lib/pacman/sync/a-1-1/desc":       false,
		"xvar/lib/pacman/local/a-1-1/desc":     false,
		"desc":                                 false,
		"var/lib/pacman/local/ALPM_DB_VERSION": false,
	} {
		if got := New().Wants(extract.Header{Path: path}); got != want {
			t.Errorf("Wants(%q) = %v", path, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() { New().Wants(extract.Header{Path: path}) }); n != 0 {
		t.Errorf("Wants allocates %v times", n)
	}
}

// The descriptions were made with makepkg and pacman 6.0.2 (--dbonly); the expected
// values agree with its pacman -Qi.
func TestPacman(t *testing.T) {
	arch := []inventory.Qualifier{{Key: "arch", Value: "x86_64"}, {Key: "upstream", Value: "lantern"}}
	for file, want := range map[string]inventory.Package{
		"lantern": {
			Type: inventory.ALPM, Name: "lantern", Version: "1:2.5-4", Qualifiers: arch, Supplier: "Stella Tester <tester@example.org>",
			Licenses: []string{"MIT", "Apache-2.0"},
			Provides: []string{"alpm:light", "alpm:lantern"},
			Requires: []inventory.Requirement{{"alpm:liblantern.so=2-64", "alpm:liblantern.so"}, {"alpm:glibc"}, {"alpm:sh"}},
		},
		"liblantern": {
			Type: inventory.ALPM, Name: "liblantern", Version: "1:2.5-4", Qualifiers: arch, Supplier: "Stella Tester <tester@example.org>",
			Licenses: []string{"LGPL-2.1-or-later"},
			Provides: []string{"alpm:liblantern.so", "alpm:liblantern.so=2-64", "alpm:liblantern.so", "alpm:liblantern.so=1-64", "alpm:liblantern"},
		},
	} {
		data, err := os.ReadFile("testdata/" + file + ".desc")
		if err != nil {
			t.Fatal(err)
		}
		r := extracttest.Run(t, New(), path, data)
		if diff := cmp.Diff([]inventory.Package{want}, r.Packages); diff != "" || r.Err != nil || r.Reasons != nil {
			t.Errorf("%s: error %v, reasons %q\n%s", file, r.Err, r.Reasons, diff)
		}
		for n := range data {
			r := extracttest.Run(t, New(), path, data[:n])
			if len(r.Packages)+len(r.Reasons) == 0 {
				t.Fatalf("the first %d bytes of %s gave neither a package nor a reason", n, file)
			}
		}
	}
}

func TestBad(t *testing.T) {
	for text, reason := range map[string]string{
		"":                         "names no package",
		"%NAME%\n\n%VERSION%\n1\n": "names no package",
		"%NAME%\na\n":              "no version of a",
		"%NAME%\na\n%VERSION%\n1\n%LICENSE%\n" + strings.Repeat("x", 5000): "line 6, of section %LICENSE%, is longer than 4096 bytes",
	} {
		r := extracttest.Run(t, New(), path, []byte(text))
		if len(r.Reasons) != 1 || !strings.Contains(r.Reasons[0], reason) || r.Err != nil {
			t.Errorf("%.40q: error %v, reasons %q", text, r.Err, r.Reasons)
		}
	}
}

// repeat gives the same text over and over, n bytes of it.
func repeat(text string, n int64) io.Reader { return io.LimitReader(&repeater{text: text}, n) }

type repeater struct {
	text string
	at   int
}

func (r *repeater) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

func TestMemory(t *testing.T) {
	const start = "%NAME%\na\n\n%VERSION%\n1\n\n%DEPENDS%\n"
	const size = 12 << 20
	for name, text := range map[string]string{
		"many dependencies": "liba.so=1-64\nlibb.so=2-64\n",
		"one dependency":    "a",
		"many licences":     "\n%LICENSE%\nA licence of some length\n",
	} {
		r := io.MultiReader(strings.NewReader(start), repeat(strings.Repeat(text, 1<<10), size))
		live, n, err := extracttest.Peak(t, New(), extracttest.Header(path, size), r)
		if err != nil || n != 1 || live > extract.Budget {
			t.Errorf("%s: %d packages, %d bytes live, error %v", name, n, live, err)
		}
		t.Logf("%s: %d KiB live", name, live>>10)
	}
}

func FuzzExtract(f *testing.F) {
	data, err := os.ReadFile("testdata/lantern.desc")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("%NAME%\n%\n%%\n%VERSION%\n=1\n%DEPENDS%\n=\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		extracttest.Fuzz(t, New(), path, 0o644, data)
		// A description gives a package or says why not.
		if r := extracttest.Run(t, New(), path, data); len(r.Packages) > 1 || len(r.Packages)+len(r.Reasons) == 0 {
			t.Fatalf("%d packages and %d reasons", len(r.Packages), len(r.Reasons))
		}
	})
}
