package inventory

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"":                   "",
		" bash\n":            "bash",
		"a\x00b\tc\x7fd":     "a b c d",
		"caf\xe9":            "caf\uFFFD",
		"Grüße 漢字":           "Grüße 漢字",
		"\x01":               "",
		"  two  words  ":     "two  words",
		"line one\nline two": "line one line two",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x00b", 3)
	f.Add("漢", MaxField)
	f.Fuzz(func(t *testing.T, s string, times int) {
		s = strings.Repeat(s, min(max(times, 0), 2*MaxField/max(len(s), 1)))
		got := Clean(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, control) || got != strings.TrimSpace(got) {
			t.Errorf("Clean(%.40q) = %.40q", s, got)
		}
		if len(got) > MaxField {
			t.Errorf("%d bytes are left", len(got))
		}
		if Clean(got) != got {
			t.Errorf("cleaned once more, %.40q changes", got)
		}
	})
}
