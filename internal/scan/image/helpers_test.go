package image_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"stella/internal/scan/image"
	"stella/internal/scan/image/registry/registrytest"
)

const (
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociIndex    = "application/vnd.oci.image.index.v1+json"
	ociConfig   = "application/vnd.oci.image.config.v1+json"
	ociLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

type object = map[string]any

// blobs are the parts of images being made, by digest.
type blobs map[string][]byte

func (b blobs) add(mediaType string, data []byte) object {
	d := registrytest.Digest(data)
	b[d] = data
	return object{"mediaType": mediaType, "digest": d, "size": len(data)}
}

func (b blobs) json(mediaType string, v any) object {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b.add(mediaType, data)
}

// image adds an image for a platform "os/arch[/variant]" with layers of that content, which need not be tars here.
func (b blobs) image(platform string, layers ...string) object {
	var descriptors, diffIDs []any
	for _, l := range layers {
		descriptors = append(descriptors, b.add(ociLayer, []byte(l)))
		diffIDs = append(diffIDs, registrytest.Digest([]byte("unpacked "+l)))
	}
	config := object{"rootfs": object{"type": "layers", "diff_ids": diffIDs}}
	p := parts(platform)
	for k, v := range p {
		config[k] = v
	}
	d := b.json(ociManifest, object{
		"schemaVersion": 2, "mediaType": ociManifest, "config": b.json(ociConfig, config), "layers": descriptors,
	})
	if platform != "" {
		d["platform"] = p
	}
	return d
}

func (b blobs) index(entries ...object) object {
	return b.json(ociIndex, object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": entries})
}

func parts(platform string) object {
	p := object{}
	for i, s := range strings.Split(platform, "/") {
		if s != "" {
			p[[]string{"os", "architecture", "variant"}[i]] = s
		}
	}
	return p
}

func named(d object, ref string) object {
	c := object{}
	for k, v := range d {
		c[k] = v
	}
	c["annotations"] = object{"org.opencontainers.image.ref.name": ref}
	return c
}

// files are the files of an OCI layout with those entries in index.json.
func (b blobs) files(entries ...object) map[string][]byte {
	index, _ := json.Marshal(object{"schemaVersion": 2, "manifests": entries})
	m := map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`), "index.json": index}
	for d, data := range b {
		m["blobs/"+strings.Replace(d, ":", "/", 1)] = data
	}
	return m
}

func writeDir(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func tarOf(files map[string][]byte) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	names := make([]string, 0, len(files))
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		w.WriteHeader(&tar.Header{Name: n, Mode: 0o644, Size: int64(len(files[n]))})
		w.Write(files[n])
	}
	w.Close()
	return buf.Bytes()
}

func writeFile(t testing.TB, name string, data []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

// fixture unpacks a gzipped file of testdata.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func untar(t testing.TB, data []byte) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	for tr := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			files[h.Name], _ = io.ReadAll(tr)
		}
	}
}

// anonymous keeps the credentials of whoever runs the tests out of them.
type anonymous struct{}

func (anonymous) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

// serve puts blobs into a registry on the test network, tagged "latest".
func serve(b blobs, root object) (*registrytest.Registry, image.Options) {
	g := new(registrytest.Registry)
	for d, data := range b {
		var m struct{ MediaType string }
		json.Unmarshal(data, &m)
		if d == root["digest"] {
			g.Manifest(m.MediaType, data, "latest")
		} else if m.MediaType != "" {
			g.Manifest(m.MediaType, data)
		} else {
			g.Blob(data)
		}
	}
	return g, image.Options{Transport: registrytest.Network{"r.test": g}, Keychain: anonymous{}, Attempts: 1}
}

func open(t testing.TB, ref string, o image.Options) *image.Image {
	t.Helper()
	m, err := image.Open(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// refused checks that a reference cannot be opened, for a reason that holds all the words.
func refused(t testing.TB, ref string, o image.Options, words ...string) error {
	t.Helper()
	m, err := image.Open(t.Context(), ref, o)
	if err == nil {
		m.Close()
		t.Errorf("%s was opened, want an error with %q", ref, words)
		return nil
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: error does not say %q: %v", ref, w, err)
		}
	}
	return err
}

func layerBytes(t testing.TB, l *image.Layer) ([]byte, error) {
	t.Helper()
	r, err := l.Open(t.Context())
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func describeLayers(m *image.Image) string {
	var b strings.Builder
	for _, l := range m.Layers {
		fmt.Fprintf(&b, "%d %s %s %d\n", l.Index, l.Digest, l.DiffID, l.Size)
	}
	return b.String()
}

func mustJSON(t testing.TB, data []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}

func sha512Of(data []byte) string { return fmt.Sprintf("sha512:%x", sha512.Sum512(data)) }
