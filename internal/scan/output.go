package scan

import (
	"errors"
	"fmt"

	"stella/internal/scan/fragment"
	"stella/internal/scan/inventory"
)

// maxPartial is how many reasons one file may give; a database in which every
// record is damaged is one problem, not a million.
const maxPartial = 20

// output writes what one file yields into a fragment. It implements extract.Output.
type output struct {
	w         *fragment.Writer
	seq       uint64
	path      string
	extractor string
	packages  int64
	partial   int
}

func (o *output) begin(seq uint64, path, extractor string) {
	o.seq, o.path, o.extractor, o.packages, o.partial = seq, path, extractor, 0, 0
}

func (o *output) end() {
	if more := o.partial - maxPartial; more > 0 {
		o.w.ProblemAt(o.seq, o.path, o.extractor, fmt.Sprintf("%d more places in this file could not be read", more))
	}
}

func (o *output) Package(p *inventory.Package) error { return o.PackageAt("", p) }

func (o *output) PackageAt(member string, p *inventory.Package) error {
	if len(member) > fragment.MaxPath {
		member = member[:fragment.MaxPath]
	}
	err := o.w.Package(o.seq, o.path, member, o.extractor, p)
	if errors.Is(err, fragment.ErrTooLarge) {
		o.Partial(fmt.Sprintf("%s %s: its licences and qualifiers are too many to keep and were left out", p.Name, p.Version))
		bare := *p
		bare.Licenses, bare.Qualifiers = nil, nil
		err = o.w.Package(o.seq, o.path, member, o.extractor, &bare)
	}
	if errors.Is(err, fragment.ErrTooLarge) { // five fields of 4 KiB each
		o.Partial(fmt.Sprintf("a package with a name of %d bytes was left out", len(p.Namespace)+len(p.Name)))
		return nil
	}
	o.packages++
	return err
}

func (o *output) Release(r *inventory.Release) error {
	o.w.Release(o.seq, o.path, r)
	return o.w.Err()
}

func (o *output) Partial(reason string) {
	if o.partial++; o.partial <= maxPartial {
		o.w.ProblemAt(o.seq, o.path, o.extractor, reason)
	}
}
