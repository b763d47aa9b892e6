package cli

import (
	"testing"
	"time"
)

func TestSpan(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "30m": 30 * time.Minute, "1h30m": 90 * time.Minute, "7d": 7 * day, "1d12h": 36 * time.Hour,
	} {
		var s span
		if err := s.Set(text); err != nil || time.Duration(s) != want {
			t.Errorf("Set(%q) = %v, %v; want %v", text, time.Duration(s), err, want)
		}
	}
	for _, text := range []string{"", "0", "0d", "5", "-1h", "-1d", "1d-1h", "d", "1w", "999999d", "1d 2h", "2562047h47m16s", "40000d2562047h"} {
		s := span(1)
		if err := s.Set(text); err == nil || s != 1 {
			t.Errorf("Set(%q) made %v", text, time.Duration(s))
		}
	}
}

// What is written can be read again.
func FuzzSpan(f *testing.F) {
	f.Add("1d12h")
	f.Add("90s")
	f.Fuzz(func(t *testing.T, text string) {
		var s, again span
		if s.Set(text) != nil {
			return
		}
		if s <= 0 || time.Duration(s) > maxSpan {
			t.Errorf("%q is %d", text, s)
		}
		if err := again.Set(s.String()); err != nil || again != s {
			t.Errorf("%q is written as %q, and that is %d, %v", text, s.String(), again, err)
		}
	})
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 119 * time.Minute: "119m",
		2 * time.Hour: "2h", 47 * time.Hour: "47h", 48 * time.Hour: "2d", 400 * day: "400d",
	} {
		if got := ageText(d); got != want {
			t.Errorf("ageText(%v) = %q; want %q", d, got, want)
		}
	}
}
