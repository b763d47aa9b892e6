package ociwrite

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// blobBuffer is the size in bytes of writes to a blob file.
const blobBuffer = 256 << 10

// Layer is a layer being written.
type Layer struct {
	w          *Writer
	file       *os.File
	buffered   *bufio.Writer
	compressed hash.Hash
	size       int64
	compressor io.WriteCloser
	diff       hash.Hash
	tar        *tar.Writer
}

// Layer starts the next layer. Close it before the next one or the image.
func (w *Writer) Layer() (*Layer, error) {
	if w.open {
		return nil, errors.New("write layer: the one before is still open; close it first")
	}
	f, err := os.CreateTemp(w.dir, "layer-*")
	if err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	l := &Layer{w: w, file: f, buffered: bufio.NewWriterSize(f, blobBuffer), compressed: sha256.New(), diff: sha256.New()}
	switch w.compression {
	case Gzip:
		l.compressor, err = gzip.NewWriterLevel(blobSink{l}, 6)
	case Zstd:
		// One goroutine: several would cut the stream into other frames.
		l.compressor, err = zstd.NewWriter(blobSink{l}, zstd.WithEncoderConcurrency(1))
	default:
		l.compressor = nopCloser{blobSink{l}}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write layer: %w", err), f.Close(), os.Remove(f.Name()))
	}
	l.tar = tar.NewWriter(io.MultiWriter(l.diff, l.compressor))
	w.open = true
	return l, nil
}

// Entry writes one entry. The times of the header are replaced by [Epoch], and
// content must yield exactly h.Size bytes; it may be nil where that is 0.
func (l *Layer) Entry(h tar.Header, content io.Reader) error {
	h.ModTime = Epoch
	if err := l.tar.WriteHeader(&h); err != nil {
		return fmt.Errorf("write header of %s: %w", h.Name, err)
	}
	if h.Size == 0 {
		return nil
	}
	if n, err := io.Copy(l.tar, content); err != nil {
		return fmt.Errorf("write content of %s: %w", h.Name, err)
	} else if n != h.Size {
		return fmt.Errorf("write content of %s: %d bytes where its header says %d", h.Name, n, h.Size)
	}
	return nil
}

// Close ends the layer and gives the blob its name. A layer whose Entry failed
// is discarded by Close's error.
func (l *Layer) Close() error {
	l.w.open = false
	err := errors.Join(l.tar.Close(), l.compressor.Close(), l.buffered.Flush(), l.file.Chmod(0o644), l.file.Close())
	if err != nil {
		return errors.Join(fmt.Errorf("finish layer: %w", err), os.Remove(l.file.Name()))
	}
	d := Descriptor{
		MediaType: mediaTypes[l.w.compression],
		Digest:    fmt.Sprintf("sha256:%x", l.compressed.Sum(nil)),
		Size:      l.size,
	}
	if err := os.Rename(l.file.Name(), filepath.Clean(blobPath(l.w.dir, d.Digest))); err != nil {
		return fmt.Errorf("finish layer: %w", err)
	}
	l.w.layers = append(l.w.layers, d)
	l.w.diffIDs = append(l.w.diffIDs, fmt.Sprintf("sha256:%x", l.diff.Sum(nil)))
	return nil
}

// blobSink receives the compressed bytes of a layer.
type blobSink struct{ l *Layer }

// Write hashes, counts and stores.
func (s blobSink) Write(p []byte) (int, error) {
	s.l.compressed.Write(p)
	n, err := s.l.buffered.Write(p)
	s.l.size += int64(n)
	return n, err
}

type nopCloser struct{ io.Writer }

// Close does nothing: an uncompressed blob needs no end.
func (nopCloser) Close() error { return nil }
