// Package bytesize reads and writes amounts of bytes, as Kubernetes writes them
// and as people read them.
package bytesize

import (
	"errors"
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Size is an amount of bytes. It is a value of a flag and of JSON, written as
// Kubernetes writes it: "32Mi", "1G".
type Size int64

// What is wrong with a text that is no size, for errors.Is.
var (
	ErrSyntax = errors.New("no amount of bytes such as 32Mi or 1G")
	ErrRange  = errors.New("no whole number of bytes above zero")
)

// Parse reads a size above zero.
func Parse(text string) (Size, error) {
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return 0, ErrSyntax
	}
	// Value rounds up, and ends at the largest int64.
	n := q.Value()
	if n <= 0 || q.CmpInt64(n) != 0 {
		return 0, ErrRange
	}
	return Size(n), nil
}

// String writes the size as Parse reads it, in the largest binary unit that divides it.
func (s Size) String() string { return resource.NewQuantity(int64(s), resource.BinarySI).String() }

// Set implements pflag.Value.
func (s *Size) Set(text string) error {
	n, err := Parse(text)
	if err == nil {
		*s = n
	}
	return err
}

// Type implements pflag.Value.
func (*Size) Type() string { return "size" }

// Text writes bytes for people: three digits, binary units.
func Text(n int64) string {
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
