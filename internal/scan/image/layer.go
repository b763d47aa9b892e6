package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Verify says which bytes of a layer its Digest is of.
type Verify uint8

const (
	// VerifyStored says that Digest is of the bytes that Layer.Open gives.
	VerifyStored Verify = iota
	// VerifyUncompressed says that Digest is the diffID, of the tar after decompression. Archives of docker save promise no other.
	VerifyUncompressed
)

// Layer is one layer of an image.
type Layer struct {
	// Index counts from 0, the bottom layer.
	Index int
	// Digest is what was promised; Verify says of which bytes.
	Digest string
	Verify Verify
	// DiffID is the digest of the uncompressed tar, "" where the configuration does not say.
	DiffID string
	// MediaType is as the manifest says, "" in docker-archive:. What the bytes are only they themselves tell.
	MediaType string
	// Size is the number of stored bytes as the manifest says, -1 where it does not.
	Size int64

	url    string // where a foreign layer is said to be
	member string // its name in a docker-archive
	source source
}

// Foreign reports whether the layer may be missing from the registry by design
// (Windows base layers): it is not to be distributed there.
func (l *Layer) Foreign() bool {
	return strings.Contains(l.MediaType, ".foreign.") || strings.Contains(l.MediaType, ".nondistributable.")
}

// Open returns the layer as it is stored. Reading it fails where it has more or fewer bytes
// than the manifest says. It may be called again, and for several layers at once; ctx must
// live as long as the stream. The digest is not verified.
func (l *Layer) Open(ctx context.Context) (io.ReadCloser, error) {
	if l.source == nil {
		return nil, errors.New("a directory has no layers to open; walk it instead")
	}
	r, err := l.source.layer(ctx, l)
	if err != nil {
		if l.Foreign() && errors.Is(err, ErrNotFound) {
			where := ""
			if l.url != "" {
				where = ", but at " + hostOf(l.url)
			}
			return nil, fmt.Errorf("%s is a foreign layer, which is not kept with the image%s, and Stella fetches no addresses that a manifest names; push the image with its foreign layers to a registry of your own: %w", l, where, err)
		}
		return nil, fmt.Errorf("%s: %w", l, err)
	}
	if l.Size < 0 {
		return r, nil
	}
	return &sized{layer: l, r: r}, nil
}

// String names the layer for people, with the number it has in documents.
func (l *Layer) String() string {
	return fmt.Sprintf("layer %d (%s)", l.Index, l.Digest)
}

// sized fails where a layer does not have the size it claims.
type sized struct {
	layer *Layer
	r     io.ReadCloser
	got   int64
}

func (s *sized) Read(p []byte) (int, error) {
	if s.got > s.layer.Size {
		return 0, s.lied("more")
	}
	// One byte more than there should be, to see whether there is. A size near the largest integer must not overflow.
	if left := s.layer.Size - s.got; int64(len(p))-1 > left {
		p = p[:left+1]
	}
	n, err := s.r.Read(p)
	s.got += int64(n)
	switch {
	case s.got > s.layer.Size:
		return n - 1, s.lied("more")
	case err == io.EOF && s.got < s.layer.Size:
		return n, s.lied(fmt.Sprintf("only %d", s.got))
	case err != nil && err != io.EOF:
		err = fmt.Errorf("%s: after %d of %d bytes: %w", s.layer, s.got, s.layer.Size, err)
	}
	return n, err
}

func (s *sized) lied(got string) error {
	return fmt.Errorf("%s: the manifest says %d bytes, got %s", s.layer, s.layer.Size, got)
}

func (s *sized) Close() error { return s.r.Close() }
