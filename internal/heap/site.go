package heap

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// MaxSites bounds the sites of a [Growth]; those that grew most are kept. Ten explain a program as a rule.
const MaxSites = 20

// maxStack bounds the frames of a site that are kept.
const maxStack = 64

// Growth is how what is in use grew between two profiles.
type Growth struct {
	From, To time.Time
	// Before and After are all that was in use, in bytes.
	Before, After int64
	// Sites are those that grew, the one that grew most first.
	Sites []Site
}

// Site is a place of the application that asks for memory.
type Site struct {
	Frame
	// Bytes are in use now, Grown more than before.
	Bytes, Grown int64
	// Share is what it is of the growth of all sites that grew, from 0 to 1.
	Share float64
	// Stack is the one that has the most of it now, the frame that allocates first.
	Stack []Frame
}

// place is what a site had.
type place struct {
	before, after int64
	largest       *stack
}

// Diff says what grew from one profile of a process to a later one. Sites that shrank are left out.
func Diff(before, after *Profile) Growth {
	g := Growth{From: before.Time, To: after.Time, Before: before.Total(), After: after.Total()}
	places := map[Frame]*place{}
	at := func(f Frame) *place {
		if places[f] == nil {
			places[f] = &place{}
		}
		return places[f]
	}
	for i := range before.stacks {
		at(before.site(&before.stacks[i])).before += before.stacks[i].bytes
	}
	for i := range after.stacks {
		s := &after.stacks[i]
		p := at(after.site(s))
		p.after += s.bytes
		if p.largest == nil || s.bytes > p.largest.bytes {
			p.largest = s
		}
	}
	var all int64
	for f, p := range places {
		if grown := p.after - p.before; grown > 0 {
			all += grown
			g.Sites = append(g.Sites, Site{Frame: f, Bytes: p.after, Grown: grown})
		}
	}
	slices.SortFunc(g.Sites, func(a, b Site) int {
		return cmp.Or(-cmp.Compare(a.Grown, b.Grown), cmp.Compare(a.Function, b.Function), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	g.Sites = g.Sites[:min(len(g.Sites), MaxSites)]
	for i := range g.Sites {
		s := &g.Sites[i]
		s.Share = float64(s.Grown) / float64(all)
		for f := range after.frames(places[s.Frame].largest) {
			if len(s.Stack) == maxStack {
				break
			}
			s.Stack = append(s.Stack, f)
		}
	}
	return g
}

// site is the frame of a stack that stands for it: the innermost one of the application, else of what is not the runtime, else the innermost one of all.
func (p *Profile) site(s *stack) Frame {
	var first, library *Frame
	for f := range p.frames(s) {
		switch pkg := packageOf(f.Function); {
		case !standard(pkg, f.File):
			return f
		case library == nil && pkg != "runtime" && !strings.HasPrefix(pkg, "runtime/"):
			library = &f
		case first == nil:
			first = &f
		}
	}
	if found := cmp.Or(library, first); found != nil {
		return *found
	}
	return Frame{Function: "(unknown)"}
}

// packageOf is the import path of a function's package: of "net/http.(*conn).serve" net/http. A dot behind the last slash ends it, as others are
// escaped there; what brackets have are type arguments.
func packageOf(name string) string {
	name, _, _ = strings.Cut(name, "[")
	slash := strings.LastIndexByte(name, '/') + 1
	if dot := strings.IndexByte(name[slash:], '.'); dot >= 0 {
		return name[:slash+dot]
	}
	return name
}

// standard reports whether a package is of the standard library: its first word is one of its, and its files are where those are, also with -trimpath.
func standard(pkg, file string) bool {
	first, _, _ := strings.Cut(pkg, "/")
	if !firsts[first] {
		return false
	}
	return file == "" || strings.HasPrefix(file, pkg+"/") || strings.Contains(file, "/src/"+pkg+"/")
}

// firsts are the first words of the packages of Go 1.26 (go list std). main is none of them.
var firsts = func() map[string]bool {
	words := map[string]bool{}
	for word := range strings.FieldsSeq(`archive bufio bytes cmp compress container context crypto database debug embed encoding errors expvar flag fmt go hash html
		image index internal io iter log maps math mime net os path plugin reflect regexp runtime slices sort strconv strings structs sync syscall testing
		text time unicode unique unsafe vendor weak`) {
		words[word] = true
	}
	return words
}()
