package cli

import (
	"context"
	"errors"

	"stella/internal/scan"
)

// layerCounts is what reading the layers of an image told, by index.
type layerCounts struct {
	layers  []counts
	partial error // that a problem made the counts incomplete
}

// countLayers scans the image for its numbers alone.
func (s *session) countLayers(ctx context.Context) (*layerCounts, error) {
	c, err := s.count(ctx)
	if err == nil && c == nil {
		// The whole inventory was kept from an earlier scan, but no numbers of layers.
		s.flags.noCache = true
		c, err = s.count(ctx)
	}
	return c, err
}

// count is nil without an error where the scan had no layers to count in.
func (s *session) count(ctx context.Context) (_ *layerCounts, err error) {
	result, err := s.scan(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, result.Close()) }()
	if result.Stats.FromCache && len(result.Stats.Layers) == 0 {
		return nil, nil
	}
	// A layer that is in the image twice was read once.
	byDigest := make(map[string]*scan.LayerStats)
	for i := range result.Stats.Layers {
		l := &result.Stats.Layers[i]
		byDigest[l.Digest] = l
	}
	c := &layerCounts{layers: make([]counts, len(s.image.Layers)), partial: partial(result.Problems())}
	for i, l := range s.image.Layers {
		n := byDigest[l.Digest]
		if n == nil {
			n = new(scan.LayerStats)
		}
		c.layers[i] = counts{&n.Uncompressed, &n.Entries, &n.Files, &n.Packages}
	}
	return c, nil
}
