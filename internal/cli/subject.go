package cli

import (
	"fmt"
	"strconv"
	"time"

	"stella/internal/scan"
	"stella/internal/scan/image"
	"stella/internal/scan/sbom"
)

// document joins what is known about an image with what was found in it.
func document(m *image.Image, result *scan.Result, a *app) (*sbom.Document, error) {
	created, err := createdTime(a.getenv, m.Config.Created)
	if err != nil {
		return nil, err
	}
	return &sbom.Document{
		Subject:     scan.Subject(m),
		Inventory:   result,
		Created:     created,
		ToolVersion: a.version,
		Table:       sbom.Table{Width: a.resultWidth(), Color: a.resultColor()},
	}, nil
}

// createdTime is the time that a document states: SOURCE_DATE_EPOCH, as
// reproducible-builds.org/specs/source-date-epoch/ has it, else the image's.
func createdTime(getenv func(string) string, image time.Time) (time.Time, error) {
	epoch := getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		return image, nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q; it must be seconds since 1970", epoch)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
