package squash

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"stella/internal/extsort"
	"stella/internal/scan/fragment"
)

// Dependencies are resolved by sorting, too. Every provided and every required key of a
// visible package is sorted by key, providers first; where a requirement
// meets a provider, the pair goes to a second sorter, by requirement and
// place among its alternatives, of which the first that was met is kept; a third puts the edges in order.

const (
	provider = 0
	requirer = 1
)

func (s *squasher) writeEdges(refs *extsort.Sorter) error {
	keys := s.sorter()
	if err := s.collectKeys(refs, keys); err != nil {
		return err
	}
	s.done(refs)
	met := s.sorter()
	if err := s.meet(keys, met); err != nil {
		return err
	}
	s.done(keys)
	edges := s.sorter()
	if err := firstAlternative(met, edges); err != nil {
		return err
	}
	s.done(met)
	var lastFrom, lastTo []byte
	return edges.Each(func(from, to []byte) error {
		if bytes.Equal(from, lastFrom) && bytes.Equal(to, lastTo) {
			return nil
		}
		lastFrom, lastTo = append(lastFrom[:0], from...), append(lastTo[:0], to...)
		return s.out.edge(from, to)
	})
}

// errStop ends an iteration whose rest is not needed.
var errStop = errors.New("stop")

// collectKeys walks refs (by package number) and the fragments (in which packages have ascending
// numbers) side by side.
func (s *squasher) collectKeys(refs, keys *extsort.Sorter) error {
	type packageKeys struct {
		id   uint64
		ref  []byte
		live bool
	}
	next, stop := pull(refs)
	defer stop()
	wantID, wantRef, ok, err := next()
	if err != nil {
		return err
	}
	var cur packageKeys
	id, requirement := uint64(0), uint32(0)
	var value []byte
	err = s.each(fragment.Findings, func(_ int, _ bool, r *fragment.Record) error {
		switch r.Kind {
		case fragment.Package:
			cur = packageKeys{id: id}
			for ok && wantID < id {
				if wantID, wantRef, ok, err = next(); err != nil {
					return err
				}
			}
			if ok && wantID == id {
				cur.live, cur.ref = true, wantRef
			}
			id++
			requirement = 0
		case fragment.Provides:
			if cur.live && len(r.Keys) == 1 {
				value = append(append(value[:0], provider), cur.ref...)
				return keys.Add([]byte(r.Keys[0]), value)
			}
		case fragment.Requires:
			if !cur.live {
				return nil
			}
			for i, k := range r.Keys {
				value = binary.BigEndian.AppendUint64(append(value[:0], requirer), cur.id)
				value = binary.BigEndian.AppendUint32(value, requirement)
				value = append(append(value, byte(i)), cur.ref...)
				if err := keys.Add([]byte(k), value); err != nil {
					return err
				}
			}
			requirement++
		}
		return nil
	})
	return err
}

// pull turns the sorter's pushing into pulling, with one goroutine that ends
// with stop or with the records.
func pull(x *extsort.Sorter) (next func() (uint64, []byte, bool, error), stop func()) {
	type item struct {
		id  uint64
		ref []byte
	}
	items, quit, done := make(chan item, 64), make(chan struct{}), make(chan error, 1)
	go func() {
		err := x.Each(func(k, v []byte) error {
			select {
			case items <- item{binary.BigEndian.Uint64(k), bytes.Clone(v)}:
				return nil
			case <-quit:
				return errStop
			}
		})
		done <- err
		close(items)
	}()
	next = func() (uint64, []byte, bool, error) {
		it, ok := <-items
		if !ok {
			err := <-done
			done <- err
			return 0, nil, false, err
		}
		return it.id, it.ref, true, nil
	}
	return next, func() {
		close(quit)
		for range items { // until the goroutine has closed it
		}
	}
}

// meet pairs every requirement with the provider of its key. Of several
// providers the one with the smallest reference is taken, so that the result does not depend on chance.
func (s *squasher) meet(keys, met *extsort.Sorter) error {
	var key, to []byte
	has := false
	return keys.Each(func(k, v []byte) error {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		if !bytes.Equal(k, key) {
			key, has = append(key[:0], k...), false
		}
		if v[0] == provider {
			if !has {
				to, has = append(to[:0], v[1:]...), true
			}
			return nil
		}
		if !has {
			return nil
		}
		if len(v) < 14 {
			return fmt.Errorf("edges: %w", errRecord)
		}
		// requirement, alternative → from NUL to
		return met.Add(v[1:14], append(append(bytes.Clone(v[14:]), 0), to...))
	})
}

func firstAlternative(met, edges *extsort.Sorter) error {
	var last [12]byte
	first := true
	return met.Each(func(k, v []byte) error {
		if !first && bytes.Equal(k[:12], last[:]) {
			return nil
		}
		first = false
		copy(last[:], k)
		from, to, _ := bytes.Cut(v, []byte{0})
		if bytes.Equal(from, to) {
			return nil
		}
		return edges.Add(from, to)
	})
}
