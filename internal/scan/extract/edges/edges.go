// Package edges collects the dependency keys of one package while it is read,
// within a fixed number of bytes.
//
// A manifest can name a million dependencies. Beyond [MaxBytes] a [Set] only
// counts, and [Set.Report] says how many were left out.
package edges

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"stella/internal/scan/extract"
	"stella/internal/scan/inventory"
)

// MaxBytes is the most memory, in bytes, of the keys of one package: a quarter
// of an extractor's budget, and about 2,000 dependencies.
const MaxBytes = 256 << 10

// overhead is what a key costs beyond its bytes: its header and its share of slices that grew.
const overhead = 64

// Set is the keys of one package. The zero value is empty.
type Set struct {
	provides []string
	requires []inventory.Requirement
	bytes    int
	dropped  int
}

// Provide adds a key under which the package can be required.
func (s *Set) Provide(key string) {
	if s.fits(len(key)) {
		s.provides = append(s.provides, inventory.Clean(key))
	}
}

// Require adds a dependency that the first provided one of keys satisfies.
func (s *Set) Require(keys ...string) {
	size := overhead
	for _, k := range keys {
		size += len(k) + overhead
	}
	if len(keys) == 0 || !s.fits(size) {
		return
	}
	r := make(inventory.Requirement, len(keys))
	for i, k := range keys {
		r[i] = inventory.Clean(k)
	}
	s.requires = append(s.requires, r)
}

// Reject reports whether something did not fit before, and then counts one
// dependency more as left out: its keys need not be made.
func (s *Set) Reject() bool {
	if s.dropped > 0 {
		s.dropped++
	}
	return s.dropped > 0
}

func (s *Set) fits(size int) bool {
	if s.Reject() {
		return false
	}
	if s.bytes+size+overhead > MaxBytes {
		s.dropped++
		return false
	}
	s.bytes += size + overhead
	return true
}

// Give sets the keys of p. They are valid until Reset.
func (s *Set) Give(p *inventory.Package) { p.Provides, p.Requires = s.provides, s.requires }

// Report tells out what was left out of the package called name, if anything.
func (s *Set) Report(out extract.Output, name string) {
	if s.dropped > 0 {
		out.Partial(fmt.Sprintf("%d dependencies of %.100s are left out: those before them take %d KiB, which is all that is kept of one package", s.dropped, name, MaxBytes>>10))
	}
}

// Reset empties the set for another package.
func (s *Set) Reset() {
	clear(s.requires) // lets the keys go
	clear(s.provides)
	s.provides, s.requires, s.bytes, s.dropped = s.provides[:0], s.requires[:0], 0, 0
}

// Scope is path as a part of keys: path itself, or its hash where it is so
// long that it would use up the set. Different paths have different scopes.
func Scope(path string) string {
	if len(path) <= 256 && inventory.Clean(path) == path {
		return path
	}
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:16])
}
