package main

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

// The picture is well-formed XML, and shows every line as it was.
func TestDraw(t *testing.T) {
	var b strings.Builder
	in := "NAME  <a&b>\n\n  ▂█ “x”\n" + strings.Repeat("line\n", maxLines)
	if err := draw(&b, strings.NewReader(in), "$ stella"); err != nil {
		t.Fatal(err)
	}
	var texts []string
	d := xml.NewDecoder(strings.NewReader(b.String()))
	for {
		tok, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if c, ok := tok.(xml.CharData); ok && strings.TrimSpace(string(c)) != "" {
			texts = append(texts, string(c))
		}
	}
	if texts[0] != "$ stella" || texts[1] != "NAME  <a&b>" || texts[2] != "  ▂█ “x”" || texts[len(texts)-1] != "… 3 more lines" {
		t.Errorf("%q", texts)
	}
}
