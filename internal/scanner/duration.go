package scanner

import (
	"fmt"
	"strings"
	"time"
)

// Duration is a time.Duration that is written as people write it: 30m, 1h30m.
type Duration time.Duration

// String is the duration without the units at its end that are zero: 30m, not 30m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	for _, zero := range []struct{ suffix, after string }{{"m0s", "0s"}, {"h0m", "0m"}} {
		if strings.HasSuffix(s, zero.suffix) {
			s = strings.TrimSuffix(s, zero.after)
		}
	}
	return s
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. Negative durations are errors.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no duration: write it as 90s, 30m or 2h", text)
	}
	if v < 0 {
		return fmt.Errorf("%q is negative", text)
	}
	*d = Duration(v)
	return nil
}
