package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"stella/internal/scan/image/registry"
)

// Referrer is a document about an image that is kept beside it in its registry,
// for whoever asks the registry what refers to the image (OCI distribution
// specification 1.1, "Listing Referrers").
type Referrer struct {
	// Type is the media type, such as application/vnd.cyclonedx+json.
	Type string
	// Content are its Size bytes, and Digest is their SHA-256, "sha256:…".
	Content io.ReaderAt
	Size    int64
	Digest  string
}

// The empty configuration that a manifest has which is no image (OCI image
// specification 1.1, "Guidance for an Empty Descriptor").
const (
	typeEmpty   = "application/vnd.oci.empty.v1+json"
	emptyConfig = "{}"
)

// ErrNoRegistry says that an image does not come from a registry.
var ErrNoRegistry = errors.New("the image is not in a registry, so nothing can be attached to it")

// target is a descriptor as it is written.
type target struct {
	MediaType    string `json:"mediaType"`
	Digest       string `json:"digest"`
	Size         int64  `json:"size"`
	ArtifactType string `json:"artifactType,omitempty"`
}

// Attach pushes a document to the image's registry, and returns the digest of the
// manifest that refers to the image. The same document again changes nothing. The
// content is streamed. A registry without the referrers API gets the list of
// referrers under the tag that clients look at then. The error matches [ErrNoRegistry] where
// the image has none.
func (m *Image) Attach(ctx context.Context, r Referrer) (string, error) {
	digest, err := m.attach(ctx, r)
	if err != nil {
		return "", fmt.Errorf("attach to %s: %w", m.Name, err)
	}
	return digest, nil
}

func (m *Image) attach(ctx context.Context, r Referrer) (string, error) {
	s, ok := m.source.(*remote)
	if !ok {
		return "", ErrNoRegistry
	}
	client, err := s.dial(ctx)
	if err != nil {
		return "", err
	}
	defer client.Close()
	config := target{MediaType: typeEmpty, Digest: digestOf([]byte(emptyConfig)), Size: int64(len(emptyConfig))}
	err = client.Upload(ctx, config.Digest, config.Size, func() io.Reader { return strings.NewReader(emptyConfig) })
	if err == nil {
		err = client.Upload(ctx, r.Digest, r.Size, func() io.Reader { return io.NewSectionReader(r.Content, 0, r.Size) })
	}
	if err != nil {
		return "", err
	}
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": typeOCIManifest, "artifactType": r.Type,
		"config":  config,
		"layers":  []target{{MediaType: r.Type, Digest: r.Digest, Size: r.Size}},
		"subject": target{MediaType: m.MediaType, Digest: m.Digest, Size: m.manifestSize},
	})
	if err != nil {
		return "", err
	}
	d := target{MediaType: typeOCIManifest, Digest: digestOf(raw), Size: int64(len(raw)), ArtifactType: r.Type}
	noted, err := client.PutManifest(ctx, d.Digest, typeOCIManifest, raw)
	if err != nil {
		return "", err
	}
	if !noted {
		err = addReferrer(ctx, client, m.Digest, d)
	}
	return d.Digest, err
}

// addReferrer adds d to the index under the tag that stands for the referrers of an
// image where the registry does not list them (ibid., "Referrers Tag Schema"). No
// registry must support conditional writes: of two who attach to one image at the
// same time, one can be left out of the list, until it attaches again.
func addReferrer(ctx context.Context, client *registry.Client, subject string, d target) error {
	tag := strings.Replace(subject, ":", "-", 1)
	all, err := referrers(ctx, client, tag)
	if err != nil {
		return err
	}
	for _, other := range all {
		var have target
		if json.Unmarshal(other, &have) == nil && have.Digest == d.Digest {
			return nil
		}
	}
	entry, err := json.Marshal(d)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": typeOCIIndex, "manifests": append(all, entry)})
	if err != nil {
		return err
	}
	if len(raw) > maxManifest {
		return fmt.Errorf("the list of referrers, tag %s, is full: %d entries", tag, len(all))
	}
	_, err = client.PutManifest(ctx, tag, typeOCIIndex, raw)
	return err
}

// referrers are the entries of that index, as they are; none where there is no index.
func referrers(ctx context.Context, client *registry.Client, tag string) ([]json.RawMessage, error) {
	doc, err := client.Manifest(ctx, tag, []string{typeOCIIndex}, maxManifest)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var index struct {
		MediaType string                `json:"mediaType"`
		Manifests list[json.RawMessage] `json:"manifests"`
	}
	if err := json.Unmarshal(doc.Raw, &index); err != nil {
		return nil, fmt.Errorf("the list of referrers, tag %s: %w", tag, err)
	}
	if index.MediaType != typeOCIIndex {
		return nil, fmt.Errorf("the tag %s, which stands for the list of referrers, is no index", tag)
	}
	return index.Manifests, nil
}
