package cli

import (
	"context"
	"errors"
)

// layerCounts is what reading the layers of an image told, by index.
type layerCounts struct {
	layers  []counts
	partial error // that a problem made the counts incomplete
}

// countLayers scans the image for its numbers alone.
func (s *session) countLayers(ctx context.Context) (_ *layerCounts, err error) {
	result, err := s.scan(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, result.Close()) }()
	c := &layerCounts{layers: make([]counts, len(s.image.Layers)), partial: partial(result.Problems())}
	for i := range result.Stats.Layers {
		n := &result.Stats.Layers[i]
		c.layers[i] = counts{&n.Uncompressed, &n.Entries, &n.Files, &n.Packages}
	}
	return c, nil
}
