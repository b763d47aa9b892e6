package scan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHardLinks(t *testing.T) {
	for name, c := range map[string]struct {
		layers   [][]node
		want     []string
		problems string
	}{
		"first name wanted": {
			[][]node{{file("a.pkg", "x"), hardlink("b.pkg", "a.pkg")}},
			[]string{"x@0:a.pkg,0:b.pkg"}, "[]"},
		"first name not wanted, as in pnpm's store": {
			[][]node{{file("store/ab", "x"), hardlink("app/b.pkg", "store/ab"), hardlink("app/c.pkg", "./store/ab")}},
			[]string{"x@0:app/b.pkg,0:app/c.pkg"}, "[]"},
		"link hides what was below": {
			[][]node{{file("app/b.pkg", "old")}, {file("store/ab", "new"), hardlink("app/b.pkg", "store/ab")}},
			[]string{"new@1:app/b.pkg"}, "[]"},
		"link is removed later": {
			[][]node{{file("store/ab", "x"), hardlink("b.pkg", "store/ab")}, {file(".wh.b.pkg", "")}},
			[]string{}, "[]"},
		"content is in another layer": {
			[][]node{{file("store/ab", "x")}, {hardlink("b.pkg", "store/ab")}},
			[]string{}, "[{1 b.pkg marker it is a hard link to store/ab, which is not in this layer}]"},
		"a link to a link": {
			[][]node{{file("store/ab", "x"), hardlink("store/cd", "store/ab"), hardlink("b.pkg", "store/cd"), hardlink("c.pkg", "b.pkg")}},
			[]string{"x@0:b.pkg,0:c.pkg"}, "[]"},
		"a wanted name that is not there": {
			[][]node{{hardlink("b.pkg", "a.pkg")}},
			[]string{}, "[{0 b.pkg marker it is a hard link to a.pkg, which is not in this layer}]"},
		"a circle": {
			[][]node{{hardlink("a.pkg", "b.pkg"), hardlink("b.pkg", "a.pkg"), file("c.pkg", "c")}},
			[]string{"c@0:c.pkg"}, "[{0 a.pkg marker it is a hard link to a hard link and so on, or to itself} {0 b.pkg marker it is a hard link to a hard link and so on, or to itself}]"},
		"a device": {
			[][]node{{{name: "dev/x", typ: '3'}, hardlink("b.pkg", "dev/x")}},
			[]string{}, "[{0 b.pkg marker it is a hard link to dev/x, which is no regular file}]"},
	} {
		t.Run(name, func(t *testing.T) {
			r := scanLayers(t, c.layers...)
			if diff := cmp.Diff(c.want, found(t, r)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if got := fmt.Sprint(r.Problems()); got != c.problems {
				t.Errorf("problems %s, want %s", got, c.problems)
			}
		})
	}
}

// More links than fit one reading: the layer is read several times, and all are found.
func TestManyHardLinks(t *testing.T) {
	const n = 3 * linkMemory / linkOverhead
	nodes := make([]node, 0, 2*n)
	for i := range n {
		nodes = append(nodes, file(fmt.Sprintf("s/%d", i), fmt.Sprintf("p%05d", i)), hardlink(fmt.Sprintf("l/%d.pkg", i), fmt.Sprintf("s/%d", i)))
	}
	r := scanLayers(t, nodes)
	if got := r.Count()["npm"]; got != n {
		t.Errorf("%d of %d packages behind links", got, n)
	}
	if len(r.Problems()) > 0 {
		t.Errorf("problems: %v", r.Problems())
	}
}

func TestDatabasesBehindSymlinks(t *testing.T) {
	for name, c := range map[string]struct {
		layers [][]node
		want   []string
	}{
		"directory moved, the link in a later layer": {
			[][]node{{file("usr/lib/db/db", "no")}, {file("usr/share/m/db.pkg.real", "x"), symlink("var/lib/marker", "../../usr/share/m")},
				{symlink("usr/share/m/db.pkg", "db.pkg.real")}},
			[]string{"x@1:usr/share/m/db.pkg.real"}},
		"absolute link to a file, in the layer below": {
			[][]node{{symlink("var/lib/marker/db.pkg", "/opt/db")}, {file("opt/db", "x")}},
			[]string{"x@1:opt/db"}},
		"a chain through a moved parent": {
			[][]node{{symlink("var", "private/var"), symlink("private/var/lib/marker/db.pkg", "../../../../../../data/one"), symlink("data/one", "two"), file("data/two", "x")}},
			[]string{"x@0:data/two"}},
		"target is wanted by its own name": {
			[][]node{{symlink("var/lib/marker/db.pkg", "/opt/own.pkg"), file("opt/own.pkg", "x")}},
			[]string{"x@0:opt/own.pkg"}},
		"link removed in a later layer": {
			[][]node{{symlink("var/lib/marker/db.pkg", "/opt/db"), file("opt/db", "x")}, {file("var/lib/.wh.marker", "")}},
			[]string{}},
		"rewritten behind the link": {
			[][]node{{symlink("var/lib/marker/db.pkg", "/opt/db"), file("opt/db", "old")}, {file("opt/db", "new")}},
			[]string{"new@1:opt/db"}},
		"a loop": {
			[][]node{{symlink("var/lib/marker", "markers"), symlink("var/lib/markers", "marker")}},
			[]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			r := scanLayers(t, c.layers...)
			if diff := cmp.Diff(c.want, found(t, r)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if len(r.Problems()) > 0 {
				t.Errorf("problems: %v", r.Problems())
			}
		})
	}
}

func TestResolve(t *testing.T) {
	places := map[string]*place{}
	for p, target := range map[string]string{"a": "/b/c", "b": "", "b/c": "../../../d", "d": "", "d/x": "", "loop": "loop"} {
		places[p] = &place{target: target}
	}
	for in, want := range map[string]string{"a/x": "d/x", "a/": "d/", "loop/x": "", "d/x": "d/x"} {
		if got, unknown := resolve(in, places); got != want || unknown {
			t.Errorf("resolve(%q) = %q, %v; want %q", in, got, unknown, want)
		}
	}
	if _, unknown := resolve("d/new", places); !unknown || places["d/new"] == nil {
		t.Error("a path that nobody looked up is taken for known")
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"a", "./a", "/a/", "a//b", "a/../b", "../a", "a/./b", "..", ".", "", "a/...", "..a", "a/.", "a/..b/c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := clean(s)
		if !ok {
			return
		}
		if strings.HasPrefix(got, "/") || strings.HasSuffix(got, "/") {
			t.Errorf("clean(%q) = %q", s, got)
		}
		for part := range strings.SplitSeq(got, "/") {
			if got != "" && (part == "" || part == "." || part == "..") {
				t.Errorf("clean(%q) = %q has the part %q", s, got, part)
			}
		}
		if again, ok := clean(got); !ok || again != got {
			t.Errorf("clean(%q) = %q, and once more %q", s, got, again)
		}
	})
}
