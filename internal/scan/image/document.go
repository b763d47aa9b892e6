package image

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Media types of the documents, by the OCI image specification and Docker's image manifest version 2, schema 2.
const (
	typeOCIIndex       = "application/vnd.oci.image.index.v1+json"
	typeOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	typeOCIConfig      = "application/vnd.oci.image.config.v1+json"
	typeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	typeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	typeDockerConfig   = "application/vnd.docker.container.image.v1+json"
	typeDockerSchema1  = "application/vnd.docker.distribution.manifest.v1+"
)

// acceptedTypes are what a registry is asked for.
var acceptedTypes = []string{typeOCIIndex, typeDockerList, typeOCIManifest, typeDockerManifest}

const (
	// maxManifest is what registries accept for a manifest or an index, in bytes
	// (OCI distribution specification, "Pushing Manifests").
	maxManifest = 4 << 20
	// maxConfig leaves 800 bytes of history for each of 10,000 layers.
	maxConfig = 8 << 20
	// maxItems bounds the lists in documents: 16,384 layers take some 6 MiB.
	maxItems = 16 << 10
)

// list is a JSON array of at most maxItems elements. The bound holds while
// decoding: a million elements would fit in a document and not in memory.
type list[T any] []T

func (l *list[T]) UnmarshalJSON(data []byte) error {
	*l = nil
	dec := json.NewDecoder(bytes.NewReader(data))
	switch tok, err := dec.Token(); {
	case err != nil:
		return err
	case tok == nil:
		return nil
	case tok != json.Delim('['):
		return errors.New("expected a list")
	}
	for dec.More() {
		if len(*l) == maxItems {
			return fmt.Errorf("a list has more than %d elements", maxItems)
		}
		var v T
		if err := dec.Decode(&v); err != nil {
			return err
		}
		*l = append(*l, v)
	}
	return nil
}

// first keeps the first string of a JSON array.
type first string

func (f *first) UnmarshalJSON(data []byte) error {
	var all list[string]
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	*f = ""
	if len(all) > 0 {
		*f = first(all[0])
	}
	return nil
}

// descriptor names a blob. Of the annotations, those that choose are read.
type descriptor struct {
	MediaType    string    `json:"mediaType"`
	Digest       string    `json:"digest"`
	Size         *int64    `json:"size"`
	URL          first     `json:"urls"`
	Platform     *platform `json:"platform"`
	ArtifactType string    `json:"artifactType"`
	Annotations  struct {
		Ref        string `json:"org.opencontainers.image.ref.name"`
		Containerd string `json:"io.containerd.image.name"`
		Docker     string `json:"vnd.docker.reference.type"`
	} `json:"annotations"`
}

// size is the claimed size, -1 where there is none.
func (d *descriptor) size() int64 {
	if d.Size == nil {
		return -1
	}
	return *d.Size
}

// isImage reports whether a descriptor in an index can be an image, and not what
// is attached to one: BuildKit's attestations have no platform, OCI artifacts have a type.
func (d *descriptor) isImage() bool {
	if d.Annotations.Docker == "attestation-manifest" || d.ArtifactType != "" {
		return false
	}
	return d.Platform == nil || d.Platform.OS != "unknown" || d.Platform.Architecture != "unknown"
}

// document is an index or a manifest: they are told apart by what is in them.
type document struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Manifests     *list[descriptor] `json:"manifests"`
	Config        *descriptor       `json:"config"`
	Layers        *list[descriptor] `json:"layers"`
	FSLayers      json.RawMessage   `json:"fsLayers"`
}

func (d *document) isIndex() bool { return d.Manifests != nil }

// parseDocument reads an index or a manifest. said is the media type under
// which it came, "" where nobody said. A document that can be read both ways, or as something other than
// what it says, is refused: tools would disagree about what is in the image (CVE-2021-41190).
func parseDocument(raw []byte, said string) (*document, error) {
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, fmt.Errorf("the manifest is not valid: %w", err)
	}
	said, _, _ = strings.Cut(said, ";")
	said = strings.TrimSpace(said)
	if strings.HasPrefix(said, typeDockerSchema1) || strings.HasPrefix(d.MediaType, typeDockerSchema1) || d.SchemaVersion == 1 || d.FSLayers != nil {
		return nil, errors.New("the manifest is of Docker's schema 1, which was withdrawn because it cannot be verified; push the image again with a current tool")
	}
	switch image := d.Layers != nil || d.Config != nil; {
	case image && d.isIndex():
		return nil, errors.New("the manifest is ambiguous: it has both manifests and layers")
	case !image && !d.isIndex():
		return nil, fmt.Errorf("the document is neither a manifest nor an index (media type %.100q)", cmp.Or(d.MediaType, said))
	case image && d.Config == nil:
		return nil, errors.New("the manifest names no configuration")
	}
	for _, t := range []string{d.MediaType, said} {
		index, known := map[string]bool{typeOCIIndex: true, typeDockerList: true, typeOCIManifest: false, typeDockerManifest: false}[t]
		if known && index != d.isIndex() {
			return nil, fmt.Errorf("the manifest is ambiguous: it says that it is a %s, and its content says otherwise", t)
		}
	}
	d.MediaType = cmp.Or(d.MediaType, said)
	return &d, nil
}

// checkImage refuses manifests that are not of container images.
func (d *document) checkImage() error {
	switch t := d.Config.MediaType; {
	case strings.HasPrefix(t, "application/vnd.cncf.helm."):
		return errors.New("this is a Helm chart, not a container image; scan the images that the chart uses")
	case d.ArtifactType != "" && t != typeOCIConfig:
		return fmt.Errorf("this is an artifact of type %.100q, not a container image", d.ArtifactType)
	case t == typeOCIConfig, t == typeDockerConfig, t == "", t == "application/octet-stream": // the last by old versions of Docker
		return nil
	default:
		return fmt.Errorf("this is not a container image: its configuration has the media type %.100q", t)
	}
}
