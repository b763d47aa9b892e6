package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// files are the files of an OCI layout, in a directory or in an archive.
type files interface {
	// read returns a whole file of at most limit bytes.
	read(ctx context.Context, name string, limit int64) ([]byte, error)
	open(ctx context.Context, name string) (io.ReadCloser, error)
	io.Closer
}

// layout is an OCI image layout.
type layout struct{ files }

func openLayout(ctx context.Context, r *reference, want wanted, o *Options) (*Image, error) {
	d := dirFiles{path: r.path}
	if o.Paths != nil {
		var err error
		if d.root, err = o.Paths.dir(r.path); err != nil {
			return nil, err
		}
	}
	m, err := loadLayout(ctx, layout{d}, r, want)
	if err != nil {
		d.Close()
	}
	return m, err
}

// loadLayout chooses an image from index.json and loads it.
func loadLayout(ctx context.Context, s layout, r *reference, want wanted) (*Image, error) {
	raw, err := s.read(ctx, "index.json", maxManifest)
	if err != nil {
		return nil, err
	}
	var index struct {
		Manifests list[descriptor] `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("index.json is not valid: %w", err)
	}
	d, warning, err := s.pick(ctx, index.Manifests, r, want)
	if err != nil {
		return nil, err
	}
	m, err := load(ctx, s, d, want)
	if err == nil && warning != "" {
		m.Warnings = append(m.Warnings, warning)
	}
	return m, err
}

// pick finds what the reference means among the entries of index.json.
func (s layout) pick(ctx context.Context, all []descriptor, r *reference, want wanted) (descriptor, string, error) {
	if r.digest != "" {
		budget := maxNested
		d, err := s.findDigest(ctx, all, r.digest, maxDepth, &budget)
		if err == nil && d == nil {
			err = fmt.Errorf("no image with the digest %s (%w); there are: %s", r.digest, ErrNotFound, entryNames(all))
		}
		if err != nil {
			return descriptor{}, "", err
		}
		return *d, "", nil
	}
	var found []descriptor
	names := make(map[string]bool)
	platforms := 0
	for _, d := range all {
		if !d.isImage() || r.tag != "" && !d.hasName(r.tag) {
			continue
		}
		names[d.entryName()] = true
		if slices.ContainsFunc(found, func(f descriptor) bool { return f.Digest == d.Digest }) {
			continue // the same image under two names
		}
		found = append(found, d)
		if d.Platform != nil {
			platforms++
		}
	}
	switch {
	case len(found) == 1:
		return found[0], "", nil
	case len(found) == 0 && r.tag != "":
		return descriptor{}, "", fmt.Errorf("no image is called %q (%w); there are: %s", r.tag, ErrNotFound, entryNames(all))
	case len(found) == 0:
		return descriptor{}, "", fmt.Errorf("index.json names no image: %w", ErrNotFound)
	case platforms == len(found) && (r.tag != "" || len(names) == 1 || !anyNamed(found)):
		return choose(found, want)
	}
	return descriptor{}, "", fmt.Errorf("there are several images, choose one with PATH:TAG or PATH@DIGEST: %s", entryNames(found))
}

// maxNested is how many nested indexes are read in search of a digest.
const maxNested = 256

// findDigest looks for a digest in an index and in the indexes that it names; nil where there is none.
func (s layout) findDigest(ctx context.Context, all []descriptor, want string, depth int, budget *int) (*descriptor, error) {
	for i := range all {
		if all[i].Digest == want {
			return &all[i], nil
		}
	}
	for _, d := range all {
		if (d.MediaType != typeOCIIndex && d.MediaType != typeDockerList) || depth == 0 || *budget == 0 {
			continue
		}
		*budget--
		raw, _, err := fetchManifest(ctx, s, &d)
		if err != nil {
			return nil, err
		}
		doc, err := parseDocument(raw, d.MediaType)
		if err != nil {
			return nil, err
		}
		if found, err := s.findDigest(ctx, *doc.Manifests, want, depth-1, budget); found != nil || err != nil {
			return found, err
		}
	}
	return nil, nil
}

func (s layout) manifest(ctx context.Context, digest string) ([]byte, string, error) {
	name, err := blobName(digest)
	if err != nil {
		return nil, "", err
	}
	raw, err := s.read(ctx, name, maxManifest)
	return raw, "", err
}

func (s layout) config(ctx context.Context, digest string) ([]byte, error) {
	name, err := blobName(digest)
	if err != nil {
		return nil, err
	}
	return s.read(ctx, name, maxConfig)
}

func (s layout) layer(ctx context.Context, l *Layer) (io.ReadCloser, error) {
	name, err := blobName(l.Digest)
	if err != nil {
		return nil, err
	}
	return s.open(ctx, name)
}

func blobName(digest string) (string, error) {
	d, err := parseDigest(digest)
	if err != nil {
		return "", err
	}
	return "blobs/" + d.algorithm + "/" + d.hex, nil
}

// dirFiles is the directory of a layout. Symbolic links are followed wherever
// they lead: Bazel makes layouts of them, and blobs are verified. But with
// [Options.Paths], links that lead out of the layout are not: the size of a file, and
// how it fails to be a manifest, would be told to somebody who must not know it.
type dirFiles struct {
	path string
	root *os.Root // with Options.Paths
}

func (d dirFiles) open(_ context.Context, name string) (io.ReadCloser, error) {
	f, _, err := d.file(name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d dirFiles) file(name string) (*os.File, int64, error) {
	// O_NONBLOCK: opening a FIFO must not hang for ever.
	const flags = os.O_RDONLY | syscall.O_NONBLOCK
	var f *os.File
	var err error
	if d.root != nil {
		f, err = d.root.OpenFile(filepath.FromSlash(name), flags, 0)
	} else {
		f, err = os.OpenFile(filepath.Join(d.path, filepath.FromSlash(name)), flags, 0)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, fmt.Errorf("the OCI layout has no %s: %w", name, ErrNotFound)
	case err != nil && d.root != nil:
		return nil, 0, fmt.Errorf("%w (symbolic links that lead out of the layout are not followed)", err)
	case err != nil:
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", f.Name())
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func (d dirFiles) read(_ context.Context, name string, limit int64) ([]byte, error) {
	f, size, err := d.file(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has %d bytes, more than the %d allowed for it", name, size, limit)
	}
	return data, err
}

func (d dirFiles) Close() error {
	if d.root == nil {
		return nil
	}
	return d.root.Close()
}
