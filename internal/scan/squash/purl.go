package squash

import (
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"

	"stella/internal/scan/inventory"
)

// applyRelease gives a distribution package what only the squashed image
// knows: the namespace and the distro qualifier of its package URL.
func applyRelease(p *inventory.Package, r *inventory.Release) {
	if !p.Type.FromDistribution() || r == nil || r.ID == "" {
		return
	}
	p.Namespace = r.ID
	if p.Type == inventory.RPM && r.ID == "rhel" {
		p.Namespace = "redhat" // the purl specification's name for its vendor
	}
	distro := r.ID
	if r.VersionID != "" {
		distro += "-" + r.VersionID
	}
	p.Qualifiers = append(p.Qualifiers, inventory.Qualifier{Key: "distro", Value: distro})
}

// purl is the canonical package URL. It leaves the qualifiers sorted.
func purl(p *inventory.Package) string {
	slices.SortStableFunc(p.Qualifiers, func(a, b inventory.Qualifier) int { return strings.Compare(a.Key, b.Key) })
	q := make(packageurl.Qualifiers, 0, len(p.Qualifiers))
	for _, x := range p.Qualifiers {
		if x.Value != "" {
			q = append(q, packageurl.Qualifier{Key: x.Key, Value: x.Value})
		}
	}
	u := packageurl.PackageURL{Type: string(p.Type), Namespace: p.Namespace, Name: p.Name, Version: p.Version, Qualifiers: q}
	return u.ToString()
}
