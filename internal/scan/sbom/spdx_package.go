package sbom

import (
	"strconv"
	"strings"

	"stella/internal/scan/inventory"
)

// maxSourceLocations is how many locations a package's sourceInfo names. It
// is one sentence for people; all locations are in the other formats.
const maxSourceLocations = 10

// component writes one package.
func (x *spdx) component(c *inventory.Component) error {
	x.newline()
	x.open("{")
	x.to = appendID(x.to[:0], packagePrefix, c.Ref)
	x.id("SPDXID", x.to)
	x.key("name")
	x.text(fullName(&c.Package))
	x.field("versionInfo", c.Version)
	x.field("supplier", supplier(c.Supplier))
	x.field("primaryPackagePurpose", "LIBRARY")
	x.unanalyzed()
	x.declaredLicense(c.Licenses)
	x.purl(c.PURL)
	if c.Declared {
		x.field("comment", "Declared by a lockfile; not proven to be installed.")
	}
	if err := x.sourceInfo(c); err != nil {
		return err
	}
	x.close("}")
	return nil
}

// unanalyzed are the members that are the same for every package: nothing was
// downloaded, and no file of the package was looked at for a licence or a copyright.
func (x *spdx) unanalyzed() {
	x.field("downloadLocation", "NOASSERTION")
	x.key("filesAnalyzed")
	x.bool(false)
	x.field("licenseConcluded", "NOASSERTION")
	x.field("copyrightText", "NOASSERTION")
}

func (x *spdx) purl(locator string) {
	if locator == "" {
		return
	}
	x.array("externalRefs")
	x.open("{")
	x.field("referenceCategory", "PACKAGE-MANAGER")
	x.field("referenceType", "purl")
	x.field("referenceLocator", locator)
	x.close("}")
	x.close("]")
}

// sourceInfo says where the package was found: the first locations, and how many more there are.
func (x *spdx) sourceInfo(c *inventory.Component) error {
	named := false
	err := locations(c, x.stream, func(n int, l inventory.Location) bool {
		if n >= maxSourceLocations {
			return false
		}
		if n == 0 {
			named = true
			x.key("sourceInfo")
			x.next()
			x.raw(`"found at `)
		} else {
			x.raw(", ")
		}
		x.raw("/")
		x.part(l.Path)
		x.raw(" (layer " + strconv.Itoa(l.Layer))
		if digest := x.d.Subject.layer(l.Layer); digest != "" {
			x.raw(" ")
			x.part(digest)
		}
		if l.Extractor != "" {
			x.raw(", ")
			x.part(l.Extractor)
		}
		x.raw(")")
		return true
	})
	if err != nil || !named {
		return err
	}
	if more := c.LocationCount - maxSourceLocations; more > 0 {
		x.raw(", and " + strconv.Itoa(more) + " more")
	}
	x.raw(`"`)
	return nil
}

// supplier tells persons from organizations, as SPDX insists on. Metadata does
// not say which it means: a mail address that is not a mailing list's makes a person, unless the name is
// that of a group. The address goes in parentheses, as the specification has it.
func supplier(stated string) string {
	if stated == "" {
		return "NOASSERTION"
	}
	name, rest, found := strings.Cut(stated, "<")
	mail, _, closed := strings.Cut(rest, ">")
	name = strings.TrimSpace(name)
	if !found || !closed || name == "" || !strings.Contains(mail, "@") {
		return "Organization: " + stated
	}
	kind := "Person: "
	if strings.Contains(mail, "@lists.") || isGroup(name) {
		kind = "Organization: "
	}
	return kind + name + " (" + mail + ")"
}

// isGroup reports whether a name has a word that groups have in their names.
func isGroup(name string) bool {
	for word := range strings.FieldsSeq(name) {
		switch strings.Trim(word, ".,") {
		case "Team", "team", "Group", "Maintainers", "maintainers", "Developers", "developers", "Project",
			"Packagers", "Foundation", "Inc", "Ltd", "GmbH", "LLC", "Corporation":
			return true
		}
	}
	return false
}
