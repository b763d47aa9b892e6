package gem

import (
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

func TestInstalled(t *testing.T) {
	const dir = "usr/share/rubygems-integration/all"
	require := func(names ...string) (r []inventory.Requirement) {
		for _, n := range names {
			r = append(r, inventory.Requirement{"gem:" + dir + ":" + n, "gem:" + n})
		}
		return r
	}
	for _, c := range []struct {
		file string
		want inventory.Package
	}{
		{"addressable-2.8.1.gemspec", inventory.Package{Name: "addressable", Version: "2.8.1", Licenses: []string{"Apache-2.0"}, Supplier: "Bob Aman", Requires: require("public_suffix")}},
		{"irb-1.4.1.gemspec", inventory.Package{Name: "irb", Version: "1.4.1", Licenses: []string{"Ruby", "BSD-2-Clause"}, Supplier: "Keiju ISHITSUKA", Requires: require("reline")}},
		{"rbs-2.1.0.gemspec", inventory.Package{Name: "rbs", Version: "2.1.0", Licenses: []string{"BSD-2-Clause", "Ruby"}, Supplier: "Soutaro Matsumoto"}},
		{"nokogiri-1.13.10.gemspec", inventory.Package{Name: "nokogiri", Version: "1.13.10", Licenses: []string{"MIT"}, Requires: require("mini_portile2", "racc"),
			Supplier: "Mike Dalessio, Aaron Patterson, Yoko Harada, Akinori MUSHA, John Shahid, Karol Bucek, Sam Ruby, Craig Barnes, Stephen Checkoway, Lars Kanis, Sergio Arbeo, Timothy Elliott, Nobuyoshi Nakada"}},
		// Its only dependencies are for development; the branch for old versions repeats them as plain ones.
		{"rack-2.2.22.gemspec", inventory.Package{Name: "rack", Version: "2.2.22", Licenses: []string{"MIT"}, Supplier: "Leah Neukirchen"}},
	} {
		c.want.Type, c.want.Provides = inventory.Gem, []string{"gem:" + dir + ":" + c.want.Name, "gem:" + c.want.Name}
		res := extracttest.Run(t, New(), dir+"/specifications/"+c.file, read(t, c.file))
		if res.Err != nil || res.Reasons != nil || !cmp.Equal(res.Packages, []inventory.Package{c.want}) {
			t.Errorf("%s: %v %q %s", c.file, res.Err, res.Reasons, cmp.Diff([]inventory.Package{c.want}, res.Packages))
		}
	}
}

func TestSpecForms(t *testing.T) {
	const name = "  s.name = \"a\".freeze\n  s.version = \"1.0\"\n"
	for _, c := range []struct {
		doc  string
		want inventory.Package
	}{
		{"# stub: a 1.0 x86_64-linux lib\n" + name + "  s.platform = \"x86_64-linux\".freeze\n", inventory.Package{Qualifiers: []inventory.Qualifier{{Key: "platform", Value: "x86_64-linux"}}}},
		{"# stub: a 1.0 java lib\n  s.name = NAME\n  s.version = Foo::VERSION\n  s.platform = Gem::Platform.new([nil, \"java\", nil])\n", inventory.Package{Qualifiers: []inventory.Qualifier{{Key: "platform", Value: "java"}}}},
		{"# stub: a 1.0 ruby lib\n# stub: ext/one.rb ext/two.rb ext/three.rb\n", inventory.Package{}},
		{name + `  s.authors = ["Andr\u00E9 \"A\" B".freeze, 'it''s', "\u{1F600}"]` + "\n" + `  s.licenses = []` + "\n", inventory.Package{Supplier: "Andr\u00e9 \"A\" B, it, s, \U0001F600"}},
		{name + "  s.license = %q<MIT>\n  s.add_dependency(%q<b>.freeze)\n  s.add_development_dependency(%q<c>)\n  s.add_dependency name\n", inventory.Package{Licenses: []string{"MIT"}, Requires: []inventory.Requirement{{"gem:x:b", "gem:b"}}}},
		{strings.ReplaceAll(name, "\n", "\r\n") + "  s.files = [\"" + strings.Repeat("f", 100_000) + "\"]\n", inventory.Package{}},
	} {
		c.want.Type, c.want.Name, c.want.Version, c.want.Provides = inventory.Gem, "a", "1.0", []string{"gem:x:a", "gem:a"}
		res := extracttest.Run(t, New(), "x/specifications/default/a.gemspec", []byte(c.doc))
		if res.Err != nil || res.Reasons != nil || !cmp.Equal(res.Packages, []inventory.Package{c.want}) {
			t.Errorf("%.200s: %v %q %s", c.doc, res.Err, res.Reasons, cmp.Diff([]inventory.Package{c.want}, res.Packages))
		}
	}
	for _, doc := range []string{"Gem::Specification.new { |s| }\n", "  s.name = \"a\"\n  s.version = \"#{V}\"\n", "  s.name = \"a\"\n  s.authors = [\"" + strings.Repeat("f", 100_000) + "\"]\n"} {
		if res := extracttest.Run(t, New(), "specifications/a.gemspec", []byte(doc)); len(res.Packages) != 0 || len(res.Reasons) == 0 {
			t.Errorf("%.60q: %v, %q", doc, res.Packages, res.Reasons)
		}
	}
}

func TestLockfile(t *testing.T) {
	res := extracttest.Run(t, New(), "app/Gemfile.lock", read(t, "Gemfile.lock"))
	if res.Err != nil || res.Reasons != nil {
		t.Fatal(res.Err, res.Reasons)
	}
	var platforms []string
	for _, p := range res.Packages {
		if !p.Declared || p.Type != inventory.Gem {
			t.Errorf("%+v", p)
		}
		for _, q := range p.Qualifiers {
			platforms = append(platforms, edgestest.ID(p)+" "+q.Key+"="+q.Value)
		}
	}
	if want := []string{"nokogiri@1.16.2 platform=x86_64-linux", "racc@1.7.3 platform=java"}; !cmp.Equal(platforms, want) {
		t.Error(cmp.Diff(want, platforms))
	}
	ids, edges := edgestest.Graph(res.Packages)
	wantIDs := []string{"addressable@2.8.6", "demo@0.1.0", "mini_portile2@2.8.5", "nokogiri@1.16.2", "public_suffix@5.0.4", "racc@1.7.3", "rack@2.2.8", "widgets@0.3.0"}
	wantEdges := []string{"addressable@2.8.6 > public_suffix@5.0.4", "demo@0.1.0 > rack@2.2.8", "nokogiri@1.16.2 > mini_portile2@2.8.5", "nokogiri@1.16.2 > racc@1.7.3", "widgets@0.3.0 > rack@2.2.8"}
	if !cmp.Equal(ids, wantIDs) || !cmp.Equal(edges, wantEdges) {
		t.Error(cmp.Diff(wantIDs, ids), cmp.Diff(wantEdges, edges))
	}
}

func TestWants(t *testing.T) {
	for path, want := range map[string]bool{
		"usr/lib/ruby/gems/3.1.0/specifications/default/irb-1.4.1.gemspec": true, "specifications/a.gemspec": true,
		"usr/lib/ruby/gems/3.1.0/gems/a-1/a.gemspec": false, "myspecifications/a.gemspec": false, "app/Gemfile.lock": true, "gems.locked": true, "app/Gemfile": false, "xGemfile.lock": false,
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

func TestTruncated(t *testing.T) {
	data := read(t, "nokogiri-1.13.10.gemspec")
	for i := 0; i < len(data); i += 13 {
		res := extracttest.Run(t, New(), "specifications/a.gemspec", data[:i])
		if len(res.Packages) == 0 && len(res.Reasons) == 0 {
			t.Fatalf("cut at %d: nothing, and nothing is said of it", i)
		}
		for _, p := range res.Packages {
			extracttest.Check(t, &p)
		}
	}
}

func FuzzExtract(f *testing.F) {
	f.Add(true, read(f, "nokogiri-1.13.10.gemspec"))
	f.Add(true, []byte("# stub: a 1 java lib\n s.authors = [\"\\u00e9\\u{1f600}\\\"\", %q<x>]\n s.add_dependency(%q<b>"))
	f.Add(false, read(f, "Gemfile.lock"))
	f.Fuzz(func(t *testing.T, spec bool, data []byte) {
		path := "Gemfile.lock"
		if spec {
			path = "specifications/a.gemspec"
		}
		extracttest.Fuzz(t, New(), path, 0o644, data)
		res := extracttest.Run(t, New(), path, data)
		if spec && len(res.Packages)+len(res.Reasons) == 0 {
			t.Error("no package, and nothing is said of it")
		}
		for _, p := range res.Packages {
			if p.Declared == spec || p.Version == "" {
				t.Errorf("%+v", p)
			}
		}
	})
}

func TestFlatMemory(t *testing.T) {
	const n = 20_000
	const head = "  s.name = \"a\"\n  s.version = \"1\"\n"
	repeat, numbered := edgestest.Repeat, edgestest.Numbered
	long := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		name, path string
		r          io.Reader
		packages   int
	}{
		{"dependencies", "specifications/a.gemspec", repeat(head, "", 10*n, numbered("  s.add_dependency(%%q<dependency-%d>)\n")), 1},
		{"long line", "specifications/a.gemspec", repeat(head+"  s.authors = [\"", "", 30, func(int) string { return long }), 1},
		{"authors", "specifications/a.gemspec", repeat(head+"  s.authors = [", "", n, numbered("\"author %d\".freeze, ")), 1},
		{"gems", "Gemfile.lock", repeat("GEM\n  specs:\n", "", n, numbered("    gem-%d (1.0)\n      other\n")), n},
		{"requirements", "Gemfile.lock", repeat("GEM\n  specs:\n    a (1)\n", "", 10*n, numbered("      other-%d\n")), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			live, packages, err := extracttest.Peak(t, New(), extracttest.Header(c.path, 1<<40), c.r)
			if err != nil || live > extract.Budget || packages != c.packages {
				t.Errorf("%d KiB live, %d packages, %v", live>>10, packages, err)
			}
		})
	}
}
