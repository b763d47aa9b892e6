package sbom

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"syscall"
	"testing"
	"time"

	"stella/internal/scan/inventory"
	"stella/internal/scan/sbom/sbomtest"
)

const testDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func layerDigest(c string) string { return "sha256:" + strings.Repeat(c, 64) }

// document is an image with the given inventory.
func document(inv inventory.Inventory) *Document {
	return &Document{
		Subject: Subject{
			Name: "team/app", Reference: "registry.example/team/app:1.2", Repository: "registry.example/team/app", Tag: "1.2",
			Digest: testDigest, IndexDigest: layerDigest("9"), MediaType: "application/vnd.oci.image.manifest.v1+json",
			OS: "linux", Architecture: "arm64", Variant: "v8",
			Labels: map[string]string{"maintainer": "me \"<&>\x00\xff", "a": "1", "": "no key", "empty": ""},
			Layers: []Layer{
				{Digest: layerDigest("a"), DiffID: layerDigest("b"), MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Size: 12345},
				{Digest: layerDigest("c"), DiffID: layerDigest("d")},
				{DiffID: layerDigest("e")},
			},
		},
		Inventory:   inv,
		Created:     time.Date(2026, 2, 3, 4, 5, 6, 789, time.FixedZone("", 3600)),
		ToolVersion: "1.2.3",
	}
}

// reduced asks for smaller tests.
func reduced() bool { return raceEnabled || testing.Short() }

// manyLocations is how many locations one component of ugly has.
func manyLocations() int {
	if reduced() {
		return 5_000
	}
	return 100_000
}

func ugly() *sbomtest.Inventory { return sbomtest.Ugly(manyLocations()) }

func write(t testing.TB, format string, d *Document) []byte {
	t.Helper()
	f, err := ParseFormat(format)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Write(context.Background(), &b, f, d); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSameInSameOut(t *testing.T) {
	for _, format := range Formats() {
		if !bytes.Equal(write(t, format, document(ugly())), write(t, format, document(ugly()))) {
			t.Errorf("%s: two documents of the same image differ", format)
		}
	}
}

// The failing writer takes so many bytes; every place to fail must be reported.
type fullDisk struct{ left int }

func (f *fullDisk) Write(p []byte) (int, error) {
	if len(p) > f.left {
		n := f.left
		f.left = 0
		return n, syscall.ENOSPC
	}
	f.left -= len(p)
	return len(p), nil
}

func TestWriteErrors(t *testing.T) {
	d := document(sbomtest.Generated{N: 2000})
	for _, format := range Formats() {
		f, _ := ParseFormat(format)
		size := len(write(t, format, d))
		for left := 0; left < size; left += size/20 + 1 {
			if err := Write(t.Context(), &fullDisk{left}, f, d); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("%s, disk full after %d of %d bytes: error %v, want ENOSPC", format, left, size, err)
			}
		}
		if err := Write(t.Context(), &fullDisk{size - 1}, f, d); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s, no room for the last byte: error %v, want ENOSPC", format, err)
		}
		if err := Write(t.Context(), shortWriter{}, f, d); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("%s, a writer that takes half: error %v, want %v", format, err, io.ErrShortWrite)
		}
	}
}

// After a closed pipe the rest of the inventory is not read for nothing.
func TestWriteErrorEndsReading(t *testing.T) {
	for _, format := range Formats() {
		f, _ := ParseFormat(format)
		inv := &counting{Generated: sbomtest.Generated{N: 20_000}}
		if err := Write(t.Context(), &fullDisk{}, f, document(inv)); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: error %v, want ENOSPC", format, err)
		}
		// The table reads everything once before it writes anything.
		if limit := 1000; inv.components > limit && (format != "table" || inv.components > inv.N+limit) {
			t.Errorf("%s: %d components were read", format, inv.components)
		}
	}
}

type counting struct {
	sbomtest.Generated
	components int
}

func (c *counting) Components() iter.Seq2[*inventory.Component, error] {
	return func(yield func(*inventory.Component, error) bool) {
		for x, err := range c.Generated.Components() {
			if c.components++; !yield(x, err) {
				return
			}
		}
	}
}

type shortWriter struct{}

func (shortWriter) Write(p []byte) (int, error) { return len(p) / 2, nil }

func TestInventoryErrors(t *testing.T) {
	broken := errors.New("fragment 3 is damaged")
	late := sbomtest.New([]sbomtest.Item{{Ref: "a", Locations: []inventory.Location{{Path: "p"}}}}, nil, nil, nil)
	for _, format := range Formats() {
		f, _ := ParseFormat(format)
		err := Write(t.Context(), io.Discard, f, document(ugly().Failing(broken)))
		if !errors.Is(err, broken) {
			t.Errorf("%s: error %v, want %v", format, err, broken)
		}
		if err := Write(t.Context(), io.Discard, f, document(edgesFail{late, broken})); format != "table" && !errors.Is(err, broken) {
			t.Errorf("%s: error %v, want %v of the edges", format, err, broken)
		}
		if err := Write(t.Context(), io.Discard, f, document(locationsFail{late, broken})); !errors.Is(err, broken) {
			t.Errorf("%s: error %v, want %v of the locations", format, err, broken)
		}
	}
}

type edgesFail struct {
	*sbomtest.Inventory
	err error
}

func (e edgesFail) Edges() iter.Seq2[inventory.Edge, error] {
	return func(yield func(inventory.Edge, error) bool) { yield(inventory.Edge{}, e.err) }
}

type locationsFail struct {
	*sbomtest.Inventory
	err error
}

func (e locationsFail) Components() iter.Seq2[*inventory.Component, error] {
	return func(yield func(*inventory.Component, error) bool) {
		yield(&inventory.Component{Ref: "a", LocationCount: 1, Locations: func(yield func(inventory.Location, error) bool) {
			yield(inventory.Location{}, e.err)
		}}, nil)
	}
}

func TestCancel(t *testing.T) {
	why := errors.New("the user pressed ^C")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	for _, format := range Formats() {
		f, _ := ParseFormat(format)
		w := &counter{}
		if err := Write(ctx, w, f, document(sbomtest.Generated{N: 1_000_000})); !errors.Is(err, why) {
			t.Errorf("%s: error %v, want %v", format, err, why)
		}
		if w.n > 8<<20 {
			t.Errorf("%s: %d bytes were written after the cancellation", format, w.n)
		}
	}
}

type counter struct{ n int }

func (c *counter) Write(p []byte) (int, error) { c.n += len(p); return len(p), nil }

func TestParseFormat(t *testing.T) {
	good := map[string]string{
		"cyclonedx-json": "cyclonedx-json@1.7", "cyclonedx-json@1.6": "cyclonedx-json@1.6", "cyclonedx-json@1.7": "cyclonedx-json@1.7",
		"spdx-json": "spdx-json@2.3", "spdx-json@2.3": "spdx-json@2.3", "json": "json@1", "json@1": "json@1", "table": "table",
	}
	for in, want := range good {
		if f, err := ParseFormat(in); err != nil || f.String() != want {
			t.Errorf("ParseFormat(%q) = %v, %v; want %s", in, f, err, want)
		}
	}
	bad := map[string]string{
		"": "cyclonedx-json, cyclonedx-json@1.6, spdx-json, json, table", "syft": "choose one of", "CycloneDX-JSON": "choose one of",
		"cyclonedx-json@1.5": "choose cyclonedx-json@1.7 or cyclonedx-json@1.6", "cyclonedx-json@": "choose cyclonedx-json@1.7",
		"table@": "choose table", "spdx-json@2.2": "choose spdx-json@2.3", "@": "choose one of",
	}
	for in, want := range bad {
		if _, err := ParseFormat(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseFormat(%q): error %v, want one with %q", in, err, want)
		}
	}
	for _, f := range []Format{{}, {Name: "cyclonedx-json"}, {"table", "1"}} {
		if err := Write(t.Context(), io.Discard, f, document(ugly())); err == nil {
			t.Errorf("Write takes the format %#v", f)
		}
	}
}
