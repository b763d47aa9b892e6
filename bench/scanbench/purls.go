package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"strings"
)

// Packages is what a CycloneDX document lists.
type Packages struct {
	// Components counts components that are packages: those of type "file",
	// which syft makes of every file, are left out.
	Components int `json:"components"`
	// Distinct counts different package URLs, qualifiers and subpath aside, so
	// that tools that list a package once per place can be compared.
	Distinct int `json:"distinct"`
	// ByType counts the distinct package URLs by their type ("deb", "npm").
	ByType map[string]int `json:"by_type"`
	// WithoutURL counts packages without a package URL, operating systems aside.
	WithoutURL int `json:"without_url,omitempty"`
}

type component struct {
	Type string `json:"type"`
	PURL string `json:"purl"`
}

// countPackages reads a CycloneDX JSON document of any size as a stream; memory
// grows by some 16 bytes for each distinct package.
func countPackages(r io.Reader) (Packages, error) {
	p := Packages{ByType: map[string]int{}}
	d := json.NewDecoder(r)
	if err := expect(d, json.Delim('{')); err != nil {
		return p, err
	}
	found, seen := false, map[uint64]struct{}{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return p, fmt.Errorf("read CycloneDX: %w", err)
		}
		if key != "components" {
			var skipped json.RawMessage
			if err := d.Decode(&skipped); err != nil {
				return p, fmt.Errorf("read CycloneDX %v: %w", key, err)
			}
			continue
		}
		found = true
		if err := expect(d, json.Delim('[')); err != nil {
			return p, err
		}
		for d.More() {
			var c component
			if err := d.Decode(&c); err != nil {
				return p, fmt.Errorf("read CycloneDX component %d: %w", p.Components, err)
			}
			p.add(c, seen)
		}
		if err := expect(d, json.Delim(']')); err != nil {
			return p, err
		}
	}
	if err := expect(d, json.Delim('}')); err != nil {
		return p, err
	}
	if !found {
		return p, errors.New("read CycloneDX: the document has no components")
	}
	return p, nil
}

func (p *Packages) add(c component, seen map[uint64]struct{}) {
	if c.Type == "file" || c.Type == "operating-system" {
		return
	}
	p.Components++
	kind, ok := purlType(c.PURL)
	if !ok {
		p.WithoutURL++
		return
	}
	// 64 bits: with a million packages two collide once in 37 million documents.
	h := fnv.New64a()
	io.WriteString(h, bareURL(c.PURL))
	if _, ok := seen[h.Sum64()]; ok {
		return
	}
	seen[h.Sum64()] = struct{}{}
	p.Distinct++
	p.ByType[kind]++
}

// purlType is the type of a package URL: what is between "pkg:" and the first
// slash, in lower case (purl specification).
func purlType(purl string) (string, bool) {
	rest, ok := strings.CutPrefix(purl, "pkg:")
	if !ok {
		return "", false
	}
	kind, name, ok := strings.Cut(strings.TrimLeft(rest, "/"), "/")
	if !ok || kind == "" || name == "" {
		return "", false
	}
	return strings.ToLower(kind), true
}

// bareURL is a package URL without qualifiers and subpath.
func bareURL(purl string) string {
	if i := strings.IndexAny(purl, "?#"); i >= 0 {
		return purl[:i]
	}
	return purl
}

func expect(d *json.Decoder, want json.Delim) error {
	got, err := d.Token()
	if err != nil {
		return fmt.Errorf("read CycloneDX: %w", err)
	}
	if got != want {
		return fmt.Errorf("read CycloneDX: %v where %v belongs", got, want)
	}
	return nil
}
