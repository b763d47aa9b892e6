package sbom

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"stella/internal/scan/inventory"
	"stella/internal/scan/sbom/license"
)

// The SPDX ids of the document, the image and its operating system. Ids of
// packages begin with packagePrefix.
const (
	idDocument    = "SPDXRef-DOCUMENT"
	idImage       = "SPDXRef-Image"
	idOS          = "SPDXRef-OperatingSystem"
	packagePrefix = "SPDXRef-Package-"
)

// unknownTime is the time of a document whose time is not known: the
// specification demands one, and a clock would make every document different.
const unknownTime = "1970-01-01T00:00:00Z"

// spdx writes one SPDX 2.3 document in JSON
// (https://spdx.github.io/spdx-spec/v2.3/). It reads the components twice: packages and
// relationships are separate arrays, and there is nowhere to keep the ids of a million packages.
type spdx struct {
	*stream
	d        *Document
	licenses licenseTexts

	// Reused for SPDX ids and licence expressions.
	from, to, expr []byte
}

func writeSPDX(ctx context.Context, out *stream, d *Document) error {
	return (&spdx{stream: out, d: d}).write(ctx)
}

func (x *spdx) write(ctx context.Context) error {
	x.open("{")
	x.header()

	x.newline()
	x.array("packages")
	x.image()
	x.operatingSystem()
	if err := x.d.components(ctx, x.stream, x.component); err != nil {
		return err
	}
	x.newline()
	x.close("]")

	x.newline()
	x.array("relationships")
	if err := x.relationships(ctx); err != nil {
		return err
	}
	x.newline()
	x.close("]")

	x.licenses.write(x.stream)
	x.newline()
	x.close("}")
	x.raw("\n")
	return nil
}

func (x *spdx) header() {
	title := x.d.Subject.title()
	uuid := x.d.uuid(Format{"spdx-json", "2.3"})
	x.field("spdxVersion", "SPDX-2.3")
	x.field("dataLicense", "CC0-1.0")
	x.field("SPDXID", idDocument)
	x.field("name", title)
	// The specification offers this address to creators without a site of their own.
	x.field("documentNamespace", "https://spdx.org/spdxdocs/stella/"+slug(title)+"-"+uuid)

	x.newline()
	x.object("creationInfo")
	x.field("created", x.created())
	x.array("creators")
	x.text(x.tool())
	x.close("]")
	x.field("licenseListVersion", license.ListVersion)
	x.close("}")

	problems := x.d.Inventory.Problems()
	x.field("comment", incomplete(problems))
	if len(problems) == 0 {
		return
	}
	x.newline()
	x.array("annotations")
	for _, p := range problems {
		x.newline()
		x.open("{")
		x.field("annotationDate", x.created())
		x.field("annotationType", "OTHER")
		x.field("annotator", x.tool())
		x.field("comment", "incomplete: "+x.d.Subject.problem(p))
		x.close("}")
	}
	x.close("]")
}

func (x *spdx) created() string {
	if t := x.d.timestamp(); t != "" {
		return t
	}
	return unknownTime
}

func (x *spdx) tool() string { return strings.TrimSuffix("Tool: stella-"+x.d.ToolVersion, "-") }

// slug is the end of a name, in characters that may stand in an address.
func slug(name string) string {
	name = name[strings.LastIndexByte(name, '/')+1:]
	b := make([]byte, 0, readable)
	for i := range min(len(name), readable) {
		c := name[i]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '.' {
			b = append(b, c)
		} else {
			b = append(b, '-')
		}
	}
	return string(b)
}

func (x *spdx) image() {
	s := &x.d.Subject
	x.newline()
	x.open("{")
	x.field("SPDXID", idImage)
	x.field("name", s.title())
	x.field("versionInfo", s.Digest)
	x.field("primaryPackagePurpose", "CONTAINER")
	x.unanalyzed()
	if h := sha256Hex(s.Digest); h != "" {
		x.array("checksums")
		x.open("{")
		x.field("algorithm", "SHA256")
		x.field("checksumValue", h)
		x.close("}")
		x.close("]")
	}
	x.purl(s.purl())
	x.field("comment", s.describe())
	x.close("}")
}

// describe lists what SPDX has no members for, one "key: value" a line.
func (s *Subject) describe() string {
	var b strings.Builder
	add := func(key, value string) {
		if value != "" {
			b.WriteString(key + ": " + value + "\n")
		}
	}
	add("reference", s.Reference)
	add("index digest", s.IndexDigest)
	add("media type", s.MediaType)
	add("os", s.OS)
	add("architecture", s.Architecture)
	add("variant", s.Variant)
	for i := range s.Layers {
		add("layer "+strconv.Itoa(i), s.layer(i))
	}
	for _, k := range slices.Sorted(maps.Keys(s.Labels)) {
		add("label "+k, s.Labels[k])
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (x *spdx) operatingSystem() {
	r := x.d.Inventory.Release()
	if r == nil {
		return
	}
	x.newline()
	x.open("{")
	x.field("SPDXID", idOS)
	x.field("name", releaseName(r))
	x.field("versionInfo", r.VersionID)
	x.field("summary", r.PrettyName)
	x.field("primaryPackagePurpose", "OPERATING_SYSTEM")
	x.unanalyzed()
	x.close("}")
}

func (x *spdx) relationships(ctx context.Context) error {
	image := []byte(idImage)
	x.relationship([]byte(idDocument), "DESCRIBES", image)
	if x.d.Inventory.Release() != nil {
		x.relationship(image, "CONTAINS", []byte(idOS))
	}
	err := x.d.components(ctx, x.stream, func(c *inventory.Component) error {
		x.to = appendID(x.to[:0], packagePrefix, c.Ref)
		x.relationship(image, "CONTAINS", x.to)
		return nil
	})
	if err != nil {
		return err
	}
	first, ref := true, "" // edges are ordered by their origin: make its id once
	return x.d.edges(ctx, x.stream, func(e inventory.Edge) {
		if first || ref != e.From {
			first, ref = false, e.From
			x.from = appendID(x.from[:0], packagePrefix, ref)
		}
		x.to = appendID(x.to[:0], packagePrefix, e.To)
		x.relationship(x.from, "DEPENDS_ON", x.to)
	})
}

func (x *spdx) relationship(from []byte, kind string, to []byte) {
	x.newline()
	x.open("{")
	x.id("spdxElementId", from)
	x.field("relationshipType", kind)
	x.id("relatedSpdxElement", to)
	x.close("}")
}
