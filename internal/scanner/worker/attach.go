package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"stella/internal/scan"
	"stella/internal/scan/image"
	"stella/internal/scan/sbom"
	"stella/internal/spool"
)

// attachedType is the media type of a CycloneDX document in JSON, as registered with IANA.
const attachedType = "application/vnd.cyclonedx+json"

// attach pushes the SBOM to the image's registry, and returns the digest of what refers to the image.
func (s *scanTask) attach(ctx context.Context, m *image.Image, result *scan.Result, temp string) (digest string, err error) {
	format, err := sbom.ParseFormat("cyclonedx-json")
	if err != nil {
		return "", err
	}
	f, err := spool.TempFile(temp)
	if err != nil {
		return "", fmt.Errorf("write the document that is to be attached: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	doc := &sbom.Document{Subject: scan.Subject(m), Inventory: result, Created: m.Config.Created, ToolVersion: s.version}
	if err := sbom.Write(ctx, io.MultiWriter(f, sum), format, doc); err != nil {
		return "", err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return "", err
	}
	return m.Attach(ctx, image.Referrer{Type: attachedType, Content: f, Size: size, Digest: "sha256:" + hex.EncodeToString(sum.Sum(nil))})
}
