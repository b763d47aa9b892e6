package scan

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stella/internal/scan/extract"
	"stella/internal/scan/image"
	"stella/internal/scan/inventory"
)

// marker is the test's own format: a file named *.pkg holds one package name per line;
// "!reason" is a place that cannot be read, "requires:NAME" a dependency.
type marker struct{}

func (marker) Name() string                { return "marker" }
func (marker) Version() int                { return 1 }
func (marker) Wants(h extract.Header) bool { return strings.HasSuffix(h.Path, ".pkg") }
func (marker) Databases() []string         { return []string{"var/lib/marker/db.pkg", "var/lib/markers/"} }
func (marker) Extract(_ context.Context, f *extract.File, out extract.Output) error {
	b, err := io.ReadAll(f)
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if line == "panic" {
			panic("as asked")
		}
		if reason, ok := strings.CutPrefix(line, "!"); ok {
			out.Partial(reason)
			continue
		}
		name, requires, _ := strings.Cut(line, " requires:")
		p := inventory.Package{Type: inventory.NPM, Name: name, Version: "1", Provides: []string{"m:" + name}}
		if requires != "" {
			p.Requires = []inventory.Requirement{strings.Split("m:"+strings.ReplaceAll(requires, "|", "|m:"), "|")}
		}
		if err := out.Package(&p); err != nil {
			return err
		}
	}
	return err
}

// node is one entry of a layer to be written. Content is for regular files, link for links.
type node struct {
	name    string
	typ     byte
	content string
	link    string
}

func file(name, content string) node   { return node{name: name, typ: tar.TypeReg, content: content} }
func dir(name string) node             { return node{name: name, typ: tar.TypeDir} }
func symlink(name, target string) node { return node{name: name, typ: tar.TypeSymlink, link: target} }
func hardlink(name, target string) node {
	return node{name: name, typ: tar.TypeLink, link: target}
}

func tarOf(t testing.TB, nodes ...node) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, n := range nodes {
		h := tar.Header{Name: n.name, Typeflag: n.typ, Size: int64(len(n.content)), Linkname: n.link, Mode: 0o644}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, n.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// layout writes an OCI layout whose layers are these stored bytes. promise may change what the manifest says of a layer.
func layout(t testing.TB, promise func(i int, d map[string]any), layers ...[]byte) string {
	t.Helper()
	root := t.TempDir()
	blob := func(b []byte) map[string]any {
		sum := fmt.Sprintf("%x", sha256.Sum256(b))
		put(t, filepath.Join(root, "blobs/sha256", sum), b)
		return map[string]any{"digest": "sha256:" + sum, "size": len(b)}
	}
	doc := func(typ string, v any) map[string]any {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		d := blob(b)
		d["mediaType"] = typ
		return d
	}
	diffIDs, descs := []string{}, []any{}
	for i, l := range layers {
		d := blob(l)
		d["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip"
		if promise != nil {
			promise(i, d)
		}
		descs = append(descs, d)
		diffIDs = append(diffIDs, fmt.Sprintf("sha256:%064x", i))
	}
	config := doc("application/vnd.oci.image.config.v1+json", map[string]any{
		"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs}})
	const manifestType = "application/vnd.oci.image.manifest.v1+json"
	m := doc(manifestType, map[string]any{"schemaVersion": 2, "mediaType": manifestType, "config": config, "layers": descs})
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{m}})
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(root, "index.json"), index)
	put(t, filepath.Join(root, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return root
}

func put(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// options opens the layout at root and makes options for it with the marker format.
func options(t testing.TB, ref string) Options {
	t.Helper()
	img, err := image.Open(t.Context(), ref, image.Options{Platform: "linux/amd64"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	return Options{Image: img, Extractors: []extract.Extractor{marker{}}, TempDir: t.TempDir(), CacheSize: 1 << 30}
}

func run(t testing.TB, o Options) *Result {
	t.Helper()
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// scanLayers scans an image of these layers.
func scanLayers(t testing.TB, layers ...[]node) *Result {
	t.Helper()
	var stored [][]byte
	for _, l := range layers {
		stored = append(stored, gz(t, tarOf(t, l...)))
	}
	return run(t, options(t, "oci-dir:"+layout(t, nil, stored...)))
}

// found renders components as "name@layer:path,layer:path".
func found(t testing.TB, inv inventory.Inventory) []string {
	t.Helper()
	out := []string{}
	for c, err := range inv.Components() {
		if err != nil {
			t.Fatal(err)
		}
		var at []string
		for l, err := range c.Locations {
			if err != nil {
				t.Fatal(err)
			}
			at = append(at, fmt.Sprintf("%d:%s", l.Layer, l.Path))
		}
		if len(at) != c.LocationCount {
			t.Errorf("%s: %d locations, LocationCount %d", c.Name, len(at), c.LocationCount)
		}
		out = append(out, c.Name+"@"+strings.Join(at, ","))
	}
	return out
}

// tree is the oracle: an image unpacked into memory, by the rules of the
// image specification, one entry at a time.
type tree map[string]placed

type placed struct {
	node
	layer int
}

func (tr tree) apply(layer int, nodes []node) {
	for _, n := range nodes { // whiteouts first: they are about lower layers only
		d, base := path.Split(n.name)
		d = strings.TrimSuffix(d, "/")
		switch {
		case base == ".wh..wh..opq":
			tr.removeBelow(d)
		case strings.HasPrefix(base, ".wh."):
			p := path.Join(d, base[4:])
			delete(tr, p)
			tr.removeBelow(p)
		}
	}
	for _, n := range nodes {
		if strings.HasPrefix(path.Base(n.name), ".wh.") {
			continue
		}
		p := strings.TrimSuffix(n.name, "/")
		if n.typ != tar.TypeDir {
			tr.removeBelow(p)
		}
		tr[p] = placed{n, layer}
	}
}

func (tr tree) removeBelow(p string) {
	for q := range tr {
		if p == "" || strings.HasPrefix(q, p+"/") {
			delete(tr, q)
		}
	}
}

// packages renders what the marker format finds in the unpacked tree.
func (tr tree) packages() []string {
	at := map[string][]string{}
	for p, n := range tr {
		if n.typ != tar.TypeReg || !strings.HasSuffix(p, ".pkg") {
			continue
		}
		for name := range strings.FieldsSeq(n.content) {
			at[name] = append(at[name], fmt.Sprintf("%d:%s", n.layer, p))
		}
	}
	out := []string{}
	for name, places := range at {
		slices.Sort(places)
		out = append(out, name+"@"+strings.Join(places, ","))
	}
	slices.Sort(out)
	return out
}
