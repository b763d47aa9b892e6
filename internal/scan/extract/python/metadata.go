package python

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"stella/internal/lines"
	"stella/internal/scan/extract"
	"stella/internal/scan/extract/edges"
	"stella/internal/scan/inventory"
)

// maxLicenses is how many licences are kept of one package. Classifiers name a few at most.
const maxLicenses = 32

// core is a core metadata file being read
// (https://packaging.python.org/en/latest/specifications/core-metadata/).
type core struct {
	site                    string
	name, version           string
	expression, license     string
	classified              []string // licences of the classifiers
	lost                    int
	author, authorMail      string
	maintainer, maintainers string
	set                     edges.Set
}

func readMetadata(ctx context.Context, r io.Reader, site string, out extract.Output) error {
	in := lines.New(ctx, r)
	defer in.Close()
	m := core{site: edges.Scope(site)}
	started := false
	for in.Next() {
		line := in.Bytes()
		if len(line) == 0 {
			if started {
				break // the body follows
			}
			continue
		}
		if line[0] == ' ' || line[0] == '\t' {
			continue // the rest of a header that has several lines
		}
		if i := bytes.IndexByte(line, ':'); i > 0 {
			started = true
			m.header(line[:i], line[i+1:])
		}
	}
	readErr := in.Err()
	if m.name == "" || m.version == "" {
		if readErr == nil {
			out.Partial("the metadata states no name or no version")
		}
		return readErr
	}
	if m.lost > 0 {
		out.Partial(fmt.Sprintf("%d licences beyond the first %d are left out", m.lost, maxLicenses))
	}
	if err := m.give(out); err != nil {
		return err
	}
	return readErr
}

func (m *core) header(key, value []byte) {
	var to *string
	switch string(bytes.ToLower(bytes.TrimSpace(key))) {
	case "name":
		to = &m.name
	case "version":
		to = &m.version
	case "license-expression":
		to = &m.expression
	case "license":
		to = &m.license
	case "author":
		to = &m.author
	case "author-email":
		to = &m.authorMail
	case "maintainer":
		to = &m.maintainer
	case "maintainer-email":
		to = &m.maintainers
	case "classifier":
		m.classifier(inventory.Clean(string(value)))
	case "requires-dist":
		name, _, marker := requirement(inventory.Clean(string(value)))
		if name != "" && !onlyExtra(marker) {
			m.set.Require("pypi:" + m.site + ":" + keyName(name))
		}
	}
	if to == nil {
		return
	}
	if v := inventory.Clean(string(value)); v != "" && v != "UNKNOWN" { // setuptools once wrote that for nothing
		*to = v
	}
}

// classifier takes a licence such as "License :: OSI Approved :: MIT License".
func (m *core) classifier(s string) {
	rest, ok := strings.CutPrefix(s, "License :: ")
	if !ok {
		return
	}
	if i := strings.LastIndex(rest, " :: "); i >= 0 {
		rest = rest[i+len(" :: "):]
	}
	switch {
	case rest == "OSI Approved" || rest == "":
	case len(m.classified) == maxLicenses:
		m.lost++
	default:
		m.classified = append(m.classified, rest)
	}
}

// licenses is what counts: the expression alone where there is one, which replaces
// the rest (PEP 639).
func (m *core) licenses() []string {
	if m.expression != "" {
		return []string{m.expression}
	}
	if m.license == "" || slices.Contains(m.classified, m.license) {
		return m.classified
	}
	return append([]string{m.license}, m.classified...)
}

func (m *core) supplier() string {
	for _, who := range [][2]string{{m.author, m.authorMail}, {m.maintainer, m.maintainers}} {
		switch name, mail := who[0], who[1]; {
		case name != "" && mail != "" && !strings.ContainsAny(mail, "<,"):
			return inventory.Clean(name + " <" + mail + ">")
		case name != "":
			return name
		case mail != "":
			return mail
		}
	}
	return ""
}

func (m *core) give(out extract.Output) error {
	p := inventory.Package{
		Type: inventory.PyPI, Name: normalise(m.name), Version: m.version,
		Licenses: m.licenses(), Supplier: m.supplier(),
	}
	m.set.Provide("pypi:" + m.site + ":" + keyName(m.name))
	m.set.Give(&p)
	m.set.Report(out, p.Name)
	return out.Package(&p)
}
