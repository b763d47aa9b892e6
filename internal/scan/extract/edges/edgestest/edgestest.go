// Package edgestest helps to test extractors that give dependencies: [Graph]
// resolves keys as the squash does, [Repeat] makes large inputs on the fly.
package edgestest

import (
	"fmt"
	"io"
	"slices"

	"stella/internal/scan/inventory"
)

// ID is a package as tests write it: "namespace/name@version".
func ID(p inventory.Package) string {
	if p.Namespace != "" {
		return p.Namespace + "/" + p.Name + "@" + p.Version
	}
	return p.Name + "@" + p.Version
}

// Graph returns the IDs of packages, and the dependencies between them as
// "from > to", both sorted and without repeats.
func Graph(packages []inventory.Package) (ids, edges []string) {
	by := map[string]string{}
	for _, p := range packages {
		ids = append(ids, ID(p))
		for _, k := range p.Provides {
			by[k] = ID(p)
		}
	}
	for _, p := range packages {
		for _, r := range p.Requires {
			if i := slices.IndexFunc(r, func(k string) bool { return by[k] != "" }); i >= 0 {
				edges = append(edges, ID(p)+" > "+by[r[i]])
			}
		}
	}
	return Sorted(ids), Sorted(edges)
}

// Sorted sorts s and drops repeats.
func Sorted(s []string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}

// Numbered makes texts from a format with one %d.
func Numbered(format string) func(i int) string {
	return func(i int) string { return fmt.Sprintf(format, i) }
}

// Repeat yields head, then n texts that each makes, then tail.
func Repeat(head, tail string, n int, each func(i int) string) io.Reader {
	return &repeat{rest: head, tail: tail, n: n, each: each}
}

type repeat struct {
	rest, tail string
	i, n       int
	each       func(i int) string
}

func (r *repeat) Read(p []byte) (int, error) {
	for r.rest == "" {
		switch {
		case r.i < r.n:
			r.rest = r.each(r.i)
		case r.i == r.n:
			r.rest = r.tail
		default:
			return 0, io.EOF
		}
		r.i++
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
