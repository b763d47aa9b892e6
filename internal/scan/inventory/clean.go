package inventory

import (
	"strings"
	"unicode/utf8"
)

// MaxField is the most bytes of a name, version, licence, supplier or key
// that is kept. Real ones stay far below; a hostile file can state megabytes.
const MaxField = 4 << 10

// Clean makes a field safe to keep and to print: valid UTF-8, no control
// characters, no surrounding space, at most [MaxField] bytes. The result does not
// share memory with s when anything was cut, so that a short field never
// keeps a long line alive.
func Clean(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > MaxField {
		s = strings.Clone(s[:MaxField])
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	for n := MaxField; len(s) > MaxField; n-- { // the replacement is three bytes
		if utf8.RuneStart(s[n]) {
			s = s[:n]
		}
	}
	if strings.IndexFunc(s, control) < 0 {
		return strings.TrimSpace(s)
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if control(r) {
			return ' '
		}
		return r
	}, s))
}

func control(r rune) bool { return r < 0x20 || r == 0x7f }
