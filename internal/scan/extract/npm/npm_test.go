package npm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
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

// oracle is the graph according to npm, without the project itself.
func oracle(t *testing.T) (ids, edges []string) {
	t.Helper()
	type node struct {
		Version      string
		Dependencies map[string]node
	}
	var root node
	if err := json.Unmarshal(read(t, "npm-ls.json"), &root); err != nil {
		t.Fatal(err)
	}
	var walk func(from string, n node)
	walk = func(from string, n node) {
		for name, d := range n.Dependencies {
			if name == "strwidth" {
				name = "string-width"
			}
			to := name + "@" + d.Version
			ids = append(ids, to)
			if from != "" {
				edges = append(edges, from+" > "+to)
			}
			walk(to, d)
		}
	}
	walk("", root)
	return edgestest.Sorted(ids), edgestest.Sorted(edges)
}

// Every lockfile of the same project says what npm says of it installed.
func TestLockfiles(t *testing.T) {
	const dev = "ms@2.1.3"
	allIDs, allEdges := oracle(t)
	for _, c := range []struct {
		file, as string
		root     bool // names the project
		dev      bool // cannot tell what is for development
	}{
		{file: "package-lock-1.json", as: "package-lock.json"},
		{file: "package-lock-2.json", as: "package-lock.json", root: true},
		{file: "package-lock-3.json", as: "npm-shrinkwrap.json", root: true},
		{file: "yarn-1.lock", as: "yarn.lock", dev: true},
		{file: "yarn-berry.lock", as: "yarn.lock", dev: true},
		{file: "pnpm-lock-5.yaml", as: "pnpm-lock.yaml"},
		{file: "pnpm-lock-6.yaml", as: "pnpm-lock.yaml"},
		{file: "pnpm-lock-9.yaml", as: "pnpm-lock.yaml", dev: true},
	} {
		t.Run(c.file, func(t *testing.T) {
			res := extracttest.Run(t, New(), "srv/app/"+c.as, read(t, c.file))
			if res.Err != nil || res.Reasons != nil {
				t.Fatal(res.Err, res.Reasons)
			}
			root := 0
			for _, p := range res.Packages {
				extracttest.Check(t, &p)
				if !p.Declared || p.Type != inventory.NPM {
					t.Errorf("%s: %+v", edgestest.ID(p), p)
				}
				if p.Name == "demo" {
					root = len(p.Requires)
				}
			}
			if (root > 0) != c.root {
				t.Errorf("the project has %d dependencies", root)
			}
			ids, edges := edgestest.Graph(slices.DeleteFunc(res.Packages, func(p inventory.Package) bool { return p.Name == "demo" }))
			want := slices.Clone(allIDs)
			if !c.dev {
				want = slices.DeleteFunc(want, func(s string) bool { return s == dev })
			}
			if !cmp.Equal(ids, want) {
				t.Errorf("packages (- expected): %s", cmp.Diff(want, ids))
			}
			if !cmp.Equal(edges, allEdges) {
				t.Errorf("edges (- expected): %s", cmp.Diff(allEdges, edges))
			}
		})
	}
}

func TestLicensesOfLockfile(t *testing.T) {
	p, _ := extracttest.Run(t, New(), "package-lock.json", read(t, "package-lock-3.json")).Find("is-odd")
	if !cmp.Equal(p.Licenses, []string{"MIT"}) {
		t.Error(p.Licenses)
	}
}

// The manifests of an installed tree have the same graph.
func TestInstalled(t *testing.T) {
	var packages []inventory.Package
	for _, part := range strings.Split(string(read(t, "installed.txt")), "== ")[1:] {
		path, content, _ := strings.Cut(part, "\n")
		res := extracttest.Run(t, New(), "srv/"+path, []byte(content))
		if res.Err != nil || res.Reasons != nil {
			t.Fatal(path, res.Err, res.Reasons)
		}
		for _, p := range res.Packages {
			if extracttest.Check(t, &p); p.Declared {
				t.Errorf("%s is installed, not declared", path)
			}
		}
		packages = append(packages, res.Packages...)
	}
	wantIDs, wantEdges := oracle(t)
	ids, edges := edgestest.Graph(slices.DeleteFunc(packages, func(p inventory.Package) bool { return p.Name == "demo" }))
	if !cmp.Equal(ids, wantIDs) || !cmp.Equal(edges, wantEdges) {
		t.Error(cmp.Diff(wantIDs, ids), cmp.Diff(wantEdges, edges))
	}
}

func TestWants(t *testing.T) {
	for path, want := range map[string]bool{
		"package.json": true, "a/node_modules/b/package.json": true, "a/xpackage.json": false, "package.json/x": false,
		"a/package-lock.json": true, "a/npm-shrinkwrap.json": true, "yarn.lock": true, "x/pnpm-lock.yaml": true,
		"node_modules/b/package-lock.json": false, "a/node_modules/b/yarn.lock": false, "node_modules/.package-lock.json": false, "a/my_node_modules/yarn.lock": true,
	} {
		if got := New().Wants(extracttest.Header(path, 10)); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	if New().Wants(extracttest.Header("package.json", 0)) {
		t.Error("an empty file is wanted")
	}
	h := extracttest.Header("usr/lib/node_modules/npm/package.json", 10)
	if n := testing.AllocsPerRun(100, func() { New().Wants(h) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestManifestForms(t *testing.T) {
	for _, c := range []struct {
		doc  string
		want *inventory.Package
	}{
		{`{"name":"a","version":"1"}`, &inventory.Package{}},
		{"\xEF\xBB\xBF" + `{"name":"a","version":"1","license":"(MIT OR Apache-2.0)","author":"A B <a@b> (http://c)"}`, &inventory.Package{Licenses: []string{"(MIT OR Apache-2.0)"}, Supplier: "A B <a@b> (http://c)"}},
		{`{"name":"a","version":"1","license":{"type":"MIT","url":"u"},"author":{"email":"a@b","name":"A B"},"contributors":"anyone"}`, &inventory.Package{Licenses: []string{"MIT"}, Supplier: "A B <a@b>"}},
		{`{"name":"a","version":"1","licenses":[{"type":"MIT"},{"name":"X"},"BSD",[1],null,{"type":7}],"author":["x"],"contributors":[{}]}`, &inventory.Package{Licenses: []string{"MIT", "X", "BSD"}}},
		{`{"name":"a","version":"1","dependencies":["x"],"license":null,"author":null,"peerDependencies":null}`, &inventory.Package{}},
		{`{"name":"a"}`, nil}, {`{"version":"1"}`, nil}, {`{"type":"module"}`, nil}, {`{"name":"","version":"1"}`, nil}, {`{"name":{},"version":[1]}`, nil}, {`[]`, nil}, {`"x"`, nil},
	} {
		res := extracttest.Run(t, New(), "n/package.json", []byte(c.doc))
		if res.Err != nil {
			t.Errorf("%s: %v", c.doc, res.Err)
		}
		if c.want == nil {
			if len(res.Packages) != 0 {
				t.Errorf("%s: %+v", c.doc, res.Packages)
			}
			continue
		}
		c.want.Type, c.want.Name, c.want.Version, c.want.Provides = inventory.NPM, "a", "1", []string{"npm:n"}
		if len(res.Packages) != 1 || !cmp.Equal(res.Packages[0], *c.want) {
			t.Errorf("%s: %s", c.doc, cmp.Diff([]inventory.Package{*c.want}, res.Packages))
		}
	}
}

func TestResolution(t *testing.T) {
	doc := `{"name":"@s/n","version":"1","dependencies":{"@x/y":"1"}}`
	p, _ := extracttest.Run(t, New(), "app/node_modules/@s/n/package.json", []byte(doc)).Find("n")
	want := []inventory.Requirement{{"npm:app/node_modules/@s/n/node_modules/@x/y", "npm:app/node_modules/@x/y", "npm:node_modules/@x/y"}}
	if p.Namespace != "@s" || !cmp.Equal(p.Requires, want) {
		t.Error(p.Namespace, cmp.Diff(want, p.Requires))
	}
}

func TestBrokenManifestKeepsWhatCameBefore(t *testing.T) {
	res := extracttest.Run(t, New(), "package.json", []byte(`{"name":"a","version":"1", // comment`))
	if len(res.Packages) != 1 || res.Err == nil {
		t.Errorf("%+v", res)
	}
}

func TestNameTooLong(t *testing.T) {
	res := extracttest.Run(t, New(), "package.json", []byte(`{"version":"1","name":"`+strings.Repeat("a", 1<<20)+`"}`))
	if len(res.Packages) != 0 || len(res.Reasons) != 1 || res.Err != nil {
		t.Errorf("%d packages, reasons %q, error %v", len(res.Packages), res.Reasons, res.Err)
	}
}

func TestDetails(t *testing.T) {
	for _, c := range []struct{ path, doc, want string }{
		{"package-lock.json", `{"lockfileVersion":1,"dependencies":{"x":{"version":"npm:@a/b@2.0.0"},"f":{"version":"file:../f"},"d":{"dev":true,"version":"1","dependencies":{"e":{"version":"1"}}},"o":{"version":"1","requires":{"i":"1"},"dependencies":{"i":{"version":"3"}}}}}`, "[@a/b@2.0.0 i@3 o@1] [o@1 > i@3]"},
		{"package-lock.json", `{"packages":{"":{"name":"r"},"packages/w":{"name":"w","version":"1"},"node_modules/w":{"resolved":"packages/w","link":true},"node_modules/al":{"name":"real","version":"2"},"bad":7}}`, "[real@2 w@1] []"},
		{"yarn.lock", "\"a@npm:b@^1\":\n  version \"1.2.0\"\n\nc@1, c@^1:\n  version \"1.0.0\"\n  dependencies:\n    a \"npm:b@^1\"\n", "[b@1.2.0 c@1.0.0] [c@1.0.0 > b@1.2.0]"},
		{"yarn.lock", "\"a@npm:^1\":\n  version: 1.2.0\n  resolution: \"a@npm:1.2.0\"\n\n\"c@npm:1\":\n  version: 1.0.0\n  dependencies:\n    a: ^1\n", "[a@1.2.0 c@1.0.0] [c@1.0.0 > a@1.2.0]"},
		{"yarn.lock", "\"w@workspace:.\":\n  version: 0.0.0-use.local\n  resolution: \"w@workspace:.\"\n  linkType: soft\n\n? \"ts@npm:4, ts@patch:ts@4\"\n:\n  version: 4.1.0\n  resolution: \"ts@patch:ts@npm%3A4\"\n  linkType: hard\n", "[ts@4.1.0] []"},
		{"pnpm-lock.yaml", "lockfileVersion: '9.0'\n\npackages:\n\n  a@https://h/a.tgz:\n    resolution: {tarball: https://h/a.tgz}\n    version: 3.0.0\n\nsnapshots:\n\n  a@https://h/a.tgz: {}\n\n  '@s/b@1.0.0(a@3.0.0)':\n    dependencies:\n      a: https://h/a.tgz\n      l: link:../l\n    transitivePeerDependencies:\n      - c\n---\nlockfileVersion: '9.0'\nsnapshots:\n  ? z@1.0.0(y@2)\n  : dependencies:\n      q: 1.0.0\n  q@1.0.0: {}\n", "[@s/b@1.0.0 a@3.0.0 q@1.0.0 z@1.0.0] [@s/b@1.0.0 > a@3.0.0 z@1.0.0 > q@1.0.0]"},
		{"pnpm-lock.yaml", "lockfileVersion: 5.4\npackages:\n  /@s/a_b/1.0.0_peer@2:\n    dependencies:\n      g: github.com/o/g/abc\n    dev: false\n  github.com/o/g/abc:\n    name: g\n    version: 0.1.0\n  /d/1.0.0:\n    dev: true\n", "[@s/a_b@1.0.0 g@0.1.0] [@s/a_b@1.0.0 > g@0.1.0]"},
	} {
		res := extracttest.Run(t, New(), c.path, []byte(c.doc))
		ids, edges := edgestest.Graph(res.Packages)
		if got := fmt.Sprint(ids, edges); got != c.want || res.Err != nil {
			t.Errorf("%s: %s, want %s, error %v\n%s", c.path, got, c.want, res.Err, c.doc)
		}
	}
}

var samples = map[string]string{
	"package.json": "", "package-lock.json": "package-lock-2.json", "npm-shrinkwrap.json": "package-lock-1.json", "yarn.lock": "yarn-berry.lock", "pnpm-lock.yaml": "pnpm-lock-9.yaml",
}

// Cut anywhere, a file gives a beginning of what it gives whole, and JSON an error.
func TestTruncated(t *testing.T) {
	for path, sample := range samples {
		if sample == "" {
			continue
		}
		data := read(t, sample)
		whole := extracttest.Run(t, New(), path, data)
		for i := 0; i < len(bytes.TrimSpace(data)); i += 61 {
			res := extracttest.Run(t, New(), path, data[:i])
			if strings.HasSuffix(path, ".json") && res.Err == nil {
				t.Fatalf("%s cut at %d: no error", path, i)
			}
			if len(res.Packages) > len(whole.Packages) {
				t.Fatalf("%s cut at %d: more packages than in the whole", path, i)
			}
		}
	}
}

func FuzzExtract(f *testing.F) {
	paths := slices.Sorted(maps.Keys(samples))
	for i, path := range paths {
		if samples[path] != "" {
			f.Add(uint8(i), read(f, samples[path]))
		}
	}
	f.Add(uint8(0), []byte(`{"name":"@a/b","version":"1","license":["MIT",{"type":"X"}],"author":{"name":"n"},"dependencies":{"c":"1"}}`))
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		path := paths[int(which)%len(paths)]
		extracttest.Fuzz(t, New(), "app/"+path, 0o644, data)
		res := extracttest.Run(t, New(), "app/"+path, data)
		if path == "package.json" && len(res.Packages) > 1 {
			t.Errorf("%d packages in one manifest", len(res.Packages))
		}
		for _, p := range res.Packages {
			if p.Declared != (path != "package.json") || p.Version == "" {
				t.Errorf("%s: %+v", path, p)
			}
		}
	})
}

func TestFlatMemory(t *testing.T) {
	const n = 20_000
	repeat, numbered := edgestest.Repeat, edgestest.Numbered
	long := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		name, path string
		r          io.Reader
		packages   int
	}{
		{"dependencies", strings.Repeat("d/", 400) + "package.json", repeat(`{"name":"a","version":"1","dependencies":{`, `"z":""}}`, 10*n, numbered(`"dependency-number-%d":"^1.0.0",`)), 1},
		{"licences", "package.json", repeat(`{"name":"a","version":"1","licenses":[`, `""]}`, n, numbered(`"licence %d",`)), 1},
		{"long values", "package.json", repeat(`{"name":"a","version":"1","x":"`, `"}`, 30, func(int) string { return long }), 1},
		{"packages", "package-lock.json", repeat(`{"packages":{`, `"":{}}}`, n, numbered(`"node_modules/package-%d":{"version":"1.0.0","dependencies":{"a":"1","b":"2"}},`)), n},
		{"tree", "package-lock.json", repeat(`{"dependencies":{`, `"z":{}}}`, n, numbered(`"package-%d":{"version":"1.0.0","requires":{"a":"1"},"dependencies":{"n":{"version":"1"}}},`)), 2 * n},
		{"yarn", "yarn.lock", repeat("", "", n, numbered("\"package@^%d\", b@2:\n  version \"1.0.0\"\n  dependencies:\n    a \"^1\"\n\n")), n},
		{"yarn descriptors", "yarn.lock", repeat("", ":\n  version \"1\"\n", n, numbered("package@^%d, ")), 1},
		{"yarn dependencies", "yarn.lock", repeat("a@1:\n  version \"1\"\n  dependencies:\n", "", n, numbered("    dependency-number-%d \"^1\"\n")), 1},
		{"pnpm", "pnpm-lock.yaml", repeat("lockfileVersion: '9.0'\npackages:\n", "", n, numbered("  a@https://h/%d:\n    version: 1.0.0\n")), 0},
		{"pnpm snapshots", "pnpm-lock.yaml", repeat("lockfileVersion: '9.0'\nsnapshots:\n", "", n, numbered("  package@1.0.%d:\n    dependencies:\n      a: 1.0.0\n")), n},
	} {
		t.Run(c.name, func(t *testing.T) {
			live, packages, err := extracttest.Peak(t, New(), extracttest.Header(c.path, 1<<40), c.r)
			if err != nil || live > extract.Budget || packages != c.packages {
				t.Errorf("%d KiB live, %d packages, %v", live>>10, packages, err)
			}
		})
	}
}

// What is too long to resolve is said, and costs no package.
func TestLongPath(t *testing.T) {
	long := strings.Repeat("d/", 600)
	for path, doc := range map[string]string{
		long + "package.json": `{"name":"a","version":"1","dependencies":{"b":"1"}}`,
		"package-lock.json":   `{"packages":{"` + long + `node_modules/a":{"version":"1","dependencies":{"b":"1"}}}}`,
	} {
		res := extracttest.Run(t, New(), path, []byte(doc))
		if res.Err != nil || len(res.Packages) != 1 || len(res.Packages[0].Requires) != 0 || len(res.Reasons) != 1 {
			t.Errorf("%.20s: %+v", path, res)
		}
	}
}

// The deepest tree is cut, and says so.
func TestNestedTooDeep(t *testing.T) {
	doc := `{"dependencies":` + strings.Repeat(`{"a":{"version":"1","dependencies":`, 3000) + `{}` + strings.Repeat(`}}`, 3000) + `}`
	res := extracttest.Run(t, New(), "package-lock.json", []byte(doc))
	if res.Err != nil || len(res.Packages) != maxNesting || len(res.Reasons) != 1 {
		t.Errorf("%d packages, %q, %v", len(res.Packages), res.Reasons, res.Err)
	}
}
