package license

import "strings"

// maxDepth is how deep parentheses may nest. Real expressions use two or
// three; the bound keeps a hostile one from growing the stack.
const maxDepth = 32

// parser reads one expression by recursive descent and writes it again in
// its normal spelling.
type parser struct {
	rest  string
	word  string // the token being looked at, "" at the end
	out   strings.Builder
	depth int
	refs  bool
}

// parseExpression returns statement as an Expression, or as a Name where the grammar does not hold.
func parseExpression(statement string) Statement {
	p := parser{rest: statement}
	p.next()
	compound, ok := p.compound()
	if !ok || p.word != "" {
		return Statement{Kind: Name, Text: statement}
	}
	return Statement{Kind: Expression, Text: p.out.String(), Compound: compound, Refs: p.refs}
}

// next moves to the following token: a parenthesis or a run without space and parentheses.
func (p *parser) next() {
	p.rest = strings.TrimLeft(p.rest, " ")
	end := strings.IndexAny(p.rest, " ()")
	switch {
	case end < 0:
		end = len(p.rest)
	case end == 0:
		end = 1
	}
	p.word, p.rest = p.rest[:end], p.rest[end:]
}

// compound reads terms joined by AND and OR. Which of them binds closer does not
// matter here: the words are kept in their order. It reports whether there was more than one term.
func (p *parser) compound() (compound, ok bool) {
	for {
		if !p.term() {
			return false, false
		}
		if p.word != "AND" && p.word != "OR" {
			return compound, true
		}
		compound = true
		p.out.WriteString(" " + p.word + " ")
		p.next()
	}
}

// term reads a parenthesised expression, or a licence with its exception.
func (p *parser) term() bool {
	if p.word == "(" {
		return p.group()
	}
	if !p.license() {
		return false
	}
	p.next()
	if p.word != "WITH" {
		return true
	}
	p.next()
	id, ok := lookup(exceptionIDs(), p.word)
	if !ok {
		return false
	}
	p.out.WriteString(" WITH " + id)
	p.next()
	return true
}

func (p *parser) group() bool {
	if p.depth++; p.depth > maxDepth {
		return false
	}
	p.out.WriteByte('(')
	p.next()
	if _, ok := p.compound(); !ok || p.word != ")" {
		return false
	}
	p.out.WriteByte(')')
	p.depth--
	p.next()
	return true
}

// license reads one identifier, one with "+", or a reference.
func (p *parser) license() bool {
	if id, ok := lookup(licenseIDs(), p.word); ok {
		p.out.WriteString(id)
		return true
	}
	if base, found := strings.CutSuffix(p.word, "+"); found {
		id, ok := lookup(licenseIDs(), base)
		if ok = ok && !strings.HasSuffix(id, "+"); ok {
			p.out.WriteString(id + "+")
		}
		return ok
	}
	ref := p.word
	if document, license, ok := strings.Cut(ref, ":"); ok {
		if !isRef(document, "DocumentRef-") {
			return false
		}
		ref = license
	}
	if !isRef(ref, "LicenseRef-") {
		return false
	}
	p.refs = true
	p.out.WriteString(p.word)
	return true
}

// isRef reports whether s is prefix and then at least one letter, digit, "-" or ".".
func isRef(s, prefix string) bool {
	id, ok := strings.CutPrefix(s, prefix)
	if !ok || id == "" {
		return false
	}
	for i := range len(id) {
		c := lower(id[i])
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return true
}
