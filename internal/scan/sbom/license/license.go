// Package license tells what a licence statement is: an identifier of the SPDX
// licence list, an SPDX licence expression, or just a name.
//
// A statement is what a package's metadata says ("MIT", "GPL-2+ and BSD",
// "see COPYING"). An identifier is one entry of the list ("MIT"). An expression is
// a statement in the grammar of the SPDX specification 2.3, annex D, whose
// identifiers are all on the list ("MIT OR Apache-2.0").
//
// Hazard: statements are only recognised, never translated. "GPL-2+" means
// "GPL-2.0-or-later" to people who know Debian, and "BSD" means nothing definite to
// anyone; a guess here would be a legal claim in somebody's document. Such statements stay names.
package license

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
)

// ListVersion is the SPDX licence list that is embedded. It is the list of the
// CycloneDX 1.6 and 1.7 schemas, which is what documents are validated against.
const ListVersion = "3.29"

// The identifiers, one a line, sorted without regard to case.
var (
	//go:embed licenses.txt
	licenses string
	//go:embed exceptions.txt
	exceptions string
)

// The lists are split once; the pieces point into the binary's read-only data.
var (
	licenseIDs   = sync.OnceValue(func() []string { return strings.Fields(licenses) })
	exceptionIDs = sync.OnceValue(func() []string { return strings.Fields(exceptions) })
)

// Kind is what a statement turned out to be.
type Kind int

// The kinds of statement.
const (
	Name       Kind = iota // anything else
	ID                     // one identifier of the list
	Expression             // a valid expression that is more than one identifier
)

// Statement is a licence statement that was looked at.
type Statement struct {
	Kind Kind
	// Text is the statement; identifiers in the list's own case, and one space between
	// the words of an expression. A Name is unchanged.
	Text string
	// Compound says that an expression has AND or OR at its top level, so
	// that it needs parentheses inside another one.
	Compound bool
	// Refs says that an expression names licences outside the list
	// (LicenseRef-…), which an SPDX document would have to define.
	Refs bool
}

// Parse says what a statement is. It never fails: what is neither an
// identifier nor an expression is a Name. Identifiers are matched without regard to case and
// operators exactly, as annex D of the specification has it.
func Parse(statement string) Statement {
	if id, ok := lookup(licenseIDs(), strings.Trim(statement, " ")); ok {
		return Statement{Kind: ID, Text: id}
	}
	// One word that is not on the list can only be "id+" or a reference.
	if !strings.ContainsAny(statement, " +(:-") {
		return Statement{Kind: Name, Text: statement}
	}
	return parseExpression(statement)
}

// lookup finds s in a sorted list without regard to ASCII case, and without
// allocating: it is asked several times for every package of an image.
func lookup(list []string, s string) (string, bool) {
	i, ok := slices.BinarySearchFunc(list, s, compareFold)
	if !ok {
		return "", false
	}
	return list[i], true
}

func compareFold(a, b string) int {
	for i := range min(len(a), len(b)) {
		if x, y := lower(a[i]), lower(b[i]); x != y {
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
