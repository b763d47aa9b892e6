package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"stella/internal/incident"
	"stella/internal/scanner"
)

// document is what these tests need of the OpenAPI document.
type document struct {
	OpenAPI    string
	Paths      map[string]map[string]described
	Components struct {
		Schemas         map[string]any
		SecuritySchemes map[string]any
	}
}

type described struct {
	OperationID string
	Summary     string
	Security    []map[string][]string
	Parameters  []struct {
		Name, In, Description string
		Schema                any
	}
	Responses map[string]struct {
		Content map[string]struct{ Schema any }
	}
}

// scope is the operation's.
func (d described) scope() scanner.Scope {
	if len(d.Security) != 1 || len(d.Security[0]["key"]) != 1 {
		return ""
	}
	return scanner.Scope(d.Security[0]["key"][0])
}

func openAPI(t *testing.T, run *running) (document, []byte) {
	t.Helper()
	resp := run.do(t, http.MethodGet, "/openapi.json", run.key(t, scanner.ScopeRead), "")
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v", resp.Status, err)
	}
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	return d, raw
}

// Every operation says what generated clients, and people, need to know.
func TestOpenAPIDocument(t *testing.T) {
	d, raw := openAPI(t, start(t))
	if !strings.HasPrefix(d.OpenAPI, "3.1.") || d.Components.SecuritySchemes["key"] == nil {
		t.Errorf("OpenAPI %q with the security schemes %v", d.OpenAPI, d.Components.SecuritySchemes)
	}
	ids := map[string]bool{}
	for path, methods := range d.Paths {
		for method, op := range methods {
			if op.OperationID == "" || ids[op.OperationID] || op.Summary == "" || !slices.Contains(scanner.Scopes, op.scope()) {
				t.Errorf("%s %s: ID %q, summary %q, security %v", method, path, op.OperationID, op.Summary, op.Security)
			}
			ids[op.OperationID] = true
			for _, name := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
				if !slices.ContainsFunc(op.Parameters, func(p struct {
					Name, In, Description string
					Schema                any
				}) bool {
					return p.Name == name[1] && p.In == "path"
				}) {
					t.Errorf("%s %s: no parameter %s", method, path, name[1])
				}
			}
			for _, p := range op.Parameters {
				if p.Description == "" {
					t.Errorf("%s %s: nothing says what %s is", method, path, p.Name)
				}
			}
			for _, status := range []string{"401", "403", "429", "503"} {
				if op.Responses[status].Content["application/problem+json"].Schema == nil {
					t.Errorf("%s %s: no problem for %s", method, path, status)
				}
			}
		}
	}
	if len(ids) < 24 {
		t.Errorf("only %d operations", len(ids))
	}
	compile(t, raw, func(c *jsonschema.Compiler) {
		for name := range d.Components.Schemas {
			if _, err := c.Compile("openapi.json#/components/schemas/" + name); err != nil {
				t.Errorf("schema %s: %v", name, err)
			}
		}
	})
}

// compile reads the document as JSON Schema 2020-12, which schemas of OpenAPI 3.1 are.
func compile(t *testing.T, raw []byte, use func(*jsonschema.Compiler)) {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("openapi.json", value); err != nil {
		t.Fatal(err)
	}
	use(c)
}

// What the server answers is what the document promises.
func TestAnswersMatchTheDocument(t *testing.T) {
	run := start(t)
	d, raw := openAPI(t, run)
	admin := run.key(t, scanner.ScopeAdmin)
	run.tell(t, admin, opening("7"), event("7", "k", incident.Killed))
	checked := 0
	compile(t, raw, func(c *jsonschema.Compiler) {
		for path, methods := range d.Paths {
			op, ok := methods["get"]
			if _, isJSON := op.Responses["200"].Content["application/json"]; !ok || !isJSON || strings.HasSuffix(path, "/sbom") {
				continue
			}
			pointer := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(path)
			schema, err := c.Compile("openapi.json#/paths/" + pointer + "/get/responses/200/content/application~1json/schema")
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			resp := run.do(t, http.MethodGet, strings.ReplaceAll(path, "{id}", "7"), admin, "")
			answer, err := jsonschema.UnmarshalJSON(resp.Body)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			if err := schema.Validate(answer); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			checked++
		}
	})
	if checked < 9 {
		t.Errorf("only %d answers were checked", checked)
	}
}
