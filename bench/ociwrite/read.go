package ociwrite

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxDocument caps a manifest, configuration or index: 4 MiB is what registries
// accept for a manifest.
const maxDocument = 4 << 20

// Read returns the manifest of the first image in a layout or, with a tag, of
// the one that has it.
func Read(layout, tag string) (Manifest, error) {
	m, _, err := read(layout, tag)
	if err != nil {
		return Manifest{}, fmt.Errorf("read OCI layout %s: %w", layout, err)
	}
	return m, nil
}

// Layers returns the layer descriptors of the image that Read reads, base first.
func Layers(layout, tag string) ([]Descriptor, error) {
	m, err := Read(layout, tag)
	return m.Layers, err
}

// BlobPath returns the file of a SHA-256 digest in a layout.
func BlobPath(layout, digest string) (string, error) {
	hex, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || len(hex) != 2*sha256.Size || strings.Trim(hex, "0123456789abcdef") != "" {
		return "", fmt.Errorf("digest %q is not a SHA-256 digest", digest)
	}
	return filepath.Join(layout, "blobs", "sha256", hex), nil
}

// SplitTag separates an optional ":tag" from the path of a layout. A path that
// exists as it stands has no tag.
func SplitTag(ref string) (layout, tag string) {
	if _, err := os.Stat(ref); err == nil {
		return ref, ""
	}
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		return ref[:i], ref[i+1:]
	}
	return ref, ""
}

func read(layout, tag string) (m Manifest, c config, err error) {
	var ix index
	if err := decode(filepath.Join(layout, "index.json"), &ix); err != nil {
		return m, c, err
	}
	for _, d := range ix.Manifests {
		if tag != "" && d.Annotations[tagAnnotation] != tag {
			continue
		}
		if err := decodeBlob(layout, d.Digest, &m); err != nil {
			return m, c, err
		}
		if err := decodeBlob(layout, m.Config.Digest, &c); err != nil {
			return m, c, err
		}
		if len(c.RootFS.DiffIDs) != len(m.Layers) {
			return m, c, fmt.Errorf("configuration has %d diffIDs for %d layers", len(c.RootFS.DiffIDs), len(m.Layers))
		}
		return m, c, nil
	}
	if tag == "" {
		return m, c, errors.New("index.json names no image")
	}
	return m, c, fmt.Errorf("index.json names no image with tag %q", tag)
}

func decodeBlob(layout, digest string, v any) error {
	name, err := BlobPath(layout, digest)
	if err != nil {
		return err
	}
	return decode(name, v)
}

func decode(name string, v any) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return err
	}
	if len(text) > maxDocument {
		return fmt.Errorf("%s is larger than %d bytes, the most a registry accepts", name, maxDocument)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("decode %s: %w", name, err)
	}
	return nil
}

func digestOf(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// blobPath is BlobPath for digests that this package made or has checked.
func blobPath(layout, digest string) string {
	return filepath.Join(layout, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}

// link makes to another name of from, or a copy on another file system.
func link(from, to string) error {
	if err := os.Link(from, to); err == nil || errors.Is(err, os.ErrExist) {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
