package api_test

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// docs/http-api.md has every operation with its scope, and no others; and every status.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../../docs/http-api.md")
	if err != nil {
		t.Fatal(err)
	}
	d, _ := openAPI(t, start(t))
	there := map[string]bool{}
	for path, methods := range d.Paths {
		for method, op := range methods {
			row := fmt.Sprintf("| %s | `%s` | %s |", strings.ToUpper(method), path, op.scope())
			there[row] = true
			if !strings.Contains(string(text), row) {
				t.Errorf("docs/http-api.md does not have %s", row)
			}
			for status := range op.Responses {
				if status[0] != '2' && !strings.Contains(string(text), "\n| "+status+" |") {
					t.Errorf("docs/http-api.md does not say what %s is", status)
				}
			}
		}
	}
	for _, row := range regexp.MustCompile("\\| ("+strings.Join([]string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete}, "|")+") \\| `[^`]*` \\| \\w+ \\|").FindAllString(string(text), -1) {
		if !there[row] {
			t.Errorf("docs/http-api.md has %s, which the API has not", row)
		}
	}
}
