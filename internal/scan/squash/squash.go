// Package squash turns the fragments of an image's layers into the inventory
// of the image: what a container made from it would see.
//
// No file tree is built. Every package that was found is sorted on disk by its path, together with
// everything that could hide it, and one walk in path order with a stack of the current
// ancestors decides what is visible. Time in this walk is (layer, entry): what hides must be later than what
// it hides. The rules are those of the OCI image specification (layer.md,
// "Whiteouts", "Opaque Whiteout") and of what an unpacker does:
//
//   - a whiteout hides its path and all below it, in lower layers;
//   - an opaque directory hides all below it, in lower layers;
//   - an entry that is no directory hides what was earlier at its path and below;
//   - a directory hides a file that was earlier at its path, and nothing below.
//
// What could not be read is hidden like what could: a damaged database that a later layer replaced is no problem of the image.
//
// Of the entries, which can be millions, only those at or above a place where a package was found can hide one: a
// Bloom filter of fixed size lets those through, and some others, which do no harm.
//
// Memory is that of a few sorters and the filter, whatever the image.
package squash

import (
	"context"
	"fmt"
	"io"

	"stella/internal/extsort"
	"stella/internal/scan/fragment"
	"stella/internal/scan/inventory"
)

const (
	// sorterMemory is that of each sorter, in bytes. At most four are alive at once.
	sorterMemory = 1 << 20
	// maxReleases bounds os-release files: one for the image and one for each root inside it.
	maxReleases = 256
	// seqBits of a time are the entry, the rest is the layer.
	seqBits = 40
)

// Input is what to squash.
type Input struct {
	// Layers gives the fragments of a layer, all with the same entries: the
	// layer's own, and one more where links made it necessary to read the
	// layer again (only its packages count). The layer with index 0 is the base.
	Layers int
	Open   func(layer int) ([]fragment.Source, error)
	// Note is JSON that is kept with the inventory for the caller; at most some MiB.
	Note []byte
	// TempDir is for sorting and for the result.
	TempDir string
	// OnDisk, where set, is told of disk space taken and given back, in bytes.
	OnDisk func(int64)
}

// Run squashes. The inventory reads from files without a name until it is closed.
func Run(ctx context.Context, in Input) (*Inventory, error) {
	s := &squasher{ctx: ctx, in: in}
	defer s.close()
	inv, err := s.run()
	if err != nil {
		return nil, fmt.Errorf("squash: %w", err)
	}
	return inv, nil
}

type squasher struct {
	ctx      context.Context // one run only: every loop below looks at it
	in       Input
	sorters  []*extsort.Sorter
	filter   filter
	releases []rootRelease
	problems problems
	out      *writer
}

func (s *squasher) run() (*Inventory, error) {
	found := s.sorter()    // packages and what may hide them, by path
	releases := s.sorter() // the same for os-release files
	if err := s.collect(found, releases); err != nil {
		return nil, err
	}
	if err := s.collectHiders(found, releases); err != nil {
		return nil, err
	}
	if err := s.visible(releases, s.addRelease); err != nil {
		return nil, err
	}
	s.done(releases)
	s.sortReleases()

	var err error
	if s.out, err = newWriter(s.in.TempDir, s.in.OnDisk); err != nil {
		return nil, err
	}
	byPURL, refs := s.sorter(), s.sorter()
	if err := s.visible(found, func(path, value []byte) error { return s.addComponent(byPURL, path, value) }); err != nil {
		return nil, err
	}
	s.done(found)
	if err := s.writeComponents(byPURL, refs); err != nil {
		return nil, err
	}
	s.done(byPURL)
	if err := s.writeEdges(refs); err != nil {
		return nil, err
	}
	inv, err := s.out.finish(s.problems.list(), s.rootRelease(), s.in.Note)
	if err == nil {
		s.out = nil
	}
	return inv, err
}

func (s *squasher) sorter() *extsort.Sorter {
	x := extsort.New(s.in.TempDir, sorterMemory)
	x.OnDisk = s.in.OnDisk
	s.sorters = append(s.sorters, x)
	return x
}

func (s *squasher) done(x *extsort.Sorter) { x.Close() }

func (s *squasher) close() {
	for _, x := range s.sorters {
		x.Close()
	}
	if s.out != nil {
		s.out.close()
	}
}

// each reads records of all layers in order. The first fragment of a layer is its own.
func (s *squasher) each(parts fragment.Part, fn func(layer int, first bool, r *fragment.Record) error) error {
	var rec fragment.Record
	var r *fragment.Reader
	for layer := range s.in.Layers {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		sources, err := s.in.Open(layer)
		if err != nil {
			return err
		}
		for i, src := range sources {
			if r == nil {
				r = fragment.NewReader(src, parts)
			} else {
				r.Reset(src, parts)
			}
			err := s.eachOf(r, &rec, func() error { return fn(layer, i == 0, &rec) })
			if c, ok := src.(io.Closer); ok {
				c.Close()
			}
			if err != nil {
				closeAll(sources[i+1:])
				return fmt.Errorf("layer %d: %w", layer, err)
			}
		}
	}
	return nil
}

func closeAll(sources []fragment.Source) {
	for _, s := range sources {
		if c, ok := s.(io.Closer); ok {
			c.Close()
		}
	}
}

func (s *squasher) eachOf(r *fragment.Reader, rec *fragment.Record, fn func() error) error {
	for n := 0; ; n++ {
		switch err := r.Next(rec); {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		if n%(1<<14) == 0 && s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		if err := fn(); err != nil {
			return err
		}
	}
}

func at(layer int, seq uint64) uint64 { return uint64(layer)<<seqBits | seq&(1<<seqBits-1) }

func layerOf(time uint64) int { return int(time >> seqBits) }

// collect takes what was found, and fills the filter with the places where it may be hidden.
func (s *squasher) collect(found, releases *extsort.Sorter) error {
	var key, value []byte
	id := uint64(0)
	return s.each(fragment.Findings, func(layer int, _ bool, r *fragment.Record) error {
		switch r.Kind {
		case fragment.Package, fragment.Release, fragment.Problem:
			if r.Kind == fragment.Problem && len(r.Path) == 0 {
				s.problems.add(inventory.Problem{Layer: layer, Extractor: r.Extractor, Reason: r.Reason})
				return nil
			}
			key = appendPathKey(key[:0], r.Path)
			value = appendFound(value[:0], at(layer, r.Seq), id, r)
			s.filter.addWithAncestors(key)
			if r.Kind == fragment.Release {
				return releases.Add(key, value)
			}
			if r.Kind == fragment.Package {
				id++
			}
			return found.Add(key, value)
		}
		return nil
	})
}

// collectHiders takes every entry and whiteout that may hide something found.
func (s *squasher) collectHiders(found, releases *extsort.Sorter) error {
	var key, value []byte
	return s.each(fragment.Paths, func(layer int, first bool, r *fragment.Record) error {
		if !first {
			return nil
		}
		key = appendPathKey(key[:0], r.Path)
		if !s.filter.has(key) {
			return nil
		}
		value = appendHider(value[:0], at(layer, r.Seq), r.Kind)
		if err := releases.Add(key, value); err != nil {
			return err
		}
		return found.Add(key, value)
	})
}
