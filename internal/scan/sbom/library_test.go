package sbom

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"stella/internal/scan/inventory"
	"stella/internal/scan/sbom/sbomtest"
)

func decodeCycloneDX(t *testing.T, data []byte) *cdx.BOM {
	t.Helper()
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(data), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	return &bom
}

func decodeSPDX(t *testing.T, data []byte) *v2_3.Document {
	t.Helper()
	var doc v2_3.Document
	if err := spdxjson.ReadInto(bytes.NewReader(data), &doc); err != nil {
		t.Fatal(err)
	}
	return &doc
}

// wantEdges are the edges of an inventory without those from a component to itself.
func wantEdges(inv inventory.Inventory) (want []inventory.Edge) {
	for e := range inv.Edges() {
		if e.From != e.To {
			want = append(want, e)
		}
	}
	return want
}

func TestCycloneDXLibrary(t *testing.T) {
	inv := ugly()
	for _, format := range []string{"cyclonedx-json@1.6", "cyclonedx-json@1.7"} {
		bom := decodeCycloneDX(t, write(t, format, document(inv)))
		components := *bom.Components
		if len(components) != len(inv.Items())+1 || components[0].Type != cdx.ComponentTypeOS || components[0].Version != "12" {
			t.Fatalf("%s: %d components, the first is %+v", format, len(components), components[0])
		}
		refs := map[string]bool{bom.Metadata.Component.BOMRef: true, components[0].BOMRef: true}
		for i, want := range inv.Items() {
			c := components[i+1]
			if c.BOMRef != want.Ref || c.PackageURL != want.PURL || c.Name == "" || refs[c.BOMRef] {
				t.Errorf("%s: component %d is %q %q, want %q %q, once", format, i, c.BOMRef, c.PackageURL, want.Ref, want.PURL)
			}
			refs[c.BOMRef] = true
			got := 0
			if c.Evidence != nil {
				got = len(*c.Evidence.Occurrences)
			}
			if got != len(want.Locations) {
				t.Errorf("%s: %s has %d occurrences, want %d", format, c.BOMRef, got, len(want.Locations))
			}
			if (c.Scope == cdx.ScopeOptional) != want.Declared {
				t.Errorf("%s: %s has the scope %q", format, c.BOMRef, c.Scope)
			}
		}
		var edges []inventory.Edge
		for _, d := range *bom.Dependencies {
			for _, to := range *d.Dependencies {
				edges = append(edges, inventory.Edge{From: d.Ref, To: to})
			}
		}
		if diff := cmp.Diff(wantEdges(inv), edges); diff != "" {
			t.Errorf("%s: edges: -want +got\n%s", format, diff)
		}
		if got := (*bom.Compositions)[0].Aggregate; got != cdx.CompositionAggregateIncomplete {
			t.Errorf("%s: an inventory with problems is %q", format, got)
		}
	}
}

// What stands in a CycloneDX document, checked member by member against the specification by hand.
func TestCycloneDXMembers(t *testing.T) {
	bom := decodeCycloneDX(t, write(t, "cyclonedx-json@1.6", document(ugly())))
	if bom.Metadata.Timestamp != "2026-02-03T03:05:06Z" {
		t.Errorf("timestamp is %q", bom.Metadata.Timestamp)
	}
	image := bom.Metadata.Component
	want := "pkg:oci/app@" + testDigest + "?arch=arm64&repository_url=registry.example%2Fteam%2Fapp&tag=1.2"
	if image.PackageURL != want || image.Version != testDigest || image.Name != "team/app" {
		t.Errorf("image is %q %q %q, want %q", image.Name, image.Version, image.PackageURL, want)
	}
	properties := map[string]string{}
	for _, p := range slices.Concat(*image.Properties, *bom.Metadata.Properties) {
		properties[p.Name] = p.Value
	}
	for name, value := range map[string]string{
		"stella:image:layer:0:digest": layerDigest("a"), "stella:image:layer:0:size": "12345", "stella:image:layer:2:diff-id": layerDigest("e"),
		"stella:image:label:maintainer": "me \"<&>\x00\uFFFD", "stella:image:variant": "v8",
		"stella:problem:0": "layer 1 (" + layerDigest("c") + "), /var/lib/rpm/rpmdb.sqlite, extractor rpm: page 7 is damaged: its packages are missing",
		"stella:problem:1": "image: the scan was stopped after 30m0s",
	} {
		if properties[name] != value {
			t.Errorf("property %s is %q, want %q", name, properties[name], value)
		}
	}
	for _, c := range *bom.Components {
		switch c.BOMRef {
		case "pkg:golang/example.org/mod/v2@v2.0.1":
			if o := (*c.Evidence.Occurrences)[0]; c.Name != "example.org/mod/v2" || c.Group != "" || o.Location != "/usr/bin/tool" ||
				o.AdditionalContext != "layer="+layerDigest("e")+" extractor=gobinary" {
				t.Errorf("Go module: %q %q %+v", c.Group, c.Name, o)
			}
		case "pkg:maven/org.example/no-version":
			if c.Group != "org.example" || c.Name != "no-version" || c.Version != "" {
				t.Errorf("jar: %+v", c)
			}
		case "pkg:pypi/ugly":
			if p := (*c.Properties)[0]; c.Version != "" || p.Name != "stella:version" || len(p.Value) != 1200 {
				t.Errorf("version of 1200 characters: %q, %+v", c.Version, p)
			}
			if c.Name != "qu\"ote\\back\x01\x1b[31m\u2028\u202e\n\t<b>&" || c.Supplier.Name != "名前 𝕏 Inc." {
				t.Errorf("text changed: %q, %q", c.Name, c.Supplier.Name)
			}
		}
	}
}

func TestCycloneDXLicenses(t *testing.T) {
	tests := map[string]struct{ statements, v16, v17 []string }{
		"id":             {[]string{"mit"}, []string{"id MIT"}, []string{"id MIT"}},
		"expression":     {[]string{"MIT OR zlib"}, []string{"expression MIT OR Zlib"}, []string{"expression MIT OR Zlib"}},
		"name":           {[]string{"GPL-2+"}, []string{"name GPL-2+"}, []string{"name GPL-2+"}},
		"not an id":      {[]string{"GCC-exception-3.1"}, []string{"name GCC-exception-3.1"}, []string{"name GCC-exception-3.1"}},
		"ids, names":     {[]string{"MIT", "BSD"}, []string{"id MIT", "name BSD"}, []string{"id MIT", "name BSD"}},
		"with something": {[]string{"MIT", "MIT OR X11"}, []string{"id MIT", "name MIT OR X11"}, []string{"id MIT", "expression MIT OR X11"}},
	}
	for name, test := range tests {
		inv := sbomtest.New([]sbomtest.Item{{Ref: "a", Package: inventory.Package{Name: "a", Licenses: test.statements}}}, nil, nil, nil)
		for format, want := range map[string][]string{"cyclonedx-json@1.6": test.v16, "cyclonedx-json@1.7": test.v17} {
			bom := decodeCycloneDX(t, write(t, format, document(inv)))
			var got []string
			for _, l := range *(*bom.Components)[0].Licenses {
				switch {
				case l.Expression != "":
					got = append(got, "expression "+l.Expression)
				case l.License.ID != "":
					got = append(got, "id "+l.License.ID)
				default:
					got = append(got, "name "+l.License.Name)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %s: -want +got\n%s", name, format, diff)
			}
		}
	}
}

func TestSPDXLibrary(t *testing.T) {
	inv := ugly()
	doc := decodeSPDX(t, write(t, "spdx-json", document(inv)))
	if len(doc.Packages) != len(inv.Items())+2 {
		t.Fatalf("%d packages, want %d, the image and its operating system", len(doc.Packages), len(inv.Items()))
	}
	refs, ids := map[string]string{}, map[string]bool{}
	for i, p := range doc.Packages {
		id := "SPDXRef-" + string(p.PackageSPDXIdentifier)
		if ids[id] {
			t.Errorf("id %s is there twice", id)
		}
		ids[id] = true
		if i >= 2 {
			refs[id] = inv.Items()[i-2].Ref
		}
	}
	kinds := map[string]int{}
	var edges []inventory.Edge
	for _, r := range doc.Relationships {
		from, to := "SPDXRef-"+string(r.RefA.ElementRefID), "SPDXRef-"+string(r.RefB.ElementRefID)
		kinds[r.Relationship]++
		if !ids[to] || r.Relationship != "DESCRIBES" && !ids[from] {
			t.Errorf("relationship with an unknown id: %+v", r)
		}
		if r.Relationship == "DEPENDS_ON" {
			edges = append(edges, inventory.Edge{From: refs[from], To: refs[to]})
		}
	}
	if diff := cmp.Diff(wantEdges(inv), edges); diff != "" {
		t.Errorf("edges: -want +got\n%s", diff)
	}
	if want := map[string]int{"DESCRIBES": 1, "CONTAINS": len(inv.Items()) + 1, "DEPENDS_ON": len(edges)}; !cmp.Equal(kinds, want) {
		t.Errorf("relationships: %v, want %v", kinds, want)
	}
	if len(doc.Annotations) != 3 || doc.DocumentComment != "incomplete: 3 problems" ||
		doc.Annotations[1].AnnotationComment != "incomplete: image: the scan was stopped after 30m0s" {
		t.Errorf("annotations: %q %+v", doc.DocumentComment, doc.Annotations)
	}
	checkSPDXPackages(t, doc)
}

func checkSPDXPackages(t *testing.T, doc *v2_3.Document) {
	t.Helper()
	texts := map[string]string{}
	for _, l := range doc.OtherLicenses {
		texts[l.LicenseIdentifier] = l.ExtractedText
	}
	for _, p := range doc.Packages {
		for word := range strings.FieldsSeq(p.PackageLicenseDeclared) {
			if word = strings.Trim(word, "()"); strings.HasPrefix(word, "LicenseRef-") && texts[word] == "" {
				t.Errorf("%s: %s is not defined", p.PackageName, word)
			}
		}
		switch p.PackageName {
		case "libc6":
			// Three statements are joined, the compound one in parentheses, the unknown one by reference.
			first, rest, _ := strings.Cut(p.PackageLicenseDeclared, " AND ")
			ref, last, _ := strings.Cut(rest, " AND ")
			if first != "LGPL-2.1-or-later" || texts[ref] != "GPL-2+ with exceptions" || last != "(MIT OR Apache-2.0)" {
				t.Errorf("licence of libc6 is %q", p.PackageLicenseDeclared)
			}
			if s := p.PackageSupplier; s.SupplierType != "Organization" || s.Supplier != "GNU Libc Maintainers (debian-glibc@lists.example)" {
				t.Errorf("supplier of libc6 is %+v", s)
			}
		case "left-pad":
			if !strings.HasSuffix(p.PackageSourceInfo, ", and "+strconv.Itoa(manyLocations()-10)+" more") || strings.Count(p.PackageSourceInfo, "(layer 1 sha256:") != 10 {
				t.Errorf("source of left-pad is %q", p.PackageSourceInfo)
			}
			if s := p.PackageSupplier; s.SupplierType != "Person" || p.PackageLicenseDeclared != "(MIT OR WTFPL)" {
				t.Errorf("left-pad: %+v, %q", s, p.PackageLicenseDeclared)
			}
		case "org.example:no-version":
			if texts[p.PackageLicenseDeclared] != "LicenseRef-own AND MIT" {
				t.Errorf("a licence that another document defines is %q", p.PackageLicenseDeclared)
			}
		case "team/app":
			if len(p.PackageChecksums) != 1 || "sha256:"+p.PackageChecksums[0].Value != testDigest || p.PrimaryPackagePurpose != "CONTAINER" {
				t.Errorf("image: %+v", p)
			}
		}
	}
}

func TestSPDXLicenseTextsAreBounded(t *testing.T) {
	var items []sbomtest.Item
	for i := range 200 {
		text := strings.Repeat("x", 2000+i)
		items = append(items, sbomtest.Item{Ref: text, Package: inventory.Package{Name: "n", Licenses: []string{text, "MIT"}}})
	}
	doc := decodeSPDX(t, write(t, "spdx-json", document(sbomtest.New(items, nil, nil, nil))))
	if n := len(doc.OtherLicenses); n < 110 || n > 130 {
		t.Errorf("%d statements are defined, want about 256 KiB of them", n)
	}
	last := doc.Packages[len(doc.Packages)-1]
	if last.PackageLicenseDeclared != "NOASSERTION" || !strings.HasSuffix(last.PackageLicenseComments, "xxx; MIT") {
		t.Errorf("a statement beyond the bound: %q, %.60q", last.PackageLicenseDeclared, last.PackageLicenseComments)
	}
}

func TestNative(t *testing.T) {
	inv := ugly()
	var doc struct {
		Schema, Created string
		Complete        *bool
		Problems        []struct {
			Layer  *int
			Reason string
		}
		Counts     map[string]int
		Image      struct{ Layers []struct{ Size int64 } }
		Release    struct{ ID, VersionCodename string }
		Components []struct {
			Ref, Type, Name string
			Qualifiers      map[string]string
			LocationCount   int
			Locations       []inventory.Location
		}
		Dependencies []inventory.Edge
	}
	if err := json.Unmarshal(write(t, "json", document(inv)), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Schema != "stella.inventory/1" || *doc.Complete || len(doc.Problems) != 3 || doc.Problems[1].Layer != nil ||
		doc.Counts["cargo"] != 5 || doc.Image.Layers[0].Size != 12345 || doc.Release.VersionCodename != "bookworm" {
		t.Errorf("header: %+v", doc)
	}
	if diff := cmp.Diff(wantEdges(inv), doc.Dependencies); diff != "" {
		t.Errorf("edges: -want +got\n%s", diff)
	}
	for i, want := range inv.Items() {
		got := doc.Components[i]
		if got.Ref != want.Ref || got.LocationCount != len(want.Locations) || !slices.Equal(got.Locations, want.Locations) && want.Ref != "pkg:pypi/ugly" {
			t.Errorf("component %d: %+v, want %+v", i, got.Ref, want.Ref)
		}
	}
}
