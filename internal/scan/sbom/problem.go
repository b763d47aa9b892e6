package sbom

import (
	"slices"
	"strconv"
	"strings"

	"stella/internal/scan/inventory"
)

// problem is one line for people about what could not be read.
func (s *Subject) problem(p inventory.Problem) string { return describe(p, s.layer(p.Layer)) }

// describe says where the problem is, with the digest of its layer, whose it is, and why.
func describe(p inventory.Problem, digest string) string {
	var b strings.Builder
	if p.Layer >= 0 {
		b.WriteString("layer " + strconv.Itoa(p.Layer))
		if digest != "" {
			b.WriteString(" (" + digest + ")")
		}
	} else {
		b.WriteString("image")
	}
	if p.Path != "" {
		b.WriteString(", /" + p.Path)
	}
	if p.Extractor != "" {
		b.WriteString(", extractor " + p.Extractor)
	}
	b.WriteString(": " + p.Reason)
	return b.String()
}

// incomplete is the sentence for an inventory with problems, "" for one without.
func incomplete(problems []inventory.Problem) string {
	switch len(problems) {
	case 0:
		return ""
	case 1:
		return "incomplete: 1 problem"
	default:
		return "incomplete: " + strconv.Itoa(len(problems)) + " problems"
	}
}

// sortedTypes are the types of a count in the order of their names.
func sortedTypes(count map[inventory.Type]int) []inventory.Type {
	types := make([]inventory.Type, 0, len(count))
	for t := range count {
		types = append(types, t)
	}
	slices.Sort(types)
	return types
}
