package sbom

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"stella/internal/scan/inventory"
	"stella/internal/scan/sbom/sbomtest"
)

// schema compiles one of the official schemas in testdata.
func schema(t testing.TB, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	files, err := filepath.Glob("testdata/schema/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no schemas: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		// The schemas of CycloneDX name each other relative to their $id.
		for _, base := range []string{"http://cyclonedx.org/schema/", "file:///"} {
			if err := c.AddResource(base+filepath.Base(file), doc); err != nil {
				t.Fatal(err)
			}
		}
	}
	s, err := c.Compile("file:///" + name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var schemas = map[string]string{
	"cyclonedx-json@1.6": "bom-1.6.SNAPSHOT.schema.json",
	"cyclonedx-json@1.7": "bom-1.7.SNAPSHOT.schema.json",
	"spdx-json@2.3":      "spdx-2.3.schema.json",
}

func TestSchemas(t *testing.T) {
	bare := &Document{Inventory: sbomtest.New(nil, nil, nil, nil)}
	// Schema validation compares all components with each other, so the many locations go.
	var few []sbomtest.Item
	for _, i := range ugly().Items() {
		i.Locations = i.Locations[:min(3, len(i.Locations))]
		few = append(few, i)
	}
	whole := ugly()
	small := sbomtest.New(few, nil, whole.Problems(), &inventory.Release{})
	for format, file := range schemas {
		s := schema(t, file)
		for name, d := range map[string]*Document{
			"bare": bare, "small": document(small), "ugly": document(whole), "generated": document(sbomtest.Generated{N: 300}),
		} {
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(write(t, format, d)))
			if err != nil {
				t.Fatalf("%s of %s: %v", format, name, err)
			}
			if err := s.Validate(doc); err != nil {
				t.Errorf("%s of %s: %v", format, name, err)
			}
		}
	}
}

// The schemas do reject things: what we are told by TestSchemas means something.
func TestSchemasCanFail(t *testing.T) {
	for format, file := range schemas {
		s := schema(t, file)
		good := write(t, format, document(sbomtest.Generated{N: 3}))
		for old, bad := range map[string]string{
			`"name":"package-100000001"`: `"nome":"x"`, `"id":"MIT"`: `"id":"MITT"`,
			`"CONTAINS"`: `"HAS"`, `"complete"`: `"yes"`, `"1.2.3"`: `123`,
		} {
			data := bytes.ReplaceAll(good, []byte(old), []byte(bad))
			if bytes.Equal(data, good) {
				continue // the format has no such thing
			}
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if s.Validate(doc) == nil {
				t.Errorf("%s: %s instead of %s is valid", format, bad, old)
			}
		}
	}
}
