package composer

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/edges/edgestest"
	"stella/internal/scan/extract/extracttest"
	"stella/internal/scan/inventory"
)

func read(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestFiles(t *testing.T) {
	ids := []string{"acme/kit@dev-main", "monolog/monolog@2.9.1", "psr/log@v3.0.0"}
	edges := []string{"acme/kit@dev-main > monolog/monolog@2.9.1", "monolog/monolog@2.9.1 > psr/log@v3.0.0"}
	// What is installed includes what is for development.
	allIDs := []string{"acme/kit@dev-main", "monolog/monolog@2.9.1", "phpunit/phpunit@8.5.33", "psr/log@v3.0.0"}
	allEdges := append(edges[:2:2], "phpunit/phpunit@8.5.33 > psr/log@v3.0.0")
	for _, c := range []struct {
		file, path string
		ids, edges []string
		declared   bool
	}{
		{"composer.lock", "app/composer.lock", ids, edges, true},
		{"installed-1.json", "app/vendor/composer/installed.json", allIDs, allEdges, false},
		{"installed-2.json", "app/vendor/composer/installed.json", allIDs, allEdges, false},
	} {
		res := extracttest.Run(t, New(), c.path, read(t, c.file))
		if res.Err != nil || res.Reasons != nil {
			t.Fatal(c.file, res.Err, res.Reasons)
		}
		for _, p := range res.Packages {
			if extracttest.Check(t, &p); p.Declared != c.declared || p.Type != inventory.Composer {
				t.Errorf("%s: %+v", c.file, p)
			}
		}
		gotIDs, gotEdges := edgestest.Graph(res.Packages)
		if !cmp.Equal(gotIDs, c.ids) || !cmp.Equal(gotEdges, c.edges) {
			t.Errorf("%s: %s%s", c.file, cmp.Diff(c.ids, gotIDs), cmp.Diff(c.edges, gotEdges))
		}
	}
}

func TestFields(t *testing.T) {
	const scope = "composer:app/composer.lock:"
	want := []inventory.Package{
		{Type: inventory.Composer, Namespace: "monolog", Name: "monolog", Version: "2.9.1", Declared: true, Licenses: []string{"MIT"}, Supplier: "Jordi Boggiano <j.boggiano@seld.be>",
			Provides: []string{scope + "monolog/monolog", scope + "psr/log-implementation"}, Requires: []inventory.Requirement{{scope + "psr/log"}}},
		{Type: inventory.Composer, Namespace: "psr", Name: "log", Version: "v3.0.0", Declared: true, Licenses: []string{"MIT"}, Provides: []string{scope + "psr/log"}},
		{Type: inventory.Composer, Namespace: "acme", Name: "kit", Version: "dev-main", Declared: true, Licenses: []string{"GPL-2.0-only", "proprietary"},
			Provides: []string{scope + "acme/kit", scope + "acme/old-kit"}, Requires: []inventory.Requirement{{scope + "monolog/monolog"}, {scope + "psr/log-implementation"}}},
	}
	if got := extracttest.Run(t, New(), "app/composer.lock", read(t, "composer.lock")).Packages; !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

func TestOddForms(t *testing.T) {
	for doc, want := range map[string]string{
		`{}`: "[]", `[]`: "[]", `{"packages":null}`: "[]", `[1,null,{"name":"a/b"},{"version":"1"}]`: "[]",
		`[{"name":"a/b","version":"1","require":[],"license":null,"authors":"me"}]`: "[a/b@1]",
		`[{"name":"bare","version":"1"}]`:                                           "[bare@1]",
	} {
		res := extracttest.Run(t, New(), "vendor/composer/installed.json", []byte(doc))
		ids, _ := edgestest.Graph(res.Packages)
		if got := fmt.Sprint(ids); got != want || res.Err != nil {
			t.Errorf("%s: %s, want %s, %v", doc, got, want, res.Err)
		}
	}
}

func TestWants(t *testing.T) {
	for path, want := range map[string]bool{
		"app/vendor/composer/installed.json": true, "composer/installed.json": true, "app/composer.lock": true, "composer.lock": true,
		"app/installed.json": false, "xcomposer/installed.json": false, "xcomposer.lock": false, "composer.json": false,
	} {
		h := extracttest.Header(path, 1)
		if New().Wants(h) != want {
			t.Errorf("%s: %v", path, !want)
		}
		if n := testing.AllocsPerRun(10, func() { New().Wants(h) }); n != 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}

// Cut anywhere, the file is an error, and the packages before the cut stay.
func TestTruncated(t *testing.T) {
	data := bytes.TrimSpace(read(t, "composer.lock"))
	second := bytes.Index(data, []byte(`"psr/log",`))
	for i := 0; i < len(data); i += 11 {
		res := extracttest.Run(t, New(), "composer.lock", data[:i])
		if _, ok := res.Find("monolog"); res.Err == nil || i > second && !ok {
			t.Fatalf("cut at %d: %v, %d packages", i, res.Err, len(res.Packages))
		}
	}
}

func FuzzExtract(f *testing.F) {
	f.Add(true, read(f, "composer.lock"))
	f.Add(false, read(f, "installed-1.json"))
	f.Fuzz(func(t *testing.T, lock bool, data []byte) {
		path := "vendor/composer/installed.json"
		if lock {
			path = "composer.lock"
		}
		extracttest.Fuzz(t, New(), path, 0o644, data)
		for _, p := range extracttest.Run(t, New(), path, data).Packages {
			if p.Declared != lock || p.Version == "" || len(p.Provides) == 0 {
				t.Errorf("%+v", p)
			}
		}
	})
}

func TestFlatMemory(t *testing.T) {
	const n = 20_000
	repeat, numbered := edgestest.Repeat, edgestest.Numbered
	long := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		name     string
		r        io.Reader
		packages int
	}{
		{"packages", repeat(`{"packages":[`, `{}]}`, n, numbered(`{"name":"a/b%d","version":"1","license":["MIT"],"require":{"a/c":"1"}},`)), n},
		{"require", repeat(`[{"name":"a/b","version":"1","require":{`, `"z":""}}]`, 10*n, numbered(`"a/dependency-%d":"1",`)), 1},
		{"licences", repeat(`[{"name":"a/b","version":"1","license":[`, `""]}]`, 10*n, numbered(`"licence %d",`)), 1},
		{"long value", repeat(`[{"name":"a/b","version":"1","description":"`, `"}]`, 30, func(int) string { return long }), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			live, packages, err := extracttest.Peak(t, New(), extracttest.Header("composer/installed.json", 1<<40), c.r)
			if err != nil || live > extract.Budget || packages != c.packages {
				t.Errorf("%d KiB live, %d packages, %v", live>>10, packages, err)
			}
		})
	}
}
