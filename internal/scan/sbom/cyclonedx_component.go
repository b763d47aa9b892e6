package sbom

import (
	"unicode/utf8"

	"stella/internal/scan/inventory"
	"stella/internal/scan/sbom/license"
)

// maxVersion is the most characters of a version that CycloneDX allows.
const maxVersion = 1024

// component writes one package. Its locations come last: they are read from
// disk while they are written.
func (x *cycloneDX) component(c *inventory.Component) error {
	x.newline()
	x.open("{")
	x.field("bom-ref", c.Ref)
	x.field("type", "library")
	if c.Supplier != "" {
		x.object("supplier")
		x.field("name", c.Supplier)
		x.close("}")
	}
	group, name := groupAndName(&c.Package)
	x.field("group", group)
	x.key("name")
	x.text(name)
	x.versionField(c.Version)
	if c.Declared {
		// "not installed or otherwise accessible" is how the specification defines it.
		x.field("scope", "optional")
	}
	x.licenses(c.Licenses)
	x.field("purl", c.PURL)
	x.componentProperties(c)
	if c.LocationCount > 0 {
		if err := x.evidence(c); err != nil {
			return err
		}
	}
	x.close("}")
	return nil
}

// evidence is where the package was found: all of it, however much it is.
func (x *cycloneDX) evidence(c *inventory.Component) error {
	x.object("evidence")
	x.array("occurrences")
	err := locations(c, x.stream, func(_ int, l inventory.Location) bool {
		x.occurrence(l)
		return true
	})
	x.close("]")
	x.close("}")
	return err
}

// groupAndName splits as the tools of each ecosystem do in their own CycloneDX
// documents: Go modules are named whole, and a distribution is no group.
func groupAndName(p *inventory.Package) (group, name string) {
	if p.Type == inventory.Golang || p.Type.FromDistribution() {
		return "", fullName(p)
	}
	return p.Namespace, p.Name
}

// occurrence is one place. The specification has no member for the layer, so
// layer and extractor are key=value pairs in the context; together they make further properties redundant.
func (x *cycloneDX) occurrence(l inventory.Location) {
	x.open("{")
	x.key("location")
	x.next()
	x.raw(`"/`)
	x.part(l.Path)
	x.raw(`"`)
	if layer := x.d.Subject.layer(l.Layer); layer != "" || l.Extractor != "" {
		x.key("additionalContext")
		x.next()
		x.raw(`"`)
		if layer != "" {
			x.raw("layer=")
			x.part(layer)
		}
		if l.Extractor != "" {
			if layer != "" {
				x.raw(" ")
			}
			x.raw("extractor=")
			x.part(l.Extractor)
		}
		x.raw(`"`)
	}
	x.close("}")
}

func (x *cycloneDX) componentProperties(c *inventory.Component) {
	long := tooLong(c.Version)
	if !c.Declared && !long {
		return
	}
	x.array("properties")
	if c.Declared {
		x.property("stella:declared", "true")
	}
	if long {
		x.property("stella:version", c.Version)
	}
	x.close("]")
}

// versionField writes a version that the schema allows; a longer one goes, whole, to a property.
func (x *cycloneDX) versionField(v string) {
	if !tooLong(v) {
		x.field("version", v)
	}
}

func tooLong(version string) bool {
	return len(version) > maxVersion && utf8.RuneCountInString(version) > maxVersion
}

// licenses writes the statements in their order. Version 1.6 wants an
// expression to stand alone, so there one among several statements becomes a name; 1.7 lets them mix.
func (x *cycloneDX) licenses(statements []string) {
	if len(statements) == 0 {
		return
	}
	alone := len(statements) == 1
	x.array("licenses")
	for _, text := range statements {
		if text == "" {
			continue
		}
		x.open("{")
		s := license.Parse(text)
		switch {
		case s.Kind == license.ID:
			x.object("license")
			x.field("id", s.Text)
			x.close("}")
		case s.Kind == license.Expression && (alone || x.version != "1.6"):
			x.field("expression", s.Text)
		default:
			x.object("license")
			x.key("name")
			x.text(text)
			x.close("}")
		}
		x.close("}")
	}
	x.close("]")
}
