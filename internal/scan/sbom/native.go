package sbom

import (
	"context"
	"maps"
	"slices"
	"strings"

	"stella/internal/scan/inventory"
)

// NativeVersion is the version of our own JSON. It changes when a member
// changes its meaning or goes; new members may come at any time, so readers must pass over what they do not know.
//
// The document is one object. Members that are empty, zero or false are left out, except where noted.
// Times are RFC 3339 in UTC, sizes bytes, layers indexes into image.layers (0 is the base).
//
//	schema        "stella.inventory/1": always first
//	id            "urn:uuid:…": equal for equal documents
//	created       time of the document
//	tool          {name, version}
//	image         {name, reference, repository, tag, purl, digest, indexDigest, mediaType, os,
//	              architecture, variant, labels: {key: value},
//	              layers: [{digest, diffID, mediaType, size}]}
//	release       {id, idLike, versionID, versionCodename, prettyName, name}, from os-release
//	complete      bool, always there: false if anything could not be read
//	problems      [{layer, path, extractor, reason}]; without layer it is about the image
//	counts        {package type: number of components}, always there
//	components    always there; one a line, ordered by ref
//	  ref             unique in the document, equal in every scan of the same image
//	  type            package URL type
//	  namespace, name, version, purl
//	  qualifiers      {key: value}, those that the package states
//	  licenses        [statement], as stated
//	  supplier        as stated
//	  declared        true: a lockfile names it, it is not proven to be installed
//	  locationCount   always there
//	  locations       [{layer, path, extractor}], always there, ordered by layer and path; path is relative
//	                  to the image's root, a member of an archive follows its archive after "!/"
//	dependencies  always there; one {from, to} a line, both a ref, ordered
const NativeVersion = "1"

type native struct {
	*stream
	d *Document
}

func writeNative(ctx context.Context, out *stream, d *Document) error {
	return native{out, d}.write(ctx)
}

func (x native) write(ctx context.Context) error {
	x.open("{")
	x.header()
	x.newline()
	x.array("components")
	if err := x.d.components(ctx, x.stream, x.component); err != nil {
		return err
	}
	x.newline()
	x.close("]")

	x.newline()
	x.array("dependencies")
	err := x.d.edges(ctx, x.stream, func(e inventory.Edge) {
		x.newline()
		x.open("{")
		x.field("from", e.From)
		x.field("to", e.To)
		x.close("}")
	})
	if err != nil {
		return err
	}
	x.newline()
	x.close("]")
	x.newline()
	x.close("}")
	x.raw("\n")
	return nil
}

func (x native) header() {
	x.field("schema", "stella.inventory/"+NativeVersion)
	x.field("id", "urn:uuid:"+x.d.uuid(Format{"json", NativeVersion}))
	x.field("created", x.d.timestamp())
	x.object("tool")
	x.field("name", "stella")
	x.field("version", x.d.ToolVersion)
	x.close("}")
	x.image()
	x.release()

	problems := x.d.Inventory.Problems()
	x.newline()
	x.key("complete")
	x.bool(len(problems) == 0)
	if len(problems) > 0 {
		x.array("problems")
		for _, p := range problems {
			x.newline()
			x.open("{")
			if p.Layer >= 0 {
				x.key("layer")
				x.int(int64(p.Layer))
			}
			x.field("path", p.Path)
			x.field("extractor", p.Extractor)
			x.field("reason", p.Reason)
			x.close("}")
		}
		x.close("]")
	}

	count := x.d.Inventory.Count()
	x.newline()
	x.object("counts")
	for _, t := range sortedTypes(count) {
		x.key(string(t))
		x.int(int64(count[t]))
	}
	x.close("}")
}

func (x native) image() {
	s := &x.d.Subject
	x.newline()
	x.object("image")
	x.field("name", s.Name)
	x.field("reference", s.Reference)
	x.field("repository", s.Repository)
	x.field("tag", s.Tag)
	x.field("purl", s.purl())
	x.field("digest", s.Digest)
	x.field("indexDigest", s.IndexDigest)
	x.field("mediaType", s.MediaType)
	x.field("os", s.OS)
	x.field("architecture", s.Architecture)
	x.field("variant", s.Variant)
	if len(s.Labels) > 0 {
		x.object("labels")
		for _, k := range slices.Sorted(maps.Keys(s.Labels)) {
			x.key(k)
			x.text(s.Labels[k])
		}
		x.close("}")
	}
	x.array("layers")
	for _, l := range s.Layers {
		x.newline()
		x.open("{")
		x.field("digest", l.Digest)
		x.field("diffID", l.DiffID)
		x.field("mediaType", l.MediaType)
		if l.Size > 0 {
			x.key("size")
			x.int(l.Size)
		}
		x.close("}")
	}
	x.close("]")
	x.close("}")
}

func (x native) release() {
	r := x.d.Inventory.Release()
	if r == nil {
		return
	}
	x.newline()
	x.object("release")
	x.field("id", r.ID)
	x.field("idLike", r.IDLike)
	x.field("versionID", r.VersionID)
	x.field("versionCodename", r.VersionCodename)
	x.field("prettyName", r.PrettyName)
	x.field("name", r.Name)
	x.close("}")
}

func (x native) component(c *inventory.Component) error {
	x.newline()
	x.open("{")
	x.field("ref", c.Ref)
	x.field("type", string(c.Type))
	x.field("namespace", c.Namespace)
	x.field("name", c.Name)
	x.field("version", c.Version)
	x.field("purl", c.PURL)
	x.qualifiers(c.Qualifiers)
	if len(c.Licenses) > 0 {
		x.array("licenses")
		for _, l := range c.Licenses {
			x.text(l)
		}
		x.close("]")
	}
	x.field("supplier", c.Supplier)
	if c.Declared {
		x.key("declared")
		x.bool(true)
	}
	x.key("locationCount")
	x.int(int64(c.LocationCount))
	x.array("locations")
	err := locations(c, x.stream, func(_ int, l inventory.Location) bool {
		x.open("{")
		x.key("layer")
		x.int(int64(l.Layer))
		x.field("path", l.Path)
		x.field("extractor", l.Extractor)
		x.close("}")
		return true
	})
	if err != nil {
		return err
	}
	x.close("]")
	x.close("}")
	return nil
}

// qualifiers sorts them by key, for their order does not matter but the document's bytes do.
func (x native) qualifiers(qualifiers []inventory.Qualifier) {
	if len(qualifiers) == 0 {
		return
	}
	byKey := func(a, b inventory.Qualifier) int { return strings.Compare(a.Key, b.Key) }
	if !slices.IsSortedFunc(qualifiers, byKey) {
		qualifiers = slices.SortedStableFunc(slices.Values(qualifiers), byKey)
	}
	x.object("qualifiers")
	for _, q := range qualifiers {
		x.key(q.Key)
		x.text(q.Value)
	}
	x.close("}")
}
