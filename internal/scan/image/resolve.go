package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// maxDepth is how deep indexes may be nested; two levels are seen in practice.
const maxDepth = 4

// load follows a descriptor to an image: through indexes, choosing by platform, to a manifest and its configuration.
func load(ctx context.Context, s source, d descriptor, want wanted) (*Image, error) {
	indexDigest := ""
	var assumed []string
	for range maxDepth {
		raw, said, err := fetchManifest(ctx, s, &d)
		if err != nil {
			return nil, err
		}
		doc, err := parseDocument(raw, cmp.Or(d.MediaType, said))
		if err != nil {
			return nil, err
		}
		if !doc.isIndex() {
			m, err := loadManifest(ctx, s, d.Digest, raw, doc, want)
			if err != nil {
				return nil, err
			}
			m.IndexDigest, m.Warnings = indexDigest, append(assumed, m.Warnings...)
			return m, nil
		}
		next, warning, err := choose(*doc.Manifests, want)
		if err != nil {
			return nil, err
		}
		if _, err := parseDigest(next.Digest); err != nil { // none would mean the tag again
			return nil, fmt.Errorf("the index names a manifest without a proper digest: %w", err)
		}
		if warning != "" {
			assumed = append(assumed, warning)
		}
		indexDigest, d = d.Digest, next
	}
	return nil, fmt.Errorf("indexes are nested more than %d deep", maxDepth)
}

// fetchManifest reads and verifies an index or manifest. Where it was asked for by tag, its digest is found out.
func fetchManifest(ctx context.Context, s source, d *descriptor) (raw []byte, said string, err error) {
	if d.Digest != "" {
		if _, err := parseDigest(d.Digest); err != nil {
			return nil, "", fmt.Errorf("manifest: %w", err)
		}
	}
	if raw, said, err = s.manifest(ctx, d.Digest); err != nil {
		return nil, "", err
	}
	if d.Digest == "" {
		d.Digest = digestOf(raw)
		return raw, said, nil
	}
	return raw, said, verify("manifest", d.Digest, raw)
}

// choose picks the image for a platform from an index.
func choose(all []descriptor, want wanted) (descriptor, string, error) {
	var images []descriptor
	best, bestRank := -1, 0
	for _, d := range all {
		if !d.isImage() {
			continue
		}
		images = append(images, d)
		if d.Platform == nil {
			continue
		}
		if r := rank(want.platform, *d.Platform); r > bestRank {
			best, bestRank = len(images)-1, r
		}
	}
	switch {
	case best >= 0:
		return images[best], "", nil
	case len(images) == 0:
		return descriptor{}, "", errors.New("the index has no image in it, only attestations or artifacts, or nothing")
	case len(images) == 1 && images[0].Platform == nil:
		return images[0], "", nil // the configuration says what it is for
	case len(images) == 1 && !want.asked:
		return images[0], fmt.Sprintf("the only platform that there is was taken, %s instead of %s", images[0].Platform, want), nil
	}
	return descriptor{}, "", fmt.Errorf("there is no image for platform %s; there are: %s", want, platforms(images))
}

// maxListed is how many choices an error names.
const maxListed = 40

func platforms(images []descriptor) string {
	var names []string
	seen := make(map[string]bool)
	for _, d := range images {
		name := "(no platform) " + d.Digest
		if d.Platform != nil {
			name = d.Platform.String()
		}
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return enumerate(names)
}

func enumerate(names []string) string {
	more := ""
	if len(names) > maxListed {
		more = fmt.Sprintf(" and %d more", len(names)-maxListed)
		names = names[:maxListed]
	}
	for i, n := range names {
		if len(n) > 200 {
			names[i] = n[:200] + "…"
		}
	}
	return strings.Join(names, ", ") + more
}

// loadManifest makes an image of a manifest.
func loadManifest(ctx context.Context, s source, digest string, raw []byte, doc *document, want wanted) (*Image, error) {
	if err := doc.checkImage(); err != nil {
		return nil, err
	}
	if _, err := parseDigest(doc.Config.Digest); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	rawConfig, err := s.config(ctx, doc.Config.Digest)
	if err != nil {
		return nil, err
	}
	if err := verify("configuration", doc.Config.Digest, rawConfig); err != nil {
		return nil, err
	}
	m := &Image{
		Digest: digest, MediaType: doc.MediaType, ID: doc.Config.Digest,
		RawManifest: raw, RawConfig: rawConfig, manifestSize: int64(len(raw)), source: s,
	}
	if m.MediaType == "" {
		m.MediaType = typeOCIManifest
	}
	if m.Config, err = parseConfig(rawConfig); err != nil {
		return nil, err
	}
	if err := checkPlatform(&m.Config, want); err != nil {
		return nil, err
	}
	if doc.Layers == nil {
		return m, nil
	}
	m.Layers = make([]Layer, len(*doc.Layers))
	for i, d := range *doc.Layers {
		if _, err := parseDigest(d.Digest); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		if d.Size != nil && *d.Size < 0 {
			return nil, fmt.Errorf("layer %d (%s): the manifest says that it has %d bytes", i, d.Digest, *d.Size)
		}
		m.Layers[i] = Layer{Index: i, Digest: d.Digest, MediaType: d.MediaType, Size: d.size(), url: string(d.URL), source: s}
	}
	if n := len(m.Config.diffIDs); n == len(m.Layers) {
		for i, id := range m.Config.diffIDs {
			m.Layers[i].DiffID = id
		}
	} else if n > 0 {
		m.Warnings = append(m.Warnings, fmt.Sprintf("the image's configuration lists %d layers and its manifest %d; the manifest is followed", n, len(m.Layers)))
	}
	return m, nil
}

// checkPlatform refuses an image that is not for the platform a person asked for. Images that do not say are let through.
func checkPlatform(c *Config, want wanted) error {
	if !want.asked || c.OS == "" || c.Architecture == "" {
		return nil
	}
	have := c.platform()
	if rank(want.platform, have) == 0 && !(have.Variant == "" && rank(want.withoutVariant(), have) > 0) {
		return fmt.Errorf("there is no image for platform %s; the only one is for %s", want, have)
	}
	return nil
}

// withoutVariant is for configurations, which seldom name the variant.
func (w wanted) withoutVariant() platform {
	return normal(platform{OS: w.OS, Architecture: w.Architecture})
}

// hostOf shows of an address only where it leads: the rest may be signed.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "an address that cannot be read"
	}
	return cmp.Or(u.Hostname(), u.Host)
}
