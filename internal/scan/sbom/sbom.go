// Package sbom writes what a scan found as a document: CycloneDX, SPDX, our
// own JSON, or a table for people.
//
// A [Document] is an inventory and the image it is about, the [Subject]. A
// [Format] is a document language and its version. [Write] reads the inventory as
// a stream and writes the document as a stream.
//
// Hazards:
//
//   - An inventory can hold a million components, and one component a hundred thousand
//     locations. Nothing here is collected: memory is one output buffer, one
//     component without its locations, and the bounded set in [maxLicenseTexts].
//     Members of a JSON document therefore come in the order in which they can be known.
//   - The same document in is the same bytes out: no clock, no random number, no map order.
//   - A document of an incomplete inventory must say so; each format has its place for it.
//   - Names, versions and paths come from the image, and an image can be hostile. JSON
//     output is valid whatever they hold; the table shows no control characters.
//
// JSON is compact with one component, dependency or relationship on each line.
// Indenting would add a third to the size of documents that reach gigabytes; a
// single line could be neither compared with diff nor searched with grep.
package sbom

import (
	"context"
	"fmt"
	"io"
	"time"

	"stella/internal/scan/inventory"
)

// Document is everything a document is made from.
type Document struct {
	Subject   Subject
	Inventory inventory.Inventory

	// Created is the time the document states. For equal bytes from equal
	// images it should be SOURCE_DATE_EPOCH, or else the time the image's configuration gives.
	// Zero is "not known": the time is left out, or is 1970 in SPDX, which demands one.
	Created time.Time

	// ToolVersion is the version of Stella, without a leading "v".
	ToolVersion string

	// Table is how to print a table; other formats ignore it.
	Table Table
}

// Subject is the image a document is about. Empty fields are left out of documents.
type Subject struct {
	Name      string // what people call it: "team/app", or a file name
	Reference string // as the user gave it: "registry.example/team/app:1.2", "app.tar"

	// Repository and Tag are set for images of a registry: "registry.example/team/app", "1.2".
	Repository string
	Tag        string

	Digest      string // of the manifest: "sha256:…"
	IndexDigest string // of the index the manifest was chosen from
	MediaType   string // of the manifest

	OS, Architecture, Variant string

	Labels map[string]string
	Layers []Layer // the base first
}

// Layer is one layer of the image.
type Layer struct {
	Digest    string // of the stored bytes
	DiffID    string // of the uncompressed bytes
	MediaType string
	Size      int64 // of the stored bytes
}

// layer is the digest of the layer with that index; "" where there is none,
// as for problems that are about no layer.
func (s *Subject) layer(i int) string {
	switch {
	case i < 0 || i >= len(s.Layers):
		return ""
	case s.Layers[i].Digest != "":
		return s.Layers[i].Digest
	default:
		return s.Layers[i].DiffID
	}
}

// title is the best name the image has.
func (s *Subject) title() string {
	for _, t := range []string{s.Name, s.Reference, s.Digest} {
		if t != "" {
			return t
		}
	}
	return "image"
}

// Write writes the document in the format. It reads the inventory once or
// twice, from the beginning. An error of w (a full disk, a closed pipe), of the inventory
// or of ctx ends it; what was written until then is not a valid document.
func Write(ctx context.Context, w io.Writer, f Format, d *Document) error {
	write, err := f.writer()
	if err != nil {
		return err
	}
	out := newStream(w)
	if err := write(ctx, out, d); err != nil {
		return fmt.Errorf("write %s: %w", f, err)
	}
	if err := out.flush(); err != nil {
		return fmt.Errorf("write %s: %w", f, err)
	}
	return nil
}

// checkEvery is how many components or edges pass between two looks at the
// context: a few milliseconds of work.
const checkEvery = 1024

// components calls f for each component, until an error of anyone.
func (d *Document) components(ctx context.Context, out *stream, f func(*inventory.Component) error) error {
	n := 0
	for c, err := range d.Inventory.Components() {
		if err != nil {
			return fmt.Errorf("read the components of the inventory: %w", err)
		}
		if n++; n%checkEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := f(c); err != nil {
			return err
		}
		if out.err != nil {
			return out.err
		}
	}
	return ctx.Err()
}

// edges calls f for each dependency, until an error of anyone. A component
// that depends on itself says nothing, and sends careless readers round in circles: it is left out.
func (d *Document) edges(ctx context.Context, out *stream, f func(inventory.Edge)) error {
	n := 0
	for e, err := range d.Inventory.Edges() {
		if err != nil {
			return fmt.Errorf("read the dependencies of the inventory: %w", err)
		}
		if n++; n%checkEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if e.From == e.To {
			continue
		}
		f(e)
		if out.err != nil {
			return out.err
		}
	}
	return ctx.Err()
}

// locations calls f with the number and the value of each location of c, until f
// returns false or something fails.
func locations(c *inventory.Component, out *stream, f func(n int, l inventory.Location) bool) error {
	if c.Locations == nil {
		return nil
	}
	n := 0
	for l, err := range c.Locations {
		if err != nil {
			return fmt.Errorf("read the locations of %s: %w", c.Ref, err)
		}
		if !f(n, l) {
			return nil
		}
		if out.err != nil {
			return out.err
		}
		n++
	}
	return nil
}
