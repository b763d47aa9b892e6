package cli

import "strconv"

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
