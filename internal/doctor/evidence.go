package doctor

import (
	"runtime/debug"
	"strconv"
	"strings"

	"stella/internal/bytesize"
)

// Bytes is evidence of an amount of memory or disk, in binary units.
func Bytes(what string, n int64, source string) Evidence {
	value, unit, _ := strings.Cut(bytesize.Text(n), " ")
	return Evidence{What: what, Value: value, Unit: unit, Source: source}
}

// Count is evidence of a number of things.
func Count(what string, n int64, source string) Evidence {
	return Evidence{What: what, Value: strconv.FormatInt(n, 10), Source: source}
}

// Percent is evidence of a part of the whole, where 1 is all of it.
func Percent(what string, part float64, source string) Evidence {
	return Evidence{What: what, Value: strconv.FormatFloat(100*part, 'f', 1, 64), Unit: "%", Source: source}
}

// Seconds is evidence of a time.
func Seconds(what string, s float64, source string) Evidence {
	return Evidence{What: what, Value: strconv.FormatFloat(s, 'f', 0, 64), Unit: "s", Source: source}
}

// Text is evidence in words.
func Text(what, value, source string) Evidence {
	return Evidence{What: what, Value: value, Source: source}
}

// maxStack is as much of a panic's stack as is logged, in bytes: its first dozen calls.
const maxStack = 2 << 10

func stack() string {
	s := debug.Stack()
	return string(s[:min(len(s), maxStack)])
}
