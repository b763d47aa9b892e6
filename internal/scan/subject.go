package scan

import (
	"stella/internal/scan/image"
	"stella/internal/scan/sbom"
)

// Subject is the image as documents describe it.
func Subject(m *image.Image) sbom.Subject {
	s := sbom.Subject{
		Name:         m.Name,
		Reference:    m.Reference,
		Digest:       m.Digest,
		IndexDigest:  m.IndexDigest,
		MediaType:    m.MediaType,
		OS:           m.Config.OS,
		Architecture: m.Config.Architecture,
		Variant:      m.Config.Variant,
		Labels:       m.Config.Labels,
		Layers:       make([]sbom.Layer, len(m.Layers)),
	}
	for i, l := range m.Layers {
		s.Layers[i] = sbom.Layer{Digest: l.Digest, DiffID: l.DiffID, MediaType: l.MediaType, Size: l.Size}
	}
	return s
}
