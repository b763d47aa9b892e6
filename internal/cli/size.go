package cli

import (
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"
)

// size is a flag's value: bytes, written as Kubernetes writes them ("32Mi", "1G").
type size int64

// String implements pflag.Value.
func (s *size) String() string {
	return resource.NewQuantity(int64(*s), resource.BinarySI).String()
}

// Set implements pflag.Value.
func (s *size) Set(text string) error {
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return fmt.Errorf("not an amount of bytes such as 32Mi or 1G")
	}
	// Value rounds up, and ends at the largest int64.
	n := q.Value()
	if n <= 0 || q.CmpInt64(n) != 0 {
		return fmt.Errorf("must be a whole number of bytes above zero")
	}
	*s = size(n)
	return nil
}

// Type implements pflag.Value.
func (s *size) Type() string { return "size" }

// bytesText writes bytes for people: three digits, binary units.
func bytesText(n int64) string {
	if n < 1<<10 {
		return strconv.FormatInt(n, 10) + " B"
	}
	value, unit := float64(n), -1
	for value >= 1023.95 && unit < len(units)-1 {
		value /= 1024
		unit++
	}
	if value >= 100 {
		return fmt.Sprintf("%.0f %s", value, units[unit])
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}

var units = []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}

// countOf writes a number of things.
func countOf(n int64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return countText(n) + " " + thing
}

// countText writes a number with commas: 1,234,567.
func countText(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
