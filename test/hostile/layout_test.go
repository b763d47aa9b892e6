package hostile

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// image writes an OCI layout, layer by layer. bench/ociwrite writes good ones only.
type image struct {
	t      *testing.T
	dir    string
	layers []*descriptor
}

// descriptor is what the manifest promises of a blob; a test may make it a lie.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

func newImage(t *testing.T) *image {
	m := &image{t: t, dir: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(m.dir, "blobs/sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	return m
}

const layerType = "application/vnd.oci.image.layer.v1.tar"

// stored adds a layer of any bytes.
func (m *image) stored(mediaType string, fill func(w io.Writer)) *descriptor {
	f, err := os.CreateTemp(m.dir, "blob-*")
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	fill(io.MultiWriter(f, sum))
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		m.t.Fatal(err)
	}
	d := &descriptor{mediaType, fmt.Sprintf("sha256:%x", sum.Sum(nil)), size}
	if err := os.Rename(f.Name(), m.blob(d)); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Chmod(m.blob(d), 0o644); err != nil {
		m.t.Fatal(err)
	}
	m.layers = append(m.layers, d)
	return d
}

func (m *image) blob(d *descriptor) string {
	return filepath.Join(m.dir, "blobs/sha256", d.Digest[len("sha256:"):])
}

// codec compresses a layer.
type codec struct {
	suffix string
	wrap   func(w io.Writer) (io.WriteCloser, error)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

var (
	gzipped = codec{"+gzip", func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriterLevel(w, gzip.BestSpeed) }}
	// zstded is quick enough for gigabytes; its window is one that every budget has room for.
	zstded = codec{"+zstd", func(w io.Writer) (io.WriteCloser, error) {
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20), zstd.WithEncoderConcurrency(1))
	}}
	plain = codec{"", func(w io.Writer) (io.WriteCloser, error) { return nopCloser{w}, nil }}
)

// layer adds a good layer.
func (m *image) layer(c codec, fill func(w *tarball)) *descriptor {
	return m.stored(layerType+c.suffix, func(out io.Writer) { m.compress(out, c, fill) })
}

func (m *image) compress(out io.Writer, c codec, fill func(w *tarball)) {
	z, err := c.wrap(out)
	if err != nil {
		m.t.Fatal(err)
	}
	w := &tarball{t: m.t, Writer: tar.NewWriter(z), out: z}
	fill(w)
	if err := w.Close(); err != nil {
		m.t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		m.t.Fatal(err)
	}
}

// hostile adds the hostile layer: good packages before and after what fill writes.
func (m *image) hostile(c codec, fill func(w *tarball)) *descriptor { return m.layer(c, around(fill)) }

func around(fill func(w *tarball)) func(w *tarball) {
	return func(w *tarball) {
		w.npm("opt/before")
		fill(w)
		w.npm("opt/after")
	}
}

// bytesOf is the stored form of a hostile layer that is small.
func (m *image) bytesOf(c codec, fill func(w *tarball)) []byte {
	var b bytes.Buffer
	m.compress(&b, c, around(fill))
	return b.Bytes()
}

// close writes what names the layers, and returns the layout's directory.
func (m *image) close() string {
	m.t.Helper()
	put := func(name string, v any) *descriptor {
		b, err := json.Marshal(v)
		if err != nil {
			m.t.Fatal(err)
		}
		d := &descriptor{Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(b)), Size: int64(len(b))}
		if name == "" {
			name = "blobs/sha256/" + d.Digest[len("sha256:"):]
		}
		if err := os.WriteFile(filepath.Join(m.dir, name), b, 0o644); err != nil {
			m.t.Fatal(err)
		}
		return d
	}
	ids := make([]string, len(m.layers))
	for i := range ids {
		ids[i] = fmt.Sprintf("sha256:%064x", i)
	}
	config := put("", map[string]any{"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
	config.MediaType = "application/vnd.oci.image.config.v1+json"
	const manifestType = "application/vnd.oci.image.manifest.v1+json"
	manifest := put("", map[string]any{"schemaVersion": 2, "mediaType": manifestType, "config": config, "layers": m.layers})
	manifest.MediaType = manifestType
	put("index.json", map[string]any{"schemaVersion": 2, "manifests": []any{manifest}})
	put("oci-layout", map[string]any{"imageLayoutVersion": "1.0.0"})
	return m.dir
}

// tarball writes the entries of a layer.
type tarball struct {
	*tar.Writer
	t   *testing.T
	out io.Writer // below the tar writer, for what it refuses to write
}

func (w *tarball) entry(h tar.Header, content io.Reader) {
	h.Mode = 0o755
	if err := w.WriteHeader(&h); err != nil {
		w.t.Fatal(err)
	}
	if content == nil {
		return
	}
	if n, err := io.CopyBuffer(struct{ io.Writer }{w}, content, make([]byte, 256<<10)); err != nil || n != h.Size {
		w.t.Fatalf("%s: wrote %d of %d bytes: %v", h.Name, n, h.Size, err)
	}
}

func (w *tarball) file(name, content string) { w.made(name, text(content)) }

// made adds a file whose content is made while it is written.
func (w *tarball) made(name string, c content) {
	w.entry(tar.Header{Name: name, Typeflag: tar.TypeReg, Size: c.size}, c.open())
}

func (w *tarball) link(typ byte, name, target string) {
	w.entry(tar.Header{Name: name, Typeflag: typ, Linkname: target}, nil)
}

// npm adds an installed package named like the last element of dir, version 1.
func (w *tarball) npm(dir string) {
	w.file(dir+"/package.json", fmt.Sprintf(`{"name": %q, "version": "1"}`, path.Base(dir)))
}
