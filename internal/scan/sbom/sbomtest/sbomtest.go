// Package sbomtest has inventories to write documents from: a small one that is
// as ugly as images get, and a generated one of any size.
//
// Both keep to the contract of [inventory.Inventory] and hold their readers to
// it: a component is reused for the next one, and locations that are read late are an error.
package sbomtest

import (
	"errors"
	"iter"
	"slices"
	"strings"

	"stella/internal/scan/inventory"
)

// Item is one component and its locations.
type Item struct {
	inventory.Package
	Ref, PURL string
	Locations []inventory.Location
}

// Inventory is an inventory in memory.
type Inventory struct {
	items    []Item
	edges    []inventory.Edge
	problems []inventory.Problem
	release  *inventory.Release
	fail     error
}

// New makes an inventory and puts items and edges in their order.
func New(items []Item, edges []inventory.Edge, problems []inventory.Problem, release *inventory.Release) *Inventory {
	v := &Inventory{items: slices.Clone(items), edges: slices.Clone(edges), problems: problems, release: release}
	slices.SortFunc(v.items, func(a, b Item) int { return strings.Compare(a.Ref, b.Ref) })
	slices.SortFunc(v.edges, func(a, b inventory.Edge) int {
		if c := strings.Compare(a.From, b.From); c != 0 {
			return c
		}
		return strings.Compare(a.To, b.To)
	})
	return v
}

// Failing is the inventory, but after its last component and its last edge comes err.
func (v *Inventory) Failing(err error) *Inventory {
	w := *v
	w.fail = err
	return &w
}

// Items are the components in their order.
func (v *Inventory) Items() []Item { return v.items }

var errLate = errors.New("sbomtest: locations were read after the next component was asked for, or twice")

// Components yields one component again and again, with other values.
func (v *Inventory) Components() iter.Seq2[*inventory.Component, error] {
	return func(yield func(*inventory.Component, error) bool) {
		var c inventory.Component
		for i := range v.items {
			item := &v.items[i]
			c = inventory.Component{Package: item.Package, Ref: item.Ref, PURL: item.PURL, LocationCount: len(item.Locations)}
			open := true
			c.Locations = func(yield func(inventory.Location, error) bool) {
				if !open {
					yield(inventory.Location{}, errLate)
					return
				}
				open = false
				for _, l := range item.Locations {
					if !yield(l, nil) {
						return
					}
				}
			}
			if !yield(&c, nil) {
				return
			}
			open = false
		}
		if v.fail != nil {
			yield(nil, v.fail)
		}
	}
}

// Edges yields the edges.
func (v *Inventory) Edges() iter.Seq2[inventory.Edge, error] {
	return func(yield func(inventory.Edge, error) bool) {
		for _, e := range v.edges {
			if !yield(e, nil) {
				return
			}
		}
		if v.fail != nil {
			yield(inventory.Edge{}, v.fail)
		}
	}
}

// Problems returns the problems.
func (v *Inventory) Problems() []inventory.Problem { return v.problems }

// Release returns the release.
func (v *Inventory) Release() *inventory.Release { return v.release }

// Count counts the components.
func (v *Inventory) Count() map[inventory.Type]int {
	count := map[inventory.Type]int{}
	for _, i := range v.items {
		count[i.Type]++
	}
	return count
}
