package bytesize_test

import (
	"testing"

	"stella/internal/bytesize"
)

func TestSet(t *testing.T) {
	var s bytesize.Size
	for text, want := range map[string]int64{"32Mi": 32 << 20, "1G": 1e9, "4096": 4096, "1.5Gi": 3 << 29} {
		if err := s.Set(text); err != nil || int64(s) != want {
			t.Errorf("Set(%q): %d, %v; want %d", text, s, err, want)
		}
		if again, err := bytesize.Parse(s.String()); err != nil || again != s {
			t.Errorf("Parse(%q): %d, %v; want %d", s, again, err, s)
		}
	}
	for _, text := range []string{"", "x", "-1", "0", "0.5", "99999999999G", "1Zi", "8GB ", "8Gi ", "8gi"} {
		if err := s.Set(text); err == nil {
			t.Errorf("Set(%q) gives %d; want an error", text, s)
		}
	}
}

func TestText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 102400: "100 KiB", 1 << 20: "1.0 MiB", 1<<20 - 1: "1.0 MiB", 1 << 62: "4.0 EiB"} {
		if got := bytesize.Text(n); got != want {
			t.Errorf("Text(%d) = %q; want %q", n, got, want)
		}
	}
}
