package license

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	tests := []struct {
		in   string
		want Statement
	}{
		{"MIT", Statement{Kind: ID, Text: "MIT"}},
		{"mit", Statement{Kind: ID, Text: "MIT"}},
		{"zlib", Statement{Kind: ID, Text: "Zlib"}},
		{"GPL-2.0+", Statement{Kind: ID, Text: "GPL-2.0+"}},
		{"0BSD", Statement{Kind: ID, Text: "0BSD"}},
		{"ZPL-2.1", Statement{Kind: ID, Text: "ZPL-2.1"}},
		{"Apache-2.0+", Statement{Kind: Expression, Text: "Apache-2.0+"}},
		{"MIT OR apache-2.0", Statement{Kind: Expression, Text: "MIT OR Apache-2.0", Compound: true}},
		{"(MIT  OR Apache-2.0)", Statement{Kind: Expression, Text: "(MIT OR Apache-2.0)"}},
		{"( MIT )", Statement{Kind: Expression, Text: "(MIT)"}},
		{"(MIT OR X11) AND Zlib", Statement{Kind: Expression, Text: "(MIT OR X11) AND Zlib", Compound: true}},
		{"GPL-2.0-only WITH Classpath-exception-2.0", Statement{Kind: Expression, Text: "GPL-2.0-only WITH Classpath-exception-2.0"}},
		{"GPL-2.0 WITH linux-syscall-note", Statement{Kind: Expression, Text: "GPL-2.0 WITH Linux-syscall-note"}},
		{"LicenseRef-Foo.1", Statement{Kind: Expression, Text: "LicenseRef-Foo.1", Refs: true}},
		{"MIT AND DocumentRef-a:LicenseRef-b", Statement{Kind: Expression, Text: "MIT AND DocumentRef-a:LicenseRef-b", Compound: true, Refs: true}},
	}
	for _, s := range []string{
		"", " ", "BSD", "GPL-2+", "GPL-2.0++", "MIT/Apache-2.0", "MIT or Apache-2.0", "MIT OR", "OR MIT", "MIT MIT",
		"MIT WITH MIT", "Classpath-exception-2.0", "(MIT", "MIT)", "()", "MIT AND (", "LicenseRef-", "LicenseRef-a_b",
		"Foo:LicenseRef-b", "DocumentRef-a:MIT", "MIT OR BSD", "see the file COPYING", "Ünïcode-1.0",
		strings.Repeat("(", 4096), strings.Repeat("(", maxDepth+1) + "MIT" + strings.Repeat(")", maxDepth+1),
	} {
		tests = append(tests, struct {
			in   string
			want Statement
		}{s, Statement{Kind: Name, Text: s}})
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, Parse(test.in)); diff != "" {
			t.Errorf("Parse(%.60q): -want +got\n%s", test.in, diff)
		}
	}
}

// Many groups side by side are not deep.
func TestDepthIsNotWidth(t *testing.T) {
	s := "(MIT)" + strings.Repeat(" AND (MIT)", 3*maxDepth)
	if got := Parse(s); got.Kind != Expression || got.Text != s {
		t.Errorf("Parse = %+v, want an expression", got)
	}
}

// The oracle is the schema that documents are validated against.
func TestListsAreTheSchemas(t *testing.T) {
	data, err := os.ReadFile("../testdata/schema/spdx.SNAPSHOT.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Comment string `json:"$comment"`
		Enum    []string
	}
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	ours := slices.Concat(licenseIDs(), exceptionIDs())
	slices.Sort(ours)
	slices.Sort(schema.Enum)
	if diff := cmp.Diff(schema.Enum, ours); diff != "" {
		t.Errorf("-schema +embedded\n%s", diff)
	}
	if !strings.Contains(schema.Comment, "-"+ListVersion+".") {
		t.Errorf("ListVersion is %s, the schema says %s", ListVersion, schema.Comment)
	}
	for _, list := range [][]string{licenseIDs(), exceptionIDs()} {
		if !slices.IsSortedFunc(list, compareFold) {
			t.Error("a list is not sorted as lookup expects it")
		}
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	Parse("MIT")
	if n := testing.AllocsPerRun(100, func() { Parse("apache-2.0"); Parse("BSD") }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// Whatever is an expression stays the same expression when it is read again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"MIT", "(MIT OR Apache-2.0) AND LicenseRef-x", "GPL-2.0 WITH GCC-exception-3.1", "MIT+ OR", "((("} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Parse(s)
		if got.Kind == Name && got.Text != s {
			t.Errorf("the name %q became %q", s, got.Text)
		}
		if again := Parse(got.Text); again != got {
			t.Errorf("%q is %+v, and read again %+v", s, got, again)
		}
	})
}
