package scan

import (
	"context"
	"fmt"
	"io"
	"io/fs"
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

type link struct {
	seq       uint64
	path      string
	extractor int
	mode      fs.FileMode
}

// links makes the fragment of what the layer's hard links lead to.
func (e *engine) links(ctx context.Context, l *image.Layer, key string) error {
	return e.write(ctx, l, linkKey(key), func(p *pass) error {
		for done, passes := 0, 0; ; {
			known, unknown, next, err := e.gatherLinks(key, done)
			if err != nil {
				return err
			}
			if err := e.copyLinks(p, key, known); err != nil {
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

type linkMap map[string][]link

// gatherLinks collects the links from number skip on, as many as fit, by their target: known are those
// whose target the same extractor has read. next is where to go on, 0 at the end.
func (e *engine) gatherLinks(key string, skip int) (known, unknown linkMap, next int, err error) {
	known, unknown = linkMap{}, linkMap{}
	src, _, ok := e.store.open(key)
	if !ok {
		return nil, nil, 0, errGone
	}
	memory, n := 0, 0
	err = reread(src, fragment.Findings, func(r *fragment.Record) (bool, error) {
		if r.Kind != fragment.Link {
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
		k := link{r.Seq, string(r.Path), e.extractorNamed(r.Extractor), r.Mode}
		m := unknown
		if e.wanted(extract.Header{Path: string(r.Target), Mode: r.Mode}) == k.extractor {
			m = known
		}
		m[string(r.Target)] = append(m[string(r.Target)], k)
		return true, nil
	})
	return known, unknown, next, err
}

func (e *engine) extractorNamed(name string) int {
	return slices.IndexFunc(e.extractors, func(x extract.Extractor) bool { return x.Name() == name })
}

// copyLinks records again, under the link's name, what was found under the first name.
func (e *engine) copyLinks(p *pass, key string, known linkMap) error {
	if len(known) == 0 {
		return nil
	}
	src, _, ok := e.store.open(key)
	if !ok {
		return errGone
	}
	return reread(src, fragment.Findings, func(r *fragment.Record) (bool, error) {
		if r.Kind == fragment.Package {
			for _, k := range known[string(r.Path)] {
				if e.extractors[k.extractor].Name() == r.Extractor {
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
	targets := make([]string, 0, len(unknown))
	for t := range unknown {
		targets = append(targets, t)
	}
	slices.Sort(targets)
	for _, t := range targets {
		for _, k := range unknown[t] {
			p.w.ProblemAt(k.seq, k.path, p.e.extractors[k.extractor].Name(), fmt.Sprintf("it is a hard link to %s, which is not in this layer", t))
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
	if err := b.ReadAll(r, en.size); err != nil {
		p.w.ProblemAt(ks[0].seq, ks[0].path, p.e.extractors[ks[0].extractor].Name(), err.Error())
		return p.w.Err()
	}
	for _, k := range ks {
		if err := p.extract(k.extractor, header(k), k.path, k.seq, reader(b)); err != nil {
			return err
		}
	}
	return nil
}
