package sbom

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scan/inventory"
	"stella/internal/scan/sbom/sbomtest"
)

func tableInventory(problems ...inventory.Problem) *sbomtest.Inventory {
	at := func(paths ...string) (l []inventory.Location) {
		for i, p := range paths {
			l = append(l, inventory.Location{Layer: i, Path: p})
		}
		return l
	}
	return sbomtest.New([]sbomtest.Item{
		{Ref: "1", Package: inventory.Package{Type: inventory.Deb, Namespace: "debian", Name: "libc6", Version: "2.36-9"}, Locations: at("var/lib/dpkg/status")},
		{Ref: "2", Package: inventory.Package{Type: inventory.NPM, Namespace: "@scope", Name: "日本", Version: "1.0.0"}, Locations: at("app/a/package.json", "b", "c", "d")},
		{Ref: "3", Package: inventory.Package{Type: inventory.NPM, Name: "evil\x1b[2J\u202e", Version: ""}},
	}, nil, problems, nil)
}

var damaged = []inventory.Problem{
	{Layer: 1, Path: "var/lib/rpm", Extractor: "rpm", Reason: "damaged\x1b"},
	{Layer: -1, Reason: "the scan was stopped"},
}

// The expected tables were checked by eye: 日本 is four columns wide.
func TestTable(t *testing.T) {
	problems := `
This list is incomplete: 2 problems
  layer 1 (cccccccccccc), /var/lib/rpm, extractor rpm: damaged?
  image: the scan was stopped
`
	tests := map[string]struct {
		inv   *sbomtest.Inventory
		table Table
		want  string
	}{
		"plain": {tableInventory(), Table{}, `
NAME          VERSION   TYPE   LOCATION                        LAYER
libc6         2.36-9    deb    /var/lib/dpkg/status            aaaaaaaaaaaa
@scope/日本   1.0.0     npm    /app/a/package.json (+3 more)   aaaaaaaaaaaa
evil?[2J?     -         npm    -                               -

3 packages: 2 npm, 1 deb
`},
		"narrow, incomplete": {tableInventory(damaged...), Table{Width: 65}, `
NAME          VERSION   TYPE   LOCATION              LAYER
libc6         2.36-9    deb    …ar/lib/dpkg/status   aaaaaaaaaaaa
@scope/日本   1.0.0     npm    …age.json (+3 more)   aaaaaaaaaaaa
evil?[2J?     -         npm    -                     -

3 packages: 2 npm, 1 deb
` + problems},
		"styled": {sbomtest.New(nil, nil, damaged[1:], nil), Table{Color: true},
			"\nNo packages found in team/app.\n\n\x1b[1mThis list is incomplete: 1 problem\x1b[0m\n  image: the scan was stopped\n"},
		"empty":                {sbomtest.New(nil, nil, nil, nil), Table{}, "\nNo packages found in team/app.\n"},
		"nothing was readable": {sbomtest.New(nil, nil, damaged, nil), Table{}, "\nNo packages found in team/app.\n" + problems},
	}
	for name, test := range tests {
		d := document(test.inv)
		d.Table = test.table
		if diff := cmp.Diff(test.want[1:], string(write(t, "table", d))); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

// One giant name must not put its width into every row.
func TestTableOutlier(t *testing.T) {
	items := []sbomtest.Item{{Ref: "a", Package: inventory.Package{Name: strings.Repeat("n", 4000)}}, {Ref: "b", Package: inventory.Package{Name: "b"}}}
	for limit, width := range map[int]int{100: 0, 50: 50} {
		d := document(sbomtest.New(items, nil, nil, nil))
		d.Table.Width = width
		lines := strings.Split(string(write(t, "table", d)), "\n")
		if len(lines[2]) > limit {
			t.Errorf("width %d: the row of b has %d bytes", width, len(lines[2]))
		}
		if whole := strings.Contains(lines[1], strings.Repeat("n", 4000)); whole != (width == 0) {
			t.Errorf("width %d: the giant name is whole: %v", width, whole)
		}
	}
}
