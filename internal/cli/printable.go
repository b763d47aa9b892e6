package cli

import (
	"strings"
	"unicode"
)

// printable makes text from an image safe for a terminal: an image can name a
// file "\x1b]0;…", and a terminal would obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}
