// Package ociwrite writes container images as OCI image layouts (OCI image
// specification 1.1, image-layout.md), one streamed layer after another.
//
// Vocabulary: a layout is a directory with oci-layout, index.json and blobs; a
// layer is a tar stream, compressed into a blob that is named by the SHA-256 of
// its compressed bytes (the digest); the SHA-256 of the tar stream itself is the
// diffID.
//
// The output is a function of the calls: nothing of it depends on the clock, the
// host or the order of map keys. Memory does not grow with the size of a layer.
// A layout is complete only after Close; a reader must not be shown an
// unfinished one.
package ociwrite

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Compression names how layers are stored.
type Compression string

// The compressions that the OCI specification names for layers.
const (
	Gzip Compression = "gzip" // level 6, what image builders use by default
	Zstd Compression = "zstd" // the default level, an 8 MiB window
	None Compression = "none"
)

// mediaTypes also lists what is valid.
var mediaTypes = map[Compression]string{
	Gzip: "application/vnd.oci.image.layer.v1.tar+gzip",
	Zstd: "application/vnd.oci.image.layer.v1.tar+zstd",
	None: "application/vnd.oci.image.layer.v1.tar",
}

// Epoch is the time of everything in a written image.
var Epoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// Descriptor is an OCI content descriptor.
type Descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Manifest is the part of an OCI image manifest that layouts need.
type Manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        Descriptor   `json:"config"`
	Layers        []Descriptor `json:"layers"`
}

// config is the part of an OCI image configuration that is mandatory.
type config struct {
	Created      time.Time `json:"created"`
	Architecture string    `json:"architecture"`
	OS           string    `json:"os"`
	Config       struct{}  `json:"config"`
	RootFS       struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []Descriptor `json:"manifests"`
}

const (
	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	// tagAnnotation is the OCI key for the name of a manifest in a layout.
	tagAnnotation = "org.opencontainers.image.ref.name"
)

// Writer writes one image. It is for one goroutine.
type Writer struct {
	dir         string
	compression Compression
	layers      []Descriptor
	diffIDs     []string
	open        bool // a layer is being written
}

// New starts a layout in dir, which must be absent or empty.
func New(dir string, c Compression) (*Writer, error) {
	if mediaTypes[c] == "" {
		return nil, fmt.Errorf("write OCI layout: compression %q is not one of gzip, zstd, none", c)
	}
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return nil, fmt.Errorf("write OCI layout: %w", err)
	}
	return &Writer{dir: dir, compression: c}, nil
}

// Reuse appends the layers of another layout's image, by hard links where the
// file system allows it. It returns how many there were.
func (w *Writer) Reuse(layout string) (int, error) {
	m, c, err := read(layout, "")
	if err != nil {
		return 0, fmt.Errorf("reuse layers of %s: %w", layout, err)
	}
	for i, l := range m.Layers {
		if err := link(blobPath(layout, l.Digest), blobPath(w.dir, l.Digest)); err != nil {
			return 0, fmt.Errorf("reuse layer %s of %s: %w", l.Digest, layout, err)
		}
		w.layers = append(w.layers, l)
		w.diffIDs = append(w.diffIDs, c.RootFS.DiffIDs[i])
	}
	return len(m.Layers), nil
}

// Close writes configuration, manifest and index. The tag names the image in the
// index.
func (w *Writer) Close(tag string) error {
	if w.open {
		return errors.New("write OCI layout: a layer is still open; close it first")
	}
	var c config
	c.Created, c.Architecture, c.OS = Epoch, "amd64", "linux"
	c.RootFS.Type, c.RootFS.DiffIDs = "layers", w.diffIDs
	configDescriptor, err := w.blob(configType, c)
	if err != nil {
		return err
	}
	manifest, err := w.blob(manifestType, Manifest{2, manifestType, configDescriptor, w.layers})
	if err != nil {
		return err
	}
	manifest.Annotations = map[string]string{tagAnnotation: tag}
	if err := w.file("index.json", index{2, indexType, []Descriptor{manifest}}); err != nil {
		return err
	}
	return w.file("oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"})
}

func (w *Writer) blob(mediaType string, v any) (Descriptor, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return Descriptor{}, fmt.Errorf("encode %s: %w", mediaType, err)
	}
	d := Descriptor{MediaType: mediaType, Digest: digestOf(text), Size: int64(len(text))}
	if err := os.WriteFile(blobPath(w.dir, d.Digest), text, 0o644); err != nil {
		return Descriptor{}, fmt.Errorf("write OCI layout: %w", err)
	}
	return d, nil
}

func (w *Writer) file(name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, name), text, 0o644); err != nil {
		return fmt.Errorf("write OCI layout: %w", err)
	}
	return nil
}
