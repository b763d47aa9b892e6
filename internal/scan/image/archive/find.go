package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

const (
	// maxKnown is how many members are remembered from the first pass. With
	// maxName this is at most 1 MiB, and it covers nearly every image in one pass.
	maxKnown = 2048
	// maxName is the longest name remembered or looked for, in bytes: a legacy
	// layer ("64 hex digits/layer.tar") and a SHA-512 blob are below 160.
	maxName = 256
	// maxLinks is how many links may lead from one to the next, as in Linux.
	maxLinks = 40

	sparse = "is stored as a sparse file; write the archive again without that"
)

// Member is a file in the archive.
type Member struct {
	// Name is the name in the archive, after following links.
	Name string
	// Size is in bytes.
	Size   int64
	offset int64
}

// entry is what a header says of one name.
type entry struct {
	offset, size int64
	link         string // what it leads to, clean; "" for a file
	problem      string // why it cannot be read
}

// index is the first pass.
func (a *Archive) index(ctx context.Context) error {
	a.known = make(map[string]entry)
	return a.scan(ctx, func(name string, e entry) {
		if _, ok := a.known[name]; !ok && (len(a.known) >= maxKnown || len(name) > maxName) {
			a.overflow = true
			return
		}
		a.known[name] = e
	})
}

// scan reads all headers, in order.
func (a *Archive) scan(ctx context.Context, visit func(name string, e entry)) error {
	file := newWindow(a.r, a.size)
	tr := tar.NewReader(file)
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		h, err := tr.Next()
		switch {
		case err == io.EOF:
			return nil
		case n == 0 && (errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF)):
			return ErrNotTar
		case err != nil:
			return fmt.Errorf("damaged or cut off after %d members: %w", n, err)
		}
		// archive/tar reads headers exactly, so that the file stands at the first byte of content.
		offset, err := file.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if e, ok := describe(h, offset); ok {
			visit(clean(h.Name), e)
		}
	}
}

// describe makes an entry of a header; directories and devices are none.
func describe(h *tar.Header, offset int64) (entry, bool) {
	e := entry{offset: offset, size: h.Size}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		for key := range h.PAXRecords {
			if strings.HasPrefix(key, "GNU.sparse.") {
				e.problem = sparse
			}
		}
		if h.Typeflag == tar.TypeGNUSparse {
			e.problem = sparse
		}
	case tar.TypeLink:
		e.link = clean(h.Linkname)
	case tar.TypeSymlink:
		target := path.Join(path.Dir(clean(h.Name)), h.Linkname)
		if path.IsAbs(h.Linkname) || target == ".." || strings.HasPrefix(target, "../") {
			e.problem = fmt.Sprintf("is a link to %.100q, which is outside of the archive", h.Linkname)
			break
		}
		e.link = clean(target)
	default:
		return entry{}, false
	}
	if len(e.link) > maxName {
		e.link, e.problem = "", fmt.Sprintf("is a link with a target of more than %d bytes", maxName)
	}
	return e, true
}

func clean(name string) string { return path.Clean("/" + name)[1:] }

// Find returns the members with the given names; those that are not in the
// archive are missing from the result. It makes at most one pass for each step
// of links, and none where the archive has few members.
func (a *Archive) Find(ctx context.Context, names []string) (map[string]Member, error) {
	found := make(map[string]Member, len(names))
	at := make(map[string]string, len(names)) // name asked for → name that it leads to so far
	for _, n := range names {
		at[n] = clean(n)
	}
	for range maxLinks {
		entries, err := a.lookup(ctx, at)
		if err != nil {
			return nil, err
		}
		for asked, name := range at {
			e, ok := entries[name]
			switch {
			case ok && e.problem != "":
				return nil, fmt.Errorf("member %q %s", name, e.problem)
			case ok && e.link != "":
				at[asked] = e.link
				continue
			case ok:
				found[asked] = Member{Name: name, Size: e.size, offset: e.offset}
			}
			delete(at, asked)
		}
		if len(at) == 0 {
			return found, nil
		}
	}
	for asked := range at {
		return nil, fmt.Errorf("member %q is a link that leads nowhere: more than %d links follow each other", asked, maxLinks)
	}
	return found, nil
}

// lookup gives the entries for the values of at, from memory or by one more pass.
func (a *Archive) lookup(ctx context.Context, at map[string]string) (map[string]entry, error) {
	entries := make(map[string]entry, len(at))
	missing := make(map[string]bool)
	for _, name := range at {
		if e, ok := a.known[name]; ok {
			entries[name] = e
		} else {
			missing[name] = true
		}
	}
	if len(missing) == 0 || !a.overflow {
		return entries, nil
	}
	err := a.scan(ctx, func(name string, e entry) {
		if missing[name] {
			entries[name] = e
		}
	})
	return entries, err
}

// Open returns the content of a member.
func (a *Archive) Open(m Member) *io.SectionReader {
	return io.NewSectionReader(a.r, m.offset, m.Size)
}

// Read returns a whole member of at most limit bytes; [ErrNoMember] where there is none.
func (a *Archive) Read(ctx context.Context, name string, limit int64) ([]byte, error) {
	found, err := a.Find(ctx, []string{name})
	if err != nil {
		return nil, err
	}
	m, ok := found[name]
	if !ok {
		return nil, fmt.Errorf("member %q: %w", name, ErrNoMember)
	}
	if m.Size > limit {
		return nil, fmt.Errorf("member %q has %d bytes, more than the %d allowed for it", name, m.Size, limit)
	}
	data := make([]byte, m.Size)
	if _, err := io.ReadFull(a.Open(m), data); err != nil {
		return nil, fmt.Errorf("member %q: %w", name, err)
	}
	return data, nil
}
