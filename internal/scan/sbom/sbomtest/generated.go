package sbomtest

import (
	"iter"
	"strconv"

	"stella/internal/scan/inventory"
)

// Generated is an inventory of N components that takes no memory: each is made
// when it is asked for. Each has two locations, a licence, a supplier, and
// depends on the one after it; one in ten has a licence statement of its own.
type Generated struct{ N int }

// name and ref are put together by hand, because the time they take is measured
// with the time of writing.
func name(i int) string { return "package-" + strconv.Itoa(100_000_000+i) }

func ref(name string) string { return "pkg:npm/%40scope/" + name + "@1.2.3" }

// Components yields the components.
func (g Generated) Components() iter.Seq2[*inventory.Component, error] {
	return func(yield func(*inventory.Component, error) bool) {
		var c inventory.Component
		licenses := []string{"MIT"}
		c.Licenses, c.LocationCount = licenses, 2
		c.Type, c.Namespace, c.Version, c.Supplier = inventory.NPM, "@scope", "1.2.3", "Ann Author <ann@mail.example>"
		c.Locations = func(yield func(inventory.Location, error) bool) {
			path := "app/node_modules/@scope/" + c.Name + "/package.json"
			l := inventory.Location{Layer: 0, Path: path, Extractor: "npm"}
			if yield(l, nil) {
				l.Layer = 1
				yield(l, nil)
			}
		}
		for i := range g.N {
			c.Name = name(i)
			c.Ref = ref(c.Name)
			c.PURL = c.Ref
			licenses[0] = "MIT"
			if i%10 == 0 {
				licenses[0] = "my own licence for " + c.Name
			}
			if !yield(&c, nil) {
				return
			}
		}
	}
}

// Edges yields the edges.
func (g Generated) Edges() iter.Seq2[inventory.Edge, error] {
	return func(yield func(inventory.Edge, error) bool) {
		from := ref(name(0))
		for i := range g.N - 1 {
			to := ref(name(i + 1))
			if !yield(inventory.Edge{From: from, To: to}, nil) {
				return
			}
			from = to
		}
	}
}

// Problems returns none.
func (g Generated) Problems() []inventory.Problem { return nil }

// Release returns none.
func (g Generated) Release() *inventory.Release { return nil }

// Count is N npm packages.
func (g Generated) Count() map[inventory.Type]int { return map[inventory.Type]int{inventory.NPM: g.N} }
