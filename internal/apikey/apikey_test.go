package apikey

import (
	"regexp"
	"testing"
)

func TestSecrets(t *testing.T) {
	form := regexp.MustCompile(`^stella_[0-9a-f]{16}_[A-Za-z0-9_-]{43}$`) // 256 bits in base64
	a, b := New("stella"), New("stella")
	if !form.MatchString(a.Text) || a.Text == b.Text || a.ID == b.ID {
		t.Errorf("made %+v and %+v", a, b)
	}
	hash := a.Hash()
	if !hash.Is(hash[:]) || b.Hash().Is(hash[:]) || hash.Is(nil) || hash.Is(hash[:31]) {
		t.Error("a hash is another's, or not its own")
	}
	for range 100 { // those whose bits have a _, too
		s := New("rdev")
		if got, ok := Parse("rdev", s.Text); !ok || got != s {
			t.Fatalf("%+v was read as %+v, %v", s, got, ok)
		}
		if got, ok := Parse("stella", s.Text); ok {
			t.Fatalf("a key of another service was read as %+v", got)
		}
	}
}

func FuzzParse(f *testing.F) {
	s := New("rdev")
	f.Add("Bearer " + s.Text)
	f.Add("bearer  " + s.Text + " ")
	f.Add("Bearer rdev__")
	f.Fuzz(func(t *testing.T, header string) {
		text, ok := bearer([]string{header})
		got, is := Parse("rdev", text)
		if is != (len(text) == 65 && text[:5] == "rdev_" && regexp.MustCompile(`^[^_]{16}_`).MatchString(text[5:])) {
			t.Errorf("%q: %v, %+v", header, is, got)
		}
		if ok && is && (got.Text != text || got.ID != text[5:21]) {
			t.Errorf("%q became %+v", header, got)
		}
	})
}
