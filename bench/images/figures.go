package images

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"stella/bench/ociwrite"
)

// Figures describe an image as it was read. Sizes are bytes.
type Figures struct {
	Layers       int   `json:"layers"`
	Compressed   int64 `json:"compressed_bytes"`
	Uncompressed int64 `json:"uncompressed_bytes"` // of the tar streams
	FileBytes    int64 `json:"file_bytes"`         // sum of file sizes
	Entries      int   `json:"entries"`
	Files        int   `json:"files"` // regular, whiteouts excluded
	Directories  int   `json:"directories"`
	Links        int   `json:"links"` // symbolic and hard
	Whiteouts    int   `json:"whiteouts"`
	Jars         int   `json:"jars"`          // regular files
	PackageJSONs int   `json:"package_jsons"` // regular files
}

// Measure counts what an OCI layout holds by reading all of it once.
func Measure(layout string) (Figures, error) {
	layers, err := ociwrite.Layers(layout, "")
	if err != nil {
		return Figures{}, fmt.Errorf("measure image: %w", err)
	}
	f := Figures{Layers: len(layers)}
	for _, d := range layers {
		f.Compressed += d.Size
		if err := f.layer(layout, d); err != nil {
			return Figures{}, fmt.Errorf("measure layer %s: %w", d.Digest, err)
		}
	}
	return f, nil
}

func (f *Figures) layer(layout string, d ociwrite.Descriptor) error {
	name, err := ociwrite.BlobPath(layout, d.Digest)
	if err != nil {
		return err
	}
	blob, err := os.Open(name)
	if err != nil {
		return err
	}
	defer blob.Close()
	plain, err := Decompress(blob, d.MediaType)
	if err != nil {
		return err
	}
	defer plain.Close()
	counted := &countingReader{Reader: plain}
	err = f.walk(tar.NewReader(counted))
	_, drainErr := io.Copy(io.Discard, counted)
	f.Uncompressed += counted.n
	return errors.Join(err, drainErr)
}

func (f *Figures) walk(tr *tar.Reader) error {
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		f.Entries++
		base := path.Base(h.Name)
		switch {
		case strings.HasPrefix(base, ".wh."):
			f.Whiteouts++
		case h.Typeflag == tar.TypeDir:
			f.Directories++
		case h.Typeflag == tar.TypeReg:
			f.Files++
			f.FileBytes += h.Size
			if strings.HasSuffix(base, ".jar") {
				f.Jars++
			}
			if base == "package.json" {
				f.PackageJSONs++
			}
		case h.Typeflag == tar.TypeSymlink || h.Typeflag == tar.TypeLink:
			f.Links++
		}
	}
}

// Decompress reads a layer blob of an OCI media type.
func Decompress(r io.Reader, mediaType string) (io.ReadCloser, error) {
	switch {
	case strings.HasSuffix(mediaType, "gzip"):
		return gzip.NewReader(r)
	case strings.HasSuffix(mediaType, "zstd"):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case strings.HasSuffix(mediaType, "tar"):
		return io.NopCloser(r), nil
	}
	return nil, fmt.Errorf("media type %q is no layer of tar, gzip or zstd", mediaType)
}

type countingReader struct {
	io.Reader
	n int64
}

// Read counts what the reader below gives.
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}
