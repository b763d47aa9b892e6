package cli

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestRows(t *testing.T) {
	r := newRows(1, "ID", "IMAGE", "STATUS", "MESSAGE")
	r.add("1", "registry.example/team/application:1.4.2", "failed", "the image needs more memory than any pool has")
	r.add("12", "app", "", "two\nlines\tand \x1b[31mcolour")
	for _, tt := range []struct {
		width int
		want  string
	}{
		{0, "" +
			"ID  IMAGE                                    STATUS  MESSAGE\n" +
			"1   registry.example/team/application:1.4.2  failed  the image needs more memory than any pool has\n" +
			"12  app                                      -       two; lines\uFFFDand \uFFFD[31mcolour\n"},
		{80, "" +
			"ID  IMAGE                                    STATUS  MESSAGE\n" +
			"1   registry.example/team/application:1.4.2  failed  the image nee… any pool has\n" +
			"12  app                                      -       two; lines�and �[31mcolour\n"},
		{50, "" +
			"ID  IMAGE                 STATUS  MESSAGE\n" +
			"1   registry.…tion:1.4.2  failed  the ima…pool has\n" +
			"12  app                   -       two; li…1mcolour\n"},
		{40, "" +
			"ID  IMAGE                         STATUS\n" +
			"1   registry.exam…lication:1.4.2  failed\n" +
			"12  app                           -\n"},
		{12, "" +
			"ID  IMAGE\n" +
			"1   reg….4.2\n" +
			"12  app\n"},
	} {
		var out bytes.Buffer
		if err := r.write(&out, tt.width, "…"); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, out.String()); diff != "" {
			t.Errorf("width %d (-want +got):\n%s", tt.width, diff)
		}
	}
}

// No row is wider than the terminal, whatever is in it, and none is empty.
func FuzzRows(f *testing.F) {
	f.Add("registry.example/app:1", "failed", "a long message about it", 40, 1)
	f.Add("", "ü", "\x1b]0;", 7, 2)
	f.Fuzz(func(t *testing.T, a, b, c string, width, flex int) {
		if width < 8 || width > 300 || flex < 0 || flex > 3 || len(a)+len(b)+len(c) > 4096 {
			return
		}
		r := newRows(flex, "ID", "A", "B", "C")
		r.add("1", a, b, c)
		var out bytes.Buffer
		if err := r.write(&out, width, "…"); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != 2 {
			t.Fatalf("%d lines", len(lines))
		}
		for _, line := range lines {
			if n := utf8.RuneCountInString(line); n > width || !strings.ContainsAny(line, "1I") {
				t.Errorf("a line of %d columns on a terminal of %d: %q", n, width, line)
			}
		}
	})
}

func TestShorten(t *testing.T) {
	for _, tt := range []struct {
		text     string
		width    int
		ellipsis string
		want     string
	}{
		{"abcdef", 6, "…", "abcdef"},
		{"abcdefg", 6, "…", "ab…efg"},
		{"abcdefg", 6, "..", "ab..fg"},
		{"äöüß€é", 4, "…", "ä…€é"},
		{"abcdef", 2, "…", "ab"},
		{"abcdef", 0, "…", ""},
	} {
		if got := shorten(tt.text, tt.width, tt.ellipsis); got != tt.want {
			t.Errorf("shorten(%q, %d) = %q; want %q", tt.text, tt.width, got, tt.want)
		}
	}
}

func TestLineCutter(t *testing.T) {
	var out bytes.Buffer
	c := &lineCutter{w: &out, width: 4}
	text := "abcdefg\nab\näöüßé\n"
	for i := range len(text) { // also in the middle of a rune
		if _, err := c.Write([]byte{text[i]}); err != nil {
			t.Fatal(err)
		}
	}
	if want := "abcd\nab\näöüß\n"; out.String() != want {
		t.Errorf("wrote %q; want %q", out.String(), want)
	}
}
