// Package image opens a reference to a container image, wherever it is kept,
// and gives its manifest, its configuration and its layers as bounded streams of the bytes as
// they are stored, which are compressed as a rule.
//
// Words are those of the OCI image specification: a manifest names one
// configuration and the layers, bottom first; an index names manifests, one for each
// platform; a descriptor is a media type, a digest and a size; a layer's digest is of its stored bytes, its
// diffID of the uncompressed tar. A reference says where: see [Open].
//
// Hazards:
//
//   - Everything but the bytes the user typed is hostile. Digests are file
//     names and parts of addresses, so a malformed one is refused. The digests of
//     index, manifest and configuration are verified here. LAYERS ARE NOT: whoever reads
//     one must hash it, see [Layer.Verify].
//   - Sizes in manifests are claims. [Layer.Open] fails when the layer has more or
//     fewer bytes, which only shows if it is read to the end.
//   - Counts are claims too: JSON of 4 MiB can list a million layers, so lists
//     are bounded while they are decoded.
package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"stella/internal/scan/image/registry"
)

// Options are how references are opened. The zero value is ready to use.
type Options struct {
	// Platform chooses from an index: "os/architecture" or
	// "os/architecture/variant". Empty means Linux on this machine's architecture, or, failing that, the only one that there is.
	Platform string
	// Digest, where not empty, is the manifest to open whatever the reference's tag
	// leads to now: an image that was found earlier. [ErrNotFound] where it is gone.
	Digest string
	// Paths limits which paths references may name; nil does not.
	Paths *Paths
	// TempDir is where a gzipped archive is unpacked to; "" means the system's.
	TempDir string
	// Log takes progress such as retries; nil discards it.
	Log *slog.Logger

	// Transport, Keychain, UserAgent, PlainHTTP, Addresses, SkipTLSVerify,
	// StallTimeout and Attempts are as in [registry.Options].
	Transport     http.RoundTripper
	Keychain      authn.Keychain
	UserAgent     string
	PlainHTTP     []string
	Addresses     *registry.Addresses
	SkipTLSVerify bool
	StallTimeout  time.Duration
	Attempts      int
}

// What an error of [Open] and [Layer.Open] can be, for errors.Is.
var (
	// ErrAuth: the registry wants other credentials than there are.
	ErrAuth = registry.ErrAuth
	// ErrNotFound: the registry, layout or archive does not have it.
	ErrNotFound = registry.ErrNotFound
	// ErrForbidden: Paths or Addresses do not allow it.
	ErrForbidden = registry.ErrForbidden
)

// Image is an opened image, or directory.
type Image struct {
	// Reference is what was asked for, as it was given.
	Reference string
	// Name is the reference without its scheme, for documents.
	Name string
	// Digest is the digest of the chosen manifest; "" where there is none, in docker-archive: and dir:.
	Digest string
	// MediaType is the manifest's, "" where there is none.
	MediaType string
	// IndexDigest is the digest of the index the manifest was chosen from, "" where there was none.
	IndexDigest string
	// ID is the digest of the configuration, which Docker shows as the image's ID.
	ID string
	// Config is what the configuration says; zero for dir:.
	Config Config
	// RawManifest and RawConfig are those documents as stored, at most 4 MiB and 8 MiB. For
	// docker-archive:, RawManifest is the image's entry in manifest.json.
	RawManifest, RawConfig []byte
	// Layers are in the order they are applied. For dir: there is one, which cannot be opened: use [Image.Walk].
	Layers []Layer
	// Dir is the directory of dir:, else "".
	Dir string
	// Warnings are sentences for people about what was assumed on the way.
	Warnings []string

	manifestSize int64 // of the manifest as stored; [Image.Attach] needs it
	source       source
	root         *os.Root // of dir:
}

// Close releases what the image holds. Layers that are being read fail from then on.
func (m *Image) Close() error {
	if m.root != nil {
		return m.root.Close()
	}
	if m.source == nil {
		return nil
	}
	return m.source.Close()
}

// source is where documents and layers come from.
type source interface {
	// manifest returns an index or manifest, unverified, and the media type that it came
	// under, "" where nobody said. An empty digest means the one that was asked for by tag.
	manifest(ctx context.Context, digest string) (raw []byte, mediaType string, err error)
	// config returns an image configuration, unverified.
	config(ctx context.Context, digest string) ([]byte, error)
	// layer opens the stored bytes of a layer.
	layer(ctx context.Context, l *Layer) (io.ReadCloser, error)
	io.Closer
}

// Open opens a reference:
//
//	registry:NAME            an image in a registry
//	oci-dir:PATH[:TAG|@DIGEST]        an OCI layout in a directory
//	oci-archive:PATH[:TAG|@DIGEST]    an OCI layout in a tar file
//	docker-archive:PATH[:NAME:TAG]    what docker save writes
//	dir:PATH                 a directory as a root file system
//
// Without a scheme, a path that exists is one of the last four, by what is in
// it, and anything else is the name of an image in a registry.
//
// ctx bounds Open alone. An image must be closed.
func Open(ctx context.Context, ref string, o Options) (*Image, error) {
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	want, err := parsePlatform(o.Platform)
	if err != nil {
		return nil, err
	}
	r, err := parseReference(ref, o.Paths.exists)
	if o.Paths != nil && errors.Is(err, fs.ErrNotExist) {
		return nil, refusePath(ref)
	}
	if err != nil {
		return nil, err
	}
	if err := r.guessDir(o.Paths); err != nil {
		return nil, err
	}
	if o.Digest != "" {
		if _, err := parseDigest(o.Digest); err != nil {
			return nil, err
		}
		r.tag, r.digest = "", o.Digest
	}
	var m *Image
	switch r.scheme {
	case schemeRegistry:
		m, err = openRegistry(ctx, r, want, &o)
	case schemeDir:
		m, err = openDir(r, &o)
	case schemeOCIDir:
		m, err = openLayout(ctx, r, want, &o)
	default: // an archive, which is looked into where nobody said of which kind
		m, err = openArchive(ctx, r, want, &o)
	}
	if err == nil && o.Digest != "" && m.Digest != o.Digest {
		m.Close()
		err = fmt.Errorf("it is not the image %s: %w", o.Digest, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", r.quoted(), err)
	}
	m.Reference, m.Name = ref, r.name
	for _, w := range m.Warnings {
		o.Log.Warn(w, "image", m.Name)
	}
	return m, nil
}
