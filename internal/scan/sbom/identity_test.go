package sbom

import (
	"regexp"
	"strings"
	"testing"
	"time"

	packageurl "github.com/package-url/packageurl-go"

	"stella/internal/scan/inventory"
	"stella/internal/scan/sbom/sbomtest"
)

func TestUUID(t *testing.T) {
	cycloneDX := Format{"cyclonedx-json", "1.7"}
	base := func() *Document { return document(tableInventory()) }
	first := base().uuid(cycloneDX)
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(first) {
		t.Errorf("%s is not a UUID of version 5", first)
	}
	if again := base().uuid(cycloneDX); again != first {
		t.Errorf("the same document is %s and %s", first, again)
	}
	// Everything that makes another document makes another name.
	names := map[string]string{"": first}
	other := func(what string, change func(*Document)) {
		d := base()
		change(d)
		names[what] = d.uuid(cycloneDX)
	}
	names["format"] = base().uuid(Format{"cyclonedx-json", "1.6"})
	other("tool", func(d *Document) { d.ToolVersion = "1.2.4" })
	other("time", func(d *Document) { d.Created = time.Time{} })
	other("digest", func(d *Document) { d.Subject.Digest = layerDigest("7") })
	other("problems", func(d *Document) { d.Inventory = tableInventory(damaged...) })
	other("contents", func(d *Document) { d.Inventory = sbomtest.New(nil, nil, nil, nil) })
	other("no digest", func(d *Document) { d.Subject.Digest = "" })
	other("no digest, other layer", func(d *Document) { d.Subject.Digest = ""; d.Subject.Layers[2].DiffID = layerDigest("7") })
	seen := map[string]string{}
	for what, id := range names {
		if seen[id] != "" {
			t.Errorf("%q and %q have the same name", what, seen[id])
		}
		seen[id] = what + " "
	}
	// The path to an image of a known digest does not matter.
	d := base()
	d.Subject.Reference, d.Subject.Tag = "copy.tar", ""
	if d.uuid(cycloneDX) != first {
		t.Error("the same image in another place has another name")
	}
}

func TestImagePURL(t *testing.T) {
	tests := map[string]Subject{
		"": {Name: "app"},
		"pkg:oci/app@sha256:12?arch=amd64&repository_url=registry.example%2Fteam%2FApp&tag=v1": {Repository: "registry.example/team/App", Tag: "v1", Digest: "sha256:12", Architecture: "amd64"},
		"pkg:oci/image.tar@sha256:12": {Reference: "some/dir/image.tar", Digest: "sha256:12"},
	}
	for want, s := range tests {
		got := s.purl()
		if got != want {
			t.Errorf("purl of %+v is %q, want %q", s, got, want)
		}
		if u, err := packageurl.FromString(got); got != "" && (err != nil || u.Version != "sha256:12") {
			t.Errorf("%q is read as %+v, %v", got, u, err)
		}
	}
}

func TestSPDXIDs(t *testing.T) {
	valid := regexp.MustCompile(`^SPDXRef-Package-[A-Za-z0-9.-]+$`)
	seen := map[string]string{}
	for _, ref := range []string{"", "a", "a_b", "a-b", "a/b", "日本", "\xff", strings.Repeat("x", 300) + "1", strings.Repeat("x", 300) + "2"} {
		id := string(appendID(nil, packagePrefix, ref))
		if !valid.MatchString(id) || seen[id] != "" || len(id) > 90 {
			t.Errorf("id of %q is %s, as of %q", ref, id, seen[id])
		}
		seen[id] = ref + " "
	}
}

func TestSupplier(t *testing.T) {
	for in, want := range map[string]string{
		"":                                  "NOASSERTION",
		"Red Hat, Inc.":                     "Organization: Red Hat, Inc.",
		"Ann Author <ann@mail.example>":     "Person: Ann Author (ann@mail.example)",
		"Ann <ann@mail.example>, Ben <b@c>": "Person: Ann (ann@mail.example)",
		"The Team <a@mail.example>":         "Organization: The Team (a@mail.example)",
		"GCC <gcc@lists.example>":           "Organization: GCC (gcc@lists.example)",
		"<a@b>":                             "Organization: <a@b>",
		"x <not a mail>":                    "Organization: x <not a mail>",
		"x <":                               "Organization: x <",
	} {
		if got := supplier(in); got != want {
			t.Errorf("supplier(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestFullName(t *testing.T) {
	for want, p := range map[string]inventory.Package{
		"libc6":             {Type: inventory.Deb, Namespace: "debian", Name: "libc6"},
		"@scope/x":          {Type: inventory.NPM, Namespace: "@scope", Name: "x"},
		"org.example:x":     {Type: inventory.Maven, Namespace: "org.example", Name: "x"},
		"example.org/mod/x": {Type: inventory.Golang, Namespace: "example.org/mod", Name: "x"},
		"x":                 {Type: inventory.PyPI, Name: "x"},
	} {
		if got := fullName(&p); got != want {
			t.Errorf("fullName(%+v) = %q, want %q", p, got, want)
		}
	}
}
