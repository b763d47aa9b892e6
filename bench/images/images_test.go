package images

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/bench/ociwrite"
)

func store(t *testing.T) Store {
	t.Helper()
	return Store{Dir: t.TempDir(), Compression: ociwrite.Gzip}
}

// entries reads a layout's layers with the standard library alone.
func entries(t *testing.T, layout string, visit func(layer int, h *tar.Header, content []byte)) {
	t.Helper()
	layers, err := ociwrite.Layers(layout, Tag)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range layers {
		name, err := ociwrite.BlobPath(layout, d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		for tr := tar.NewReader(z); ; {
			h, err := tr.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			visit(i, h, content)
		}
		f.Close()
	}
}

func TestSyntheticIsWhatItSays(t *testing.T) {
	for _, p := range []Synthetic{
		{Layers: 1, Files: 50, Packages: 0, FileSize: 10},
		{Layers: 30, Files: 1001, Packages: 97, FileSize: 100},
		{Layers: 40, Files: 20, Packages: 20, FileSize: 0},
	} {
		im, err := store(t).BuildSynthetic(context.Background(), p)
		if err != nil {
			t.Fatal(err)
		}
		visible := map[string]bool{}
		entries(t, im.Path, func(_ int, h *tar.Header, content []byte) {
			dir, base := splitName(h.Name)
			if gone, ok := strings.CutPrefix(base, ".wh."); ok {
				if !visible[dir+gone+"/package.json"] {
					t.Errorf("%+v: whiteout %s deletes nothing", p, h.Name)
				}
				delete(visible, dir+gone+"/package.json")
			}
			if base != "package.json" {
				return
			}
			var v struct{ Name, Version string }
			if err := json.Unmarshal(content, &v); err != nil || v.Version == "" || !strings.Contains(h.Name, "/"+v.Name+"/") {
				t.Errorf("%s: %+v, %v", h.Name, v, err)
			}
			visible[h.Name] = true
		})
		if len(visible) != p.Visible() {
			t.Errorf("%+v: %d packages visible, Visible says %d", p, len(visible), p.Visible())
		}
		// os-release and dpkg status come on top.
		if im.Figures.Layers != p.Layers || im.Figures.Files != p.Files+2 || im.Figures.PackageJSONs != p.Packages {
			t.Errorf("%+v: figures %+v", p, im.Figures)
		}
	}
}

func TestBuildIsReproducibleAndCached(t *testing.T) {
	p := Synthetic{Layers: 3, Files: 100, Packages: 10, FileSize: 500}
	a, b := store(t), store(t)
	first, err := a.BuildSynthetic(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.BuildSynthetic(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"index.json", "oci-layout"} {
		x, err := os.ReadFile(filepath.Join(first.Path, name))
		if err != nil {
			t.Fatal(err)
		}
		y, err := os.ReadFile(filepath.Join(second.Path, name))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(x), string(y)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	before, _ := os.Stat(filepath.Join(first.Path, "index.json"))
	again, err := a.BuildSynthetic(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	after, _ := os.Stat(filepath.Join(first.Path, "index.json"))
	if d := cmp.Diff(first, again); d != "" || !os.SameFile(before, after) {
		t.Errorf("the second build made another image: %s", d)
	}
}

func TestInvalidSynthetic(t *testing.T) {
	for _, p := range []Synthetic{{Layers: 0}, {Layers: 1, Files: 1, Packages: 2}, {Layers: 1, FileSize: -1}} {
		s := store(t)
		if _, err := s.BuildSynthetic(context.Background(), p); err == nil {
			t.Errorf("%+v was accepted", p)
		}
		if left, _ := filepath.Glob(filepath.Join(s.Dir, "images", "*")); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	if _, err := store(t).Build(context.Background(), "huge"); err == nil {
		t.Error("an unknown kind was accepted")
	}
}

func TestManyFilesAreEmptyAndCounted(t *testing.T) {
	dir := t.TempDir()
	w, err := ociwrite.New(dir, ociwrite.Gzip)
	if err != nil {
		t.Fatal(err)
	}
	if err := manyFiles(w, 2500); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(Tag); err != nil {
		t.Fatal(err)
	}
	f, err := Measure(dir)
	if err != nil {
		t.Fatal(err)
	}
	if f.Files != 2502 || f.Directories != 3 || f.Layers != 1 {
		t.Errorf("figures %+v", f)
	}
}

func TestDiffRecordsChangesAndDeletions(t *testing.T) {
	old, now := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"same": "x", "changed": "x", "gone/a": "x", "gone/b": "x", "file": "x"} {
		put(t, filepath.Join(old, name), text)
	}
	for name, text := range map[string]string{"same": "x", "changed": "longer", "new/a": "y"} {
		put(t, filepath.Join(now, name), text)
	}
	for _, link := range []string{"link"} {
		if err := os.Symlink("same", filepath.Join(now, link)); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(filepath.Join(now, "changed"), filepath.Join(now, "second-name")); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	w, err := ociwrite.New(dir, ociwrite.Gzip)
	if err != nil {
		t.Fatal(err)
	}
	if err := layer(w, func(l *ociwrite.Layer) error { return addDiff(l, old, now) }); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(Tag); err != nil {
		t.Fatal(err)
	}
	var got []string
	entries(t, dir, func(_ int, h *tar.Header, _ []byte) { got = append(got, string(h.Typeflag)+" "+h.Name+">"+h.Linkname) })
	want := []string{"0 changed>", "2 link>same", "5 new/>", "0 new/a>", "1 second-name>changed", "0 .wh.file>", "0 .wh.gone>"}
	slices.Sort(got)
	slices.Sort(want)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(name, ociwrite.Epoch, ociwrite.Epoch); err != nil {
		t.Fatal(err)
	}
}

func TestWithoutPackages(t *testing.T) {
	const status = "Package: base\nVersion: 1\n\nPackage: liba-java\nVersion: 2\n\nPackage: libb-java\nVersion: 3\n\nPackage: zlib\nVersion: 4\n\n"
	kept, removed := withoutPackages(status, 1)
	if d := cmp.Diff([]string{"libb-java"}, removed); d != "" {
		t.Error(d)
	}
	if strings.Contains(kept, "libb-java") || strings.Count(kept, "Package: ") != 3 {
		t.Errorf("kept %q", kept)
	}
}

func TestInstalledTakesTheSmallestPackages(t *testing.T) {
	info, files := t.TempDir(), t.TempDir()
	for name, size := range map[string]int{"big": 300, "little": 10, "gone": 0} {
		target := filepath.Join(files, name)
		if size > 0 {
			put(t, target, strings.Repeat("x", size))
		}
		put(t, filepath.Join(info, name+".list"), "/.\n"+files+"\n"+target+"\n")
	}
	names, packages, err := installedFiles(context.Background(), info)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		filepath.Join(info, "gone.list"),
		filepath.Join(files, "little"), filepath.Join(info, "little.list"),
		filepath.Join(files, "big"), filepath.Join(info, "big.list"),
	}
	if d := cmp.Diff(want, names); d != "" || packages != 3 {
		t.Errorf("%d packages: %s", packages, d)
	}
}
