package postmortem

import (
	"fmt"
	"strings"
	"unicode"

	"stella/internal/incident"
)

// plain is a text in one line, of what can be printed.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case !unicode.IsPrint(r):
			return '\uFFFD'
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}

// text is a text in Markdown that is nothing but text, also in a table and at the beginning of a line.
func text(s string) string {
	s = plain(s)
	var b strings.Builder
	for i, r := range s {
		first := i == 0 || s[i-1] == ' '
		switch {
		case strings.ContainsRune("\\`*_{}[]<>#|~&!$@^", r),
			// What begins a list, a rule, a heading or a table, and what an address has that would become a link.
			first && strings.ContainsRune("-+=:", r), r == ':' && strings.HasPrefix(s[i:], "://"),
			r == '.' && i >= 3 && strings.EqualFold(s[i-3:i], "www"), (r == '.' || r == ')') && numbered(s[:i], s[i+1:]):
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// numbered reports whether a text before a dot or bracket is a number, and what is behind it makes that an item of a list.
func numbered(before, behind string) bool {
	return before != "" && strings.Trim(before, "0123456789") == "" && (behind == "" || behind[0] == ' ')
}

// fenced is a line in a block of code, which its own fence cannot end.
func fenced(s string) string { return strings.ReplaceAll(plain(s), "`", "'") }

// link leads to the event in the timeline. IDs have nothing to escape; an event of which the ID is none has no link.
func link(id string) string {
	if !incident.ValidID(id) {
		return ""
	}
	return fmt.Sprintf("[%s](#event-%s)", strings.ReplaceAll(id, "_", "\\_"), id)
}

// links are some of those, and how many more there are.
func links(ids []string) string {
	const shown = 5
	var all []string
	for _, id := range ids[:min(len(ids), shown)] {
		all = append(all, link(id))
	}
	out := strings.Join(all, ", ")
	if n := len(ids) - shown; n > 0 {
		out += fmt.Sprintf(" and %d more", n)
	}
	return out
}
