package sbom

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"stella/internal/scan/inventory"
)

// The bom-refs of the image and its operating system. Refs of packages are
// package URLs, which cannot begin like this.
const (
	refImage = "stella:image"
	refOS    = "stella:operating-system"
)

// cycloneDX writes one CycloneDX document
// (https://cyclonedx.org/docs/1.7/json/). Versions 1.6 and 1.7 differ for us in one place: what may
// stand beside a licence expression.
type cycloneDX struct {
	*stream
	d       *Document
	version string
}

func writeCycloneDX(version string) writeFunc {
	return func(ctx context.Context, out *stream, d *Document) error {
		return (&cycloneDX{stream: out, d: d, version: version}).write(ctx)
	}
}

func (x *cycloneDX) write(ctx context.Context) error {
	x.open("{")
	x.field("$schema", "http://cyclonedx.org/schema/bom-"+x.version+".schema.json")
	x.field("bomFormat", "CycloneDX")
	x.field("specVersion", x.version)
	x.field("serialNumber", "urn:uuid:"+x.d.uuid(Format{"cyclonedx-json", x.version}))
	x.key("version")
	x.int(1)
	x.metadata()

	x.newline()
	x.array("components")
	x.operatingSystem()
	if err := x.d.components(ctx, x.stream, x.component); err != nil {
		return err
	}
	x.newline()
	x.close("]")

	x.newline()
	x.array("dependencies")
	if err := x.dependencies(ctx); err != nil {
		return err
	}
	x.newline()
	x.close("]")

	x.compositions()
	x.newline()
	x.close("}")
	x.raw("\n")
	return nil
}

func (x *cycloneDX) metadata() {
	x.newline()
	x.object("metadata")
	x.field("timestamp", x.d.timestamp())
	x.array("lifecycles")
	x.open("{")
	x.field("phase", "post-build")
	x.close("}")
	x.close("]")

	x.object("tools")
	x.array("components")
	x.open("{")
	x.field("type", "application")
	x.field("name", "stella")
	x.versionField(x.d.ToolVersion)
	x.close("}")
	x.close("]")
	x.close("}")

	x.image()
	x.problems()
	x.close("}")
}

// image is the component the document is about.
func (x *cycloneDX) image() {
	s := &x.d.Subject
	x.newline()
	x.object("component")
	x.field("bom-ref", refImage)
	x.field("type", "container")
	x.field("name", s.title())
	x.versionField(s.Digest)
	if h := sha256Hex(s.Digest); h != "" {
		x.array("hashes")
		x.open("{")
		x.field("alg", "SHA-256")
		x.field("content", h)
		x.close("}")
		x.close("]")
	}
	x.field("purl", s.purl())

	x.array("properties")
	x.property("stella:image:reference", s.Reference)
	x.property("stella:image:index-digest", s.IndexDigest)
	x.property("stella:image:media-type", s.MediaType)
	x.property("stella:image:os", s.OS)
	x.property("stella:image:architecture", s.Architecture)
	x.property("stella:image:variant", s.Variant)
	for _, k := range slices.Sorted(maps.Keys(s.Labels)) {
		x.property("stella:image:label:"+k, s.Labels[k])
	}
	for i, l := range s.Layers {
		prefix := "stella:image:layer:" + strconv.Itoa(i) + ":"
		x.property(prefix+"digest", l.Digest)
		x.property(prefix+"diff-id", l.DiffID)
		x.property(prefix+"media-type", l.MediaType)
		if l.Size > 0 {
			x.property(prefix+"size", strconv.FormatInt(l.Size, 10))
		}
	}
	x.close("]")
	x.close("}")
}

// problems are metadata properties, because CycloneDX says that something is
// incomplete (see compositions) but has no place for why.
func (x *cycloneDX) problems() {
	problems := x.d.Inventory.Problems()
	if len(problems) == 0 {
		return
	}
	x.newline()
	x.array("properties")
	for i, p := range problems {
		x.newline()
		x.property("stella:problem:"+strconv.Itoa(i), x.d.Subject.problem(p))
	}
	x.close("]")
}

// operatingSystem is a component of its own, as readers of other scanners' documents expect it.
func (x *cycloneDX) operatingSystem() {
	r := x.d.Inventory.Release()
	if r == nil {
		return
	}
	x.newline()
	x.open("{")
	x.field("bom-ref", refOS)
	x.field("type", "operating-system")
	x.field("name", releaseName(r))
	x.versionField(r.VersionID)
	x.field("description", r.PrettyName)
	x.array("properties")
	x.property("stella:os:id-like", r.IDLike)
	x.property("stella:os:version-codename", r.VersionCodename)
	x.close("]")
	x.close("}")
}

// releaseName is the machine's name for a distribution; "linux" is what os-release(5) sets as default.
func releaseName(r *inventory.Release) string {
	switch {
	case r.ID != "":
		return r.ID
	case r.Name != "":
		return r.Name
	default:
		return "linux"
	}
}

// dependencies groups the edges by their origin. A component that is not
// listed is one whose dependencies are not known, by the specification; we do not know
// of any package that it has none.
func (x *cycloneDX) dependencies(ctx context.Context) error {
	from, any := "", false
	end := func() {
		if any {
			x.close("]")
			x.close("}")
		}
	}
	err := x.d.edges(ctx, x.stream, func(e inventory.Edge) {
		if !any || e.From != from {
			end()
			from, any = e.From, true
			x.newline()
			x.open("{")
			x.key("ref")
			x.text(e.From)
			x.array("dependsOn")
		}
		x.text(e.To)
	})
	if err != nil {
		return err
	}
	end()
	return nil
}

func (x *cycloneDX) compositions() {
	aggregate := "complete"
	if len(x.d.Inventory.Problems()) > 0 {
		aggregate = "incomplete"
	}
	x.newline()
	x.array("compositions")
	x.open("{")
	x.field("aggregate", aggregate)
	x.array("assemblies")
	x.text(refImage)
	x.close("]")
	x.close("}")
	x.close("]")
}

func (x *cycloneDX) property(name, value string) {
	if value == "" {
		return
	}
	x.open("{")
	x.field("name", name)
	x.field("value", value)
	x.close("}")
}
