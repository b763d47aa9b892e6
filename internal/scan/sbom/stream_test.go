package sbom

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"stella/internal/scan/inventory"
	"stella/internal/scan/sbom/sbomtest"
)

// quoted is s as a JSON string by the stream.
func quoted(s string) []byte {
	var b bytes.Buffer
	out := newStream(&b)
	out.text(s)
	out.flush()
	return b.Bytes()
}

// The oracle for one string is encoding/json reading it.
func checkQuoted(t *testing.T, s string) {
	t.Helper()
	data := quoted(s)
	var got string
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatalf("%.60q is written as %.80q: %v", s, data, err)
	}
	want := string(bytes.ToValidUTF8([]byte(s), []byte("\uFFFD")))
	// ToValidUTF8 makes one character of a run of bad bytes, we make one of each.
	if collapse(got) != collapse(want) || !utf8.Valid(data) {
		t.Fatalf("%.60q is written as %.80q", s, data)
	}
}

func collapse(s string) string {
	for strings.Contains(s, "\uFFFD\uFFFD") {
		s = strings.ReplaceAll(s, "\uFFFD\uFFFD", "\uFFFD")
	}
	return s
}

func TestQuote(t *testing.T) {
	for c := range 256 {
		checkQuoted(t, "a"+string([]byte{byte(c)})+"b")
	}
	for _, s := range []string{"", "\uFFFD", "𝕏", "\xf0\x9d\x95", "\xed\xa0\x80", "\u2028", strings.Repeat("\"", 3*bufferSize)} {
		checkQuoted(t, s)
	}
	// Every place at which the buffer can be full.
	for n := bufferSize - 20; n < bufferSize+5; n++ {
		checkQuoted(t, strings.Repeat("x", n)+"é\"\x01\xff𝕏\\"+strings.Repeat("y", bufferSize))
	}
	if got, want := string(quoted("<b>&'/")), `"<b>&'/"`; got != want {
		t.Errorf("HTML is written as %s, want %s", got, want)
	}
}

func TestLayout(t *testing.T) {
	var b bytes.Buffer
	out := newStream(&b)
	out.open("{")
	out.field("a", "1")
	out.field("empty", "")
	out.newline()
	out.array("none")
	out.close("]")
	out.array("b")
	for i := range 2 {
		out.newline()
		out.open("{")
		out.key("i")
		out.int(int64(-i))
		out.array("t")
		out.bool(i == 0)
		out.text("x")
		out.close("]")
		out.close("}")
	}
	out.newline()
	out.close("]")
	out.close("}")
	out.flush()
	want := `{"a":"1",
"none":[],"b":[
{"i":0,"t":[true,"x"]},
{"i":-1,"t":[false,"x"]}
]}`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestOneComponentPerLine(t *testing.T) {
	inv := ugly()
	for _, format := range []string{"cyclonedx-json", "spdx-json", "json"} {
		found := 0
		for line := range bytes.Lines(write(t, format, document(inv))) {
			line = bytes.TrimSuffix(bytes.TrimSpace(line), []byte(","))
			if bytes.Contains(line, []byte(`"name":"left-pad"`)) && json.Valid(line) {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%s: left-pad stands on %d lines of its own, want 1", format, found)
		}
	}
}

// Whatever the fields hold, documents are valid JSON, with one component and,
// in its place, the text that went in.
func FuzzWrite(f *testing.F) {
	f.Add("name", "1.0", "MIT", "Ann <a@b>", "usr/lib", "reason", 1)
	f.Add("\"\\\x00\xff", "\u2028", "MIT OR (", "<@>", "\n", "", -1)
	f.Add("", "", "", "", "", "", 1<<40)
	f.Fuzz(func(t *testing.T, name, version, statement, by, path, reason string, layer int) {
		item := sbomtest.Item{Ref: "ref" + name, PURL: path, Locations: []inventory.Location{{Layer: layer, Path: path, Extractor: by}, {}}}
		item.Package = inventory.Package{Type: inventory.Type(by), Namespace: path, Name: name, Version: version, Supplier: by,
			Licenses: []string{statement, "MIT", statement + " "}, Qualifiers: []inventory.Qualifier{{Key: name, Value: version}}, Declared: layer%2 == 0}
		d := document(sbomtest.New([]sbomtest.Item{item}, []inventory.Edge{{From: "ref" + name, To: path}},
			[]inventory.Problem{{Layer: layer, Path: path, Extractor: by, Reason: reason}}, &inventory.Release{ID: name, VersionID: version, PrettyName: by}))
		d.Subject = Subject{Name: name, Reference: path, Repository: by, Digest: version, Labels: map[string]string{path: reason}, Layers: []Layer{{Digest: path}}}
		for _, format := range []string{"cyclonedx-json@1.6", "cyclonedx-json@1.7", "spdx-json", "json"} {
			data := write(t, format, d)
			var doc struct {
				Components, Packages []struct{ Name string }
			}
			if err := json.Unmarshal(data, &doc); err != nil || !utf8.Valid(data) {
				t.Fatalf("%s: %v in\n%s", format, err, data)
			}
			if n := len(doc.Components) + len(doc.Packages); n < 1 || n > 3 {
				t.Fatalf("%s: %d components", format, n)
			}
		}
		for _, width := range []int{0, 1, 40} {
			d.Table.Width = width
			table := write(t, "table", d)
			if i := bytes.IndexFunc(table, func(r rune) bool { return r != '\n' && r != '\t' && (r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0) }); i >= 0 {
				t.Fatalf("the table has a control character at %d: %q", i, table)
			}
		}
	})
}
