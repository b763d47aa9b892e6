package pkgdb

import (
	"fmt"
	"slices"

	"stella/internal/scan/extract"
	"stella/internal/scan/inventory"
)

// maxKeys is how many bytes the dependency keys of one package may take,
// overhead included. The richest package of Debian 12, librust-winapi-dev, takes about 110 KiB.
const maxKeys = 256 << 10

// maxName is the most bytes of one key. Real ones stay below 200.
const maxName = inventory.MaxField

// keyOverhead is what a key costs beyond its bytes: a string header, and the slice header of a [inventory.Requirement].
const keyOverhead = 16 + 24

// Record builds one package after another, using its slices again. Its
// methods bound and clean what goes into them.
type Record struct {
	Package inventory.Package

	prefix string
	bytes  int
	left   int // keys that were left out
}

// NewRecord makes a record for packages of type t below root (see [Root]).
func NewRecord(t inventory.Type, root string) *Record {
	r := &Record{prefix: string(t) + ":"}
	if root != "" {
		r.prefix = inventory.Clean(r.prefix + "/" + root + ":")
	}
	r.Package.Type = t
	return r
}

// Reset starts the next package.
func (r *Record) Reset() {
	p := &r.Package
	clear(p.Provides)
	clear(p.Requires)
	*p = inventory.Package{
		Type:       p.Type,
		Qualifiers: p.Qualifiers[:0],
		Licenses:   p.Licenses[:0],
		Provides:   p.Provides[:0],
		Requires:   p.Requires[:0],
	}
	r.bytes, r.left = 0, 0
}

// Qualify adds a package URL qualifier, unless value is empty.
func (r *Record) Qualify(key, value string) {
	if value = inventory.Clean(value); value != "" {
		r.Package.Qualifiers = append(r.Package.Qualifiers, inventory.Qualifier{Key: key, Value: value})
	}
}

// License adds a licence statement, unless it is empty.
func (r *Record) License(s string) {
	if s = inventory.Clean(s); s != "" && r.account(len(s)) {
		r.Package.Licenses = append(r.Package.Licenses, s)
	}
}

// Provide adds a name under which the package can be required, besides its
// own, which Emit adds.
func (r *Record) Provide(name string) {
	key, ok := r.key(name)
	if !ok {
		return
	}
	// rpm states a name once for every version, one after another.
	if p := r.Package.Provides; len(p) > 0 && p[len(p)-1] == key {
		return
	}
	r.Package.Provides = append(r.Package.Provides, key)
}

// Require adds a dependency: the first of names that something provides.
func (r *Record) Require(names ...string) {
	q := make(inventory.Requirement, 0, len(names))
	for _, n := range names {
		if key, ok := r.key(n); ok {
			q = append(q, key)
		}
	}
	if len(q) == 0 {
		return
	}
	// rpm states a name once for every version bound, one after another.
	if n := len(r.Package.Requires); n > 0 && len(q) == 1 {
		if last := r.Package.Requires[n-1]; len(last) == 1 && last[0] == q[0] {
			return
		}
	}
	r.Package.Requires = append(r.Package.Requires, q)
}

// Left counts a dependency that the caller could not read.
func (r *Record) Left() { r.left++ }

func (r *Record) key(name string) (string, bool) {
	if name == "" || !r.account(len(r.prefix)+len(name)) {
		return "", false
	}
	return r.prefix + inventory.Clean(name), true
}

// account takes n bytes from the allowance of the package, or counts what does not fit.
func (r *Record) account(n int) bool {
	if r.bytes+n+keyOverhead > maxKeys || n > maxName {
		r.left++
		return false
	}
	r.bytes += n + keyOverhead
	return true
}

// Emit gives the package to out. place says where in the file it stands, for
// example "the paragraph at line 12", and begins the sentence about whatever is wrong with
// it: a package without a name or version is not one that can be listed.
func (r *Record) Emit(out extract.Output, place string) error {
	p := &r.Package
	p.Name, p.Version, p.Supplier = inventory.Clean(p.Name), inventory.Clean(p.Version), inventory.Clean(p.Supplier)
	switch {
	case p.Name == "":
		out.Partial(place + " names no package; it was left out")
		return nil
	case p.Version == "":
		out.Partial(fmt.Sprintf("%s states no version of %s; it was left out", place, p.Name))
		return nil
	}
	// The own name counts always, whatever else was left out. Many formats state it among the others.
	if own := r.prefix + p.Name; len(own) <= maxName && !slices.Contains(p.Provides, own) {
		p.Provides = append(p.Provides, own)
	}
	if r.left > 0 {
		out.Partial(fmt.Sprintf("%s: %d of the licences and dependencies of %s were left out: more than %d KiB for one package, or one longer than %d bytes",
			place, r.left, p.Name, maxKeys>>10, maxName))
	}
	return out.Package(p)
}
