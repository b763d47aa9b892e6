package dpkg

import (
	"bytes"
	"fmt"
	"strings"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/pkgdb"
	"stella/internal/scan/inventory"
)

// maxList is how many bytes of a field that lists packages, folded lines included, are kept.
// It equals the longest line, as dpkg itself writes such a field in one line. Of other fields [inventory.MaxField] is kept.
const maxList = pkgdb.MaxLine

// maxAlternatives is the most alternatives of one dependency that are kept.
// Debian 12 has no more than 14 ("a | b | …").
const maxAlternatives = 64

// field is a field whose value is wanted.
type field int

const (
	none field = iota
	packageName
	version
	architecture
	status
	source
	maintainer
	depends
	preDepends
	provides
)

// fields are named without regard to case, says deb822(5).
var fields = []struct {
	name string
	id   field
}{
	{"Package", packageName},
	{"Version", version},
	{"Architecture", architecture},
	{"Status", status},
	{"Source", source},
	{"Maintainer", maintainer},
	{"Depends", depends},
	{"Pre-Depends", preDepends},
	{"Provides", provides},
}

// paragraph collects the paragraph that is being read.
type paragraph struct {
	rec    *pkgdb.Record
	single bool // the file lists installed packages only

	first  int    // number of its first line, 0 before it
	id     field  // field whose lines are being read
	value  []byte // its value so far
	cut    bool   // some wanted field was longer than what is kept
	status string // as stated
	arch   string
	source string // "name" or "name (version)"
}

// line takes one line that is not blank. Of a long line only the beginning is there.
func (p *paragraph) line(line []byte, number int, long bool) {
	if p.first == 0 {
		p.first = number
		p.rec.Reset()
	}
	if line[0] != ' ' && line[0] != '\t' {
		p.finish()
		p.id, line = named(line)
	}
	if p.id == none {
		return
	}
	if free := maxList - len(p.value); len(line) > free {
		line, long = line[:free], true
	}
	p.cut = p.cut || long
	p.value = append(p.value, line...)
}

// named says which wanted field a line begins, and what follows the colon.
func named(line []byte) (field, []byte) {
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return none, nil
	}
	for _, f := range fields {
		if len(f.name) == i && strings.EqualFold(f.name, string(line[:i])) {
			return f.id, line[i+1:]
		}
	}
	return none, nil
}

// finish puts the field that was read where it belongs.
func (p *paragraph) finish() {
	if p.id == none {
		return
	}
	value := bytes.TrimSpace(p.value)
	switch p.id {
	case depends, preDepends:
		p.requires(string(value))
	case provides:
		for item := range strings.SplitSeq(string(value), ",") {
			p.rec.Provide(bare(item))
		}
	default:
		if len(value) > inventory.MaxField {
			value, p.cut = value[:inventory.MaxField], true
		}
		*p.target() = inventory.Clean(string(value))
	}
	p.id, p.value = none, p.value[:0]
}

// target is where the value of a field that is not a list belongs.
func (p *paragraph) target() *string {
	switch p.id {
	case packageName:
		return &p.rec.Package.Name
	case version:
		return &p.rec.Package.Version
	case architecture:
		return &p.arch
	case status:
		return &p.status
	case source:
		return &p.source
	default:
		return &p.rec.Package.Supplier
	}
}

// end gives the package, where the paragraph is one, and begins anew.
func (p *paragraph) end(out extract.Output) error {
	if p.first == 0 {
		return nil
	}
	p.finish()
	err := p.emit(out, fmt.Sprintf("the paragraph at line %d", p.first))
	*p = paragraph{rec: p.rec, single: p.single, value: p.value[:0]}
	return err
}

func (p *paragraph) emit(out extract.Output, place string) error {
	pkg := &p.rec.Package
	if p.status == "" && !p.single {
		out.Partial(fmt.Sprintf("%s states no status of %q, which dpkg takes for not installed; it was left out", place, pkg.Name))
		return nil
	}
	if p.status != "" && !installed(p.status) {
		if !known(p.status) {
			out.Partial(fmt.Sprintf("%s, of %q, states %q, which is no status of dpkg's; it was left out", place, pkg.Name, p.status))
		}
		return nil
	}
	if p.cut {
		out.Partial(fmt.Sprintf("%s, of %q, has a field of more than %d KiB (%d KiB where it lists packages); its rest was left out",
			place, pkg.Name, inventory.MaxField>>10, maxList>>10))
	}
	p.rec.Qualify("arch", p.arch)
	p.rec.Qualify("upstream", upstream(p.source, pkg.Version))
	return p.rec.Emit(out, place)
}

// requires reads a list of dependencies: "a (>= 1) | b:any, c".
func (p *paragraph) requires(list string) {
	for item := range strings.SplitSeq(list, ",") {
		if !strings.Contains(item, "|") {
			p.rec.Require(bare(item))
			continue
		}
		var names []string
		for alternative := range strings.SplitSeq(item, "|") {
			if len(names) == maxAlternatives {
				p.rec.Left()
				break
			}
			names = append(names, bare(alternative))
		}
		p.rec.Require(names...)
	}
}

// bare is the name in "name:arch (>= version) [arch] <profile>".
func bare(item string) string {
	item = strings.TrimSpace(item)
	if i := strings.IndexAny(item, ":([< \t\r"); i >= 0 {
		item = item[:i]
	}
	return item
}

// known reports whether a Status field that is not that of an installed package is another of dpkg's.
func known(status string) bool {
	switch status[strings.LastIndexByte(status, ' ')+1:] {
	case "unpacked", "half-configured", "half-installed", "config-files", "not-installed":
		return true
	}
	return false
}

// installed reports whether a Status field ("want flag state", dpkg-query(1)) is that of an
// installed package. One that waits for a trigger, its own or another's, is unpacked and configured; what is
// "unpacked", "half-configured" or "half-installed" is not; "config-files" is what a removed one leaves.
func installed(status string) bool {
	i := strings.LastIndexByte(status, ' ')
	switch status[i+1:] {
	case "installed", "triggers-awaited", "triggers-pending":
		return true
	}
	return false
}

// upstream is the source package: "name", or "name@version" where the Source
// field states a version, which it does where that differs from the package's.
func upstream(source, version string) string {
	name, rest, _ := strings.Cut(source, "(")
	name = strings.TrimSpace(name)
	v, _, _ := strings.Cut(rest, ")")
	if v = strings.TrimSpace(v); v == "" || v == version || name == "" {
		return name
	}
	return name + "@" + v
}
