package sbom

import (
	"strings"

	"stella/internal/scan/sbom/license"
)

const licensePrefix = "LicenseRef-"

// maxLicenseTexts is the most memory, in bytes, for the licence statements that
// are not on the SPDX list. SPDX wants each of them defined once, at the end, so the distinct
// ones have to be remembered; whole distributions have fewer than two thousand of about 50 bytes. A
// statement beyond it does not become a LicenseRef: its package says NOASSERTION,
// and quotes the statement in licenseComments.
const maxLicenseTexts = 256 << 10

// licenseTextOverhead is what one statement costs beside its bytes: two string
// headers, a map slot, and the allocator's rounding.
const licenseTextOverhead = 96

// licenseTexts is the bounded set of statements, in the order in which they were met.
type licenseTexts struct {
	seen  map[string]struct{}
	order []string
	bytes int
}

// add reports whether text will be defined at the end of the document.
func (t *licenseTexts) add(text string) bool {
	if _, ok := t.seen[text]; ok {
		return true
	}
	cost := len(text) + licenseTextOverhead
	if t.bytes+cost > maxLicenseTexts {
		return false
	}
	if t.seen == nil {
		t.seen = map[string]struct{}{}
	}
	text = strings.Clone(text)
	t.bytes += cost
	t.seen[text] = struct{}{}
	t.order = append(t.order, text)
	return true
}

// write defines the statements.
func (t *licenseTexts) write(out *stream) {
	if len(t.order) == 0 {
		return
	}
	out.newline()
	out.array("hasExtractedLicensingInfos")
	for _, text := range t.order {
		out.newline()
		out.open("{")
		out.id("licenseId", appendID(nil, licensePrefix, text))
		out.field("name", "stated licence")
		out.field("extractedText", text)
		out.close("}")
	}
	out.newline()
	out.close("]")
}

// declaredLicense joins the statements by AND: each of them was stated, so all are to be
// kept. A statement that is no expression, or that names licences which only its own
// document defines, becomes a LicenseRef as a whole.
func (x *spdx) declaredLicense(statements []string) {
	x.expr = x.expr[:0]
	for _, text := range statements {
		if text == "" {
			continue
		}
		if !x.and(license.Parse(text), text, len(statements) > 1) {
			x.field("licenseDeclared", "NOASSERTION")
			x.field("licenseComments", "Stated licences: "+strings.Join(statements, "; "))
			return
		}
	}
	if len(x.expr) == 0 {
		x.field("licenseDeclared", "NOASSERTION")
		return
	}
	x.id("licenseDeclared", x.expr)
}

// and appends one statement to the expression. It reports false where there
// is no room to define the statement.
func (x *spdx) and(s license.Statement, text string, several bool) bool {
	if len(x.expr) > 0 {
		x.expr = append(x.expr, " AND "...)
	}
	switch {
	case s.Kind == license.Name || s.Refs:
		if !x.licenses.add(text) {
			return false
		}
		x.expr = appendID(x.expr, licensePrefix, text)
	case s.Compound && several:
		x.expr = append(append(append(x.expr, '('), s.Text...), ')')
	default:
		x.expr = append(x.expr, s.Text...)
	}
	return true
}
