package scan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each case says what a container made from the image would see.
func TestSquash(t *testing.T) {
	for name, c := range map[string]struct {
		layers [][]node
		want   []string
	}{
		"whiteout of a file": {
			[][]node{{file("a/x.pkg", "x"), file("a/y.pkg", "y")}, {file("a/.wh.x.pkg", "")}},
			[]string{"y@0:a/y.pkg"}},
		"whiteout of a directory, which comes back": {
			[][]node{{file("a/b/x.pkg", "x")}, {file(".wh.a", "")}, {file("a/z.pkg", "z")}},
			[]string{"z@2:a/z.pkg"}},
		"opaque directory keeps its own layer": {
			[][]node{{file("a/x.pkg", "x")}, {file("a/y.pkg", "y"), file("a/.wh..wh..opq", "")}},
			[]string{"y@1:a/y.pkg"}},
		"opaque root": {
			[][]node{{file("x.pkg", "x")}, {file(".wh..wh..opq", ""), file("y.pkg", "y")}},
			[]string{"y@1:y.pkg"}},
		"whiteout and file of one name in one layer": {
			[][]node{{file("x.pkg", "old")}, {file(".wh.x.pkg", ""), file("x.pkg", "new")}},
			[]string{"new@1:x.pkg"}},
		"whiteout after the file in one layer": {
			[][]node{{file("x.pkg", "old")}, {file("x.pkg", "new"), file(".wh.x.pkg", "")}},
			[]string{"new@1:x.pkg"}},
		"rewritten database": {
			[][]node{{file("db.pkg", "a\nb\nc")}, {file("db.pkg", "b\nc\nd")}},
			[]string{"b@1:db.pkg", "c@1:db.pkg", "d@1:db.pkg"}},
		"emptied database": {
			[][]node{{file("db.pkg", "a\nb")}, {file("db.pkg", "")}},
			[]string{}},
		"file becomes a directory and a file again": {
			[][]node{{file("x.pkg", "one")}, {dir("x.pkg/"), file("x.pkg/in.pkg", "two")}, {file("x.pkg", "three")}},
			[]string{"three@2:x.pkg"}},
		"file becomes a directory": {
			[][]node{{file("x.pkg", "one")}, {dir("x.pkg/")}},
			[]string{}},
		"directory becomes a symlink": {
			[][]node{{dir("lib/"), file("lib/x.pkg", "x")}, {symlink("lib", "usr/lib")}},
			[]string{}},
		"directory is stated again": {
			[][]node{{dir("lib/"), file("lib/x.pkg", "x")}, {dir("lib/")}},
			[]string{"x@0:lib/x.pkg"}},
		"same name twice in one layer": {
			[][]node{{file("x.pkg", "one"), file("x.pkg", "two")}},
			[]string{"two@0:x.pkg"}},
		"neighbours in the order of bytes": { // "a-b" sorts between "a" and "a/b"
			[][]node{{file("a/x.pkg", "x"), file("a-b/y.pkg", "y"), file("a.pkg", "z")}, {file(".wh.a", "")}},
			[]string{"y@0:a-b/y.pkg", "z@0:a.pkg"}},
		"one package, several places": {
			[][]node{{file("a.pkg", "x")}, {file("b.pkg", "x")}},
			[]string{"x@0:a.pkg,1:b.pkg"}},
		"odd names": {
			[][]node{{file("./a//b/../x.pkg", "x"), file("/y.pkg", "y"), file("ü/\xff.pkg", "z"), file("..a/w.pkg", "w")}},
			[]string{"w@0:..a/w.pkg", "x@0:a/x.pkg", "y@0:y.pkg", "z@0:ü/\xff.pkg"}},
		"aufs leftovers remove nothing": {
			[][]node{{file("a.pkg", "a")}, {dir(".wh..wh.plnk/"), file(".wh..wh.aufs", "")}},
			[]string{"a@0:a.pkg"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := scanLayers(t, c.layers...)
			if diff := cmp.Diff(c.want, found(t, r)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if p := r.Problems(); len(p) > 0 {
				t.Errorf("problems: %+v", p)
			}
		})
	}
}

// Random layers over a small set of names, so that everything collides, against the unpacked tree.
func TestSquashAgainstUnpacking(t *testing.T) {
	parts := []string{"a", "b", "a-b", "a.b", "c"}
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		pick := func() string {
			p := make([]string, 1+rnd.IntN(3))
			for i := range p {
				p[i] = parts[rnd.IntN(len(parts))]
			}
			return strings.Join(p, "/")
		}
		oracle := tree{}
		var layers [][]node
		for l := range 1 + rnd.IntN(6) {
			var nodes []node
			used := map[string]bool{}
			for range rnd.IntN(8) {
				p := pick()
				var n node
				switch rnd.IntN(6) {
				case 0:
					n = dir(p + "/")
				case 1:
					n = symlink(p, "elsewhere")
				case 2:
					n = file(p[:strings.LastIndex(p, "/")+1]+".wh."+p[strings.LastIndex(p, "/")+1:], "")
				case 3:
					n = file(p+"/.wh..wh..opq", "")
				default:
					p += ".pkg"
					n = file(p, fmt.Sprintf("n%d", rnd.IntN(6)))
				}
				// A layer that builds below its own file is not one that a tool makes.
				clash := false
				for q := range used {
					clash = clash || q == p || strings.HasPrefix(p+"/", q+"/") || strings.HasPrefix(q+"/", p+"/")
				}
				if !clash {
					used[p] = true
					nodes = append(nodes, n)
				}
			}
			layers = append(layers, nodes)
			oracle.apply(l, nodes)
		}
		got := found(t, scanLayers(t, layers...))
		slices.Sort(got)
		if diff := cmp.Diff(oracle.packages(), got); diff != "" {
			t.Fatalf("seed %d, layers %+v (-unpacked +scanned)\n%s", seed, layers, diff)
		}
	}
}

func TestProblemsAreSquashedToo(t *testing.T) {
	r := scanLayers(t,
		[]node{file("gone.pkg", "!torn"), file("stays.pkg", "ok\n!half of it")},
		[]node{file(".wh.gone.pkg", "")})
	if got := fmt.Sprint(r.Problems()); got != "[{0 stays.pkg marker half of it}]" {
		t.Error(got)
	}
}

func TestEdges(t *testing.T) {
	r := scanLayers(t,
		[]node{file("a.pkg", "app requires:missing|lib|other\nlib\nother\nself requires:self\ndead requires:lib")},
		[]node{file("b.pkg", "late requires:app"), file("c.pkg", "app requires:lib")},
		[]node{file("dead.pkg", "unused")})
	var got []string
	for e, err := range r.Edges() {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.From+" -> "+e.To)
	}
	want := []string{
		"pkg:npm/app@1 -> pkg:npm/lib@1",
		"pkg:npm/dead@1 -> pkg:npm/lib@1",
		"pkg:npm/late@1 -> pkg:npm/app@1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
