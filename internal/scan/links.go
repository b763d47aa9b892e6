package scan

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

	"stella/internal/scan/extract"
	"stella/internal/scan/fragment"
	"stella/internal/scan/image"
	"stella/internal/spool"
)

// In a layer the content of a file with several names stands under the first of
// them only. If an extractor wants one of the others (the store of pnpm links
// package.json to names of its own), then either the first name was wanted by it too, and
// what was found there is found here; or the layer is read once more.

const (
	// linkMemory bounds the links that are looked for in one reading, in bytes with what a map costs.
	linkMemory   = 512 << 10
	linkOverhead = 160
	// maxLinkPasses bounds how often a layer is read again: 8 passes are more
	// than ten thousand links whose content no extractor saw.
	maxLinkPasses = 8
)

// maxLinkHops bounds how often links to links are looked for: a chain whose
// links fit into one round takes one. Tools link to the first name always.
const maxLinkHops = 8

type link struct {
	seq       uint64
	path      string
	target    string
	extractor int
	mode      fs.FileMode
}

// linkHeader is the header of a name whose size stands with another name: it is not empty.
func linkHeader(path string, mode fs.FileMode) extract.Header {
	return extract.Header{Path: path, Size: 1, Mode: mode}
}

// linkMap is links by their target.
type linkMap map[string][]link

func byTarget(links []link) linkMap {
	m := make(linkMap, len(links))
	for _, k := range links {
		m[k.target] = append(m[k.target], k)
	}
	return m
}

// links makes the fragment of what the layer's hard links lead to.
func (e *engine) links(ctx context.Context, l *image.Layer, key string) error {
	return e.write(ctx, l, linkKey(key), func(p *pass) error {
		for done, passes := 0, 0; ; {
			links, next, err := e.gatherLinks(key, done)
			if err != nil {
				return err
			}
			known, unknown, err := p.sortLinks(key, links)
			if err != nil {
				return err
			}
			if err := p.copyLinks(key, known); err != nil {
				return err
			}
			if len(unknown) > 0 {
				if passes++; passes > maxLinkPasses {
					p.w.Problem("", "", fmt.Sprintf("hard links beyond the first %d were not followed: reading the layer more than %d times is not worth them", done, maxLinkPasses))
					next = 0
				} else if err := p.followLinks(unknown); err != nil {
					return err
				}
			}
			if next == 0 {
				_, err := p.w.Close(0, 0, 0)
				return err
			}
			done = next
		}
	})
}

func linkKey(key string) string { return key + "-links" }

// reread reads records of the layer's own fragment.
func (e *engine) reread(key string, parts fragment.Part, fn func(*fragment.Record) (bool, error)) error {
	src, _, ok := e.store.open(key)
	if !ok {
		return errGone
	}
	return reread(src, parts, fn)
}

// gatherLinks collects the wanted links from number skip on, as many as fit. next is where to go on, 0 at the end.
func (e *engine) gatherLinks(key string, skip int) (links []link, next int, err error) {
	memory, n := 0, 0
	err = e.reread(key, fragment.Findings, func(r *fragment.Record) (bool, error) {
		if r.Kind != fragment.Link || r.Extractor == "" {
			return true, nil
		}
		if n++; n <= skip {
			return true, nil
		}
		memory += len(r.Path) + len(r.Target) + linkOverhead
		if memory > linkMemory && n > skip+1 {
			next = n - 1
			return false, nil
		}
		links = append(links, link{r.Seq, string(r.Path), string(r.Target), e.extractorNamed(r.Extractor), r.Mode})
		return true, nil
	})
	return links, next, err
}

func (e *engine) extractorNamed(name string) int {
	return slices.IndexFunc(e.extractors, func(x extract.Extractor) bool { return x.Name() == name })
}

// sortLinks follows links to links, and tells those whose target the same
// extractor has read (known) from those whose target nobody has (unknown). What leads nowhere is a problem.
func (p *pass) sortLinks(key string, links []link) (known, unknown linkMap, err error) {
	for hop := 0; ; hop++ {
		m := byTarget(links)
		moved := map[string]string{}
		err := p.e.reread(key, fragment.Findings, func(r *fragment.Record) (bool, error) {
			if r.Kind == fragment.Link && m[string(r.Path)] != nil {
				moved[string(r.Path)] = string(r.Target)
			}
			return true, nil
		})
		if err != nil {
			return nil, nil, err
		}
		if len(moved) == 0 {
			break
		}
		kept := links[:0]
		for _, k := range links {
			to, ok := follow(moved, k.target)
			if !ok || hop == maxLinkHops && to != k.target {
				p.deadLink(k, "it is a hard link to a hard link and so on, or to itself")
				continue
			}
			k.target = to
			kept = append(kept, k)
		}
		links = kept
	}
	there := map[string]bool{}
	m := byTarget(links)
	err = p.e.reread(key, fragment.Paths, func(r *fragment.Record) (bool, error) {
		if r.Kind == fragment.File && m[string(r.Path)] != nil {
			there[string(r.Path)] = true
		}
		return true, nil
	})
	known, unknown = linkMap{}, linkMap{}
	for _, k := range links {
		switch {
		case !there[k.target]:
			p.deadLink(k, fmt.Sprintf("it is a hard link to %s, which is not in this layer", k.target))
		case p.e.wanted(linkHeader(k.target, k.mode)) == k.extractor:
			known[k.target] = append(known[k.target], k)
		default:
			unknown[k.target] = append(unknown[k.target], k)
		}
	}
	return known, unknown, err
}

// follow goes from link to link as far as moved knows, and leaves what it
// found there, so that a chain is gone along once. False is a circle.
func follow(moved map[string]string, from string) (to string, ok bool) {
	to = from
	for range len(moved) + 1 {
		next, more := moved[to]
		if !more {
			if from != to {
				moved[from] = to
			}
			return to, true
		}
		to = next
	}
	return to, false
}

func (p *pass) deadLink(k link, reason string) {
	p.w.ProblemAt(k.seq, k.path, p.e.extractors[k.extractor].Name(), reason)
}

// copyLinks records again, under the link's name, what was found under the first name.
func (p *pass) copyLinks(key string, known linkMap) error {
	if len(known) == 0 {
		return nil
	}
	return p.e.reread(key, fragment.Findings, func(r *fragment.Record) (bool, error) {
		if r.Kind == fragment.Package {
			for _, k := range known[string(r.Path)] {
				if p.e.extractors[k.extractor].Name() == r.Extractor {
					p.w.Copy(k.seq, k.path, r)
				}
			}
		}
		return true, p.w.Err()
	})
}

// followLinks reads the layer again for the content of the targets.
func (p *pass) followLinks(unknown linkMap) error {
	end, err := p.e.walk(p.ctx, p.layer, func(en entry, open content) error {
		p.act.entries.Add(1)
		ks := unknown[en.path]
		if len(ks) == 0 || !en.regular {
			return nil
		}
		delete(unknown, en.path) // of two entries of one name the links mean the one they follow; names are not repeated in practice
		return p.extractLinks(ks, en, open)
	}, func(string, string) {})
	if err != nil {
		return err
	}
	if end.damage != "" {
		return nil // the layer's own fragment says so
	}
	for _, t := range slices.Sorted(maps.Keys(unknown)) {
		for _, k := range unknown[t] {
			p.deadLink(k, fmt.Sprintf("it is a hard link to %s, which is no regular file", t))
		}
	}
	return p.w.Err()
}

func reader(b *spool.Buffer) content {
	return func() (io.Reader, func(), error) { return io.NewSectionReader(b, 0, b.Size()), func() {}, nil }
}

// extractLinks gives one content to several names.
func (p *pass) extractLinks(ks []link, en entry, open content) error {
	header := func(k link) extract.Header { return extract.Header{Path: k.path, Size: en.size, Mode: k.mode} }
	if len(ks) == 1 {
		return p.extract(ks[0].extractor, header(ks[0]), ks[0].path, ks[0].seq, open)
	}
	r, done, err := open()
	if err != nil {
		return err
	}
	defer done()
	b := p.e.space.New()
	defer b.Close()
	if err := b.ReadAll(r, min(en.size, extract.MaxSpool)); err != nil {
		for _, k := range ks {
			p.deadLink(k, err.Error())
		}
		return cmp.Or(p.e.space.Err(), p.w.Err())
	}
	for _, k := range ks {
		if err := p.extract(k.extractor, header(k), k.path, k.seq, reader(b)); err != nil {
			return err
		}
	}
	return nil
}
