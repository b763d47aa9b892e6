package explain

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"
)

// Heap is how the heap in use of a program grew between two profiles of one life.
type Heap struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Before and After are all that was in use, in bytes.
	Before int64 `json:"before"`
	After  int64 `json:"after"`
	// Sites are the places that allocated what grew, the one that grew most first.
	Sites []HeapSite `json:"sites"`
}

// HeapSite is a place of the application that allocates.
type HeapSite struct {
	Function string `json:"function"`
	File     string `json:"file,omitempty"`
	Line     int64  `json:"line,omitempty"`
	// Bytes of it are in use, Grown more than before.
	Bytes int64 `json:"bytes"`
	Grown int64 `json:"grown"`
	// Share is what it is of the growth of all, from 0 to 1.
	Share float64 `json:"share"`
}

// maxSites bounds the sites that are looked at.
const maxSites = 20

// cleanHeap leaves what can be, in order.
func (v *view) cleanHeap(in *Heap) *Heap {
	if in == nil || !v.known(in.From) || !v.known(in.To) || !in.From.Before(in.To) || min(in.Before, in.After) < 0 || max(in.Before, in.After) > maxBytes {
		return nil
	}
	h := *in
	h.Sites = slices.DeleteFunc(sorted(in.Sites, compareSites), func(s HeapSite) bool {
		return s.Grown <= 0 || s.Bytes < s.Grown || s.Bytes > maxBytes || math.IsNaN(s.Share) || s.Share < 0 || s.Share > 1
	})
	h.Sites = h.Sites[:min(len(h.Sites), maxSites)]
	return &h
}

// compareSites has the one that grew most first.
func compareSites(a, b HeapSite) int {
	return cmp.Or(-cmp.Compare(a.Grown, b.Grown), strings.Compare(a.Function, b.Function), strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
		cmp.Compare(a.Bytes, b.Bytes), cmp.Compare(a.Share, b.Share))
}

// heapGrew adds what the heap says of a claim of growth. What is in use there was not collected: it is no tooth of the collector's.
func (v *view) heapGrew(c *claim) {
	h := v.heap
	if h == nil || len(h.Sites) == 0 || float64(h.After-h.Before) < muchGrowth*v.scale {
		return
	}
	first := &h.Sites[0]
	e := fact("The heap in use grew by %s, which no collection took back; %s of what grew was allocated by %s.", size(float64(h.After-h.Before)), percent(first.Share), first.Function)
	e.From, e.To = h.From, h.To
	c.pro(hint, e)
}

// grows reports whether its memory grows at all.
func (v *view) grows() bool {
	l, g := v.growing()
	return l != nil && g.real(v.scale)
}
