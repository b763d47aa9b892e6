package sbom

import (
	"context"
	"fmt"
	"strings"
)

// Format is a document language and its version. The table has no version.
type Format struct{ Name, Version string }

// String is the form that [ParseFormat] reads: "cyclonedx-json@1.7".
func (f Format) String() string {
	if f.Version == "" {
		return f.Name
	}
	return f.Name + "@" + f.Version
}

// writeFunc writes one format.
type writeFunc func(ctx context.Context, out *stream, d *Document) error

// formats is everything [Write] can write; of each name the default version first.
var formats = []struct {
	Format
	write writeFunc
}{
	{Format{"cyclonedx-json", "1.7"}, writeCycloneDX("1.7")},
	{Format{"cyclonedx-json", "1.6"}, writeCycloneDX("1.6")},
	{Format{"spdx-json", "2.3"}, writeSPDX},
	{Format{"json", NativeVersion}, writeNative},
	{Format{"table", ""}, writeTable},
}

// ParseFormat reads "name" or "name@version"; without a version it is the default
// one of the name. The error says what there is to choose from.
func ParseFormat(s string) (Format, error) {
	name, version, versioned := strings.Cut(s, "@")
	var versions []string
	for _, f := range formats {
		if f.Name != name {
			continue
		}
		if !versioned || version != "" && f.Version == version {
			return f.Format, nil
		}
		versions = append(versions, f.Format.String())
	}
	if versions == nil {
		return Format{}, fmt.Errorf("unknown format %q: choose one of %s", s, strings.Join(Formats(), ", "))
	}
	return Format{}, fmt.Errorf("unknown version of format %q: choose %s", s, strings.Join(versions, " or "))
}

// Formats are the names [ParseFormat] takes, for help and completion: each
// name alone, which is its default version, then those with other versions.
func Formats() []string {
	var names []string
	seen := ""
	for _, f := range formats {
		if f.Name == seen {
			names = append(names, f.Format.String())
			continue
		}
		seen = f.Name
		names = append(names, f.Name)
	}
	return names
}

func (f Format) writer() (writeFunc, error) {
	for _, known := range formats {
		if known.Format == f {
			return known.write, nil
		}
	}
	_, err := ParseFormat(f.String())
	if err == nil { // a name without its version, which only ParseFormat completes
		err = fmt.Errorf("format %q has no version: get it from ParseFormat", f)
	}
	return nil, err
}
