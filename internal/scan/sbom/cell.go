package sbom

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// printable is text that does nothing to a terminal but stand there: control
// and format characters, which can move the cursor, change its colour or turn the direction of writing
// (and so make one name look like another), become "?".
func printable(s string) string {
	if isPlain(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return '?'
		}
		return r
	}, s)
}

// isPlain reports whether all of s is printable ASCII, as nearly every cell is.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// width is how many terminal columns s takes.
func width(s string) int {
	if isPlain(s) {
		return len(s)
	}
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// runeWidth is 0 for what combines with the character before it, 2 for the
// wide characters of East Asia and for emoji (Unicode annex 11, by block), else 1.
func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf, r >= 0xac00 && r <= 0xd7a3,
		r >= 0xf900 && r <= 0xfaff, r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60,
		r >= 0xffe0 && r <= 0xffe6, r >= 0x1f300 && r <= 0x1faff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	default:
		return 1
	}
}

// cut makes s at most limit columns wide and puts "…" where something is
// missing: at the end, or at the start for paths, whose end tells more.
func cut(s string, limit int, path bool) string {
	if width(s) <= limit {
		return s
	}
	if limit < 1 {
		return ""
	}
	room := limit - 1
	if path {
		start := len(s)
		for start > 0 {
			r, size := utf8.DecodeLastRuneInString(s[:start])
			if room -= runeWidth(r); room < 0 {
				break
			}
			start -= size
		}
		return "…" + s[start:]
	}
	end := 0
	for i, r := range s {
		if room -= runeWidth(r); room < 0 {
			break
		}
		end = i + utf8.RuneLen(r)
	}
	return s[:end] + "…"
}
