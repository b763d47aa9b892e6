package squash

import (
	"bytes"
	"encoding/binary"

	"stella/internal/extsort"
	"stella/internal/scan/fragment"
	"stella/internal/scan/inventory"
)

// addComponent takes one visible package, now that its distribution is known, to be sorted by package URL.
func (s *squasher) addComponent(byPURL *extsort.Sorter, key, value []byte) error {
	f, err := parseFound(value)
	if err != nil {
		return err
	}
	path := pathOf(key)
	if f.kind == fragment.Problem {
		s.problems.add(inventory.Problem{Layer: layerOf(f.time), Path: path, Extractor: f.extractor, Reason: string(f.encoded)})
		return nil
	}
	p, err := fragment.Decode(f.encoded)
	if err != nil {
		return err
	}
	applyRelease(&p, s.releaseFor(path))
	u := purl(&p)
	if f.member != "" {
		path += "!/" + f.member
	}
	// The value sorts by layer, then path, then the package found first.
	v := binary.BigEndian.AppendUint32(nil, uint32(layerOf(f.time)))
	v = append(append(v, path...), 0)
	v = binary.BigEndian.AppendUint64(v, f.id)
	v = appendString(v, f.extractor)
	if v, err = fragment.Encode(v, &p); err != nil {
		return err
	}
	return byPURL.Add([]byte(u), v)
}

// place is the value that addComponent made.
type place struct {
	inventory.Location
	id      uint64
	encoded []byte
}

func parsePlace(v []byte) (p place, err error) {
	if len(v) < 4 {
		return p, errRecord
	}
	p.Layer = int(binary.BigEndian.Uint32(v))
	n := bytes.IndexByte(v[4:], 0)
	if n < 0 || len(v) < 4+n+1+8 {
		return p, errRecord
	}
	p.Path = string(v[4 : 4+n])
	v = v[4+n+1:]
	p.id = binary.BigEndian.Uint64(v)
	p.Extractor, p.encoded, err = cutString(v[8:])
	return p, err
}

// writeComponents makes one component of all packages with the same package
// URL. What one place leaves open (licences, supplier) is taken from the first that states it. refs gets the
// reference of every package, by its number.
func (s *squasher) writeComponents(byPURL, refs *extsort.Sorter) error {
	var (
		ref  string
		open bool
		c    inventory.Package
		last inventory.Location
		id   [8]byte
	)
	flush := func() error {
		if !open {
			return nil
		}
		return s.out.component(ref, &c)
	}
	err := byPURL.Each(func(key, value []byte) error {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		pl, err := parsePlace(value)
		if err != nil {
			return err
		}
		p, err := fragment.Decode(pl.encoded)
		if err != nil {
			return err
		}
		if !open || ref != string(key) {
			if err := flush(); err != nil {
				return err
			}
			ref, c, open, last = string(key), p, true, inventory.Location{Layer: -1}
		} else {
			complete(&c, &p)
		}
		binary.BigEndian.PutUint64(id[:], pl.id)
		if err := refs.Add(id[:], key); err != nil {
			return err
		}
		if pl.Location == last { // two extractors' records, or one file's two statements, of one package
			return nil
		}
		last = pl.Location
		return s.out.location(pl.Location)
	})
	if err != nil {
		return err
	}
	return flush()
}

func complete(c, p *inventory.Package) {
	if len(c.Licenses) == 0 {
		c.Licenses = p.Licenses
	}
	if c.Supplier == "" {
		c.Supplier = p.Supplier
	}
	c.Declared = c.Declared && p.Declared
}
