package tarstream

import (
	"fmt"
	"io"
)

// MaxFragments bounds the map of a sparse file: 16 bytes each, half a MiB in
// all. archive/tar has a limit of its own (a MiB of map), which comes to about twice as many.
const MaxFragments = 32 << 10

// keepFragments is up to what capacity a map's memory is used again.
const keepFragments = 64

// fragment is a piece of a sparse file that is stored.
type fragment struct{ offset, length int64 }

// fragments is a map, filled number by number.
type fragments struct {
	list   []fragment
	count  int64 // with those that were not kept
	offset int64 // of the fragment to come, where half
	half   bool
	bad    bool // one was no number, or there are too few or too many
}

func (f *fragments) reset() {
	list := f.list[:0]
	if cap(list) > keepFragments {
		list = nil
	}
	*f = fragments{list: list}
}

func (f *fragments) add(v int64, ok bool) {
	f.bad = f.bad || !ok
	if f.half = !f.half; f.half {
		f.offset = v
		return
	}
	if f.count++; f.count <= MaxFragments {
		f.list = append(f.list, fragment{f.offset, v})
	}
}

// check says what is wrong with a map for a file of size bytes of which stored are in the archive.
func (f *fragments) check(size, stored int64) string {
	switch {
	case f.count > MaxFragments:
		return fmt.Sprintf("it is a sparse file of more than %d fragments", MaxFragments)
	case f.bad || f.half:
		return "its sparse map is damaged"
	case size < 0:
		return "it is a sparse file with no proper size"
	}
	end, sum := int64(0), int64(0)
	for _, p := range f.list {
		// size-offset cannot overflow: end is not negative, and offset is not below it.
		if p.offset < end || p.length < 0 || p.length > size-p.offset {
			return "its sparse map contradicts itself or the file's size"
		}
		end = p.offset + p.length
		sum += p.length
	}
	if sum != stored {
		return fmt.Sprintf("its sparse map promises %d bytes, and %d are stored", sum, stored)
	}
	return ""
}

// readMap takes the map of version 0.1: "offset,length,offset,length".
func (x *pax) readMap(p *payload, length int64) error {
	if x.separate {
		return p.skip(length)
	}
	x.sparseMap.reset()
	if x.mapSet = length > 0; !x.mapSet {
		return nil
	}
	var n number
	for ; length > 0; length-- {
		c, err := p.next()
		if err != nil {
			return err
		}
		if c == ',' {
			x.sparseMap.add(n.value())
			n = number{}
			continue
		}
		n.add(c)
	}
	x.sparseMap.add(n.value())
	return nil
}

// readPart takes half of a fragment of version 0.0: an offset, or a number of bytes, each in a record of its own. Such records win over a map.
func (x *pax) readPart(p *payload, length int64, bytes bool) error {
	x.mapSet = x.separate || length > 0 // to archive/tar, a single empty value is an empty map
	if !x.separate {
		x.separate = true
		x.sparseMap.reset()
	}
	if bytes != x.sparseMap.half {
		x.sparseMap.bad = true // out of turn
	}
	var n number
	err := n.read(p, length)
	x.sparseMap.add(n.value())
	return err
}

type sparseKind byte

const (
	notSparse   sparseKind = iota
	sparsePAX0             // 0.0 and 0.1: the map is in the PAX records
	sparsePAX10            // 1.0: it comes before the content
)

// sparseKind goes by the version. Files with one that is not known are read as stored, as archive/tar does.
func (x *pax) sparseKind() sparseKind {
	switch {
	case x.major == '0' && (x.minor == '0' || x.minor == '1'):
		return sparsePAX0
	case x.major == '1' && x.minor == '0':
		return sparsePAX10
	case x.major != 0 || x.minor != 0:
		return notSparse
	case x.mapSet:
		return sparsePAX0 // it has no version in archives of the first GNU tars that wrote it
	}
	return notSparse
}

// sparse reads the map of the current entry where it is a sparse file. A bad map is a Problem: where the content ends is known without.
func (r *Reader) sparse(b *block) error {
	h, x := &r.hdr, &r.ext.pax
	m := &x.sparseMap
	if h.Type == TypeGNUSparse {
		m.reset()
		if err := r.oldMap(b, m); err != nil {
			return err
		}
	} else {
		kind := x.sparseKind()
		if kind == notSparse {
			return nil
		}
		if headerOnly(h.Type) {
			r.problem("it claims to be a sparse file, and is no file")
			return nil
		}
		size := x.sparseSize
		if !size.set {
			size = x.realSize
		}
		if size.set {
			var ok bool
			if h.Size, ok = size.value(); !ok {
				h.Size = -1
			}
		}
		if kind == sparsePAX10 || !x.mapSet {
			m.reset()
		}
		if kind == sparsePAX10 {
			if err := r.map10(m); err != nil {
				return err
			}
		} else if blocks, ok := x.blocks.value(); !ok || blocks != m.count {
			m.bad = true
		}
	}
	if why := m.check(h.Size, r.left); why != "" {
		r.problem(why)
		h.Size = max(h.Size, 0)
	}
	r.content.sparse, r.content.fragments = true, m.list
	return nil
}

// oldMap reads the map of the old GNU format: four fragments in the header, 21 in each block that follows while a flag says so. Those blocks are not part of the size.
// star has another layout under the same type, of which the end cannot be told.
func (r *Reader) oldMap(b *block, m *fragments) error {
	if b.format() != formatGNU {
		return r.damaged("a sparse file in a format other than GNU's")
	}
	real, ok := numeric(b[483:495])
	if r.hdr.Size = real; !ok {
		r.hdr.Size = -1
	}
	at, n := b[386:], 4
	for {
		for i := range n {
			e := at[i*24 : i*24+24]
			if e[0] == 0 {
				break
			}
			m.add(numeric(e[:12]))
			m.add(numeric(e[12:]))
		}
		if at[n*24] == 0 {
			return nil
		}
		if err := r.src.must(r.src.buf[:blockSize]); err != nil {
			return r.cut(err, "a sparse map")
		}
		at, n = r.src.buf[:blockSize], 21
	}
}

// map10 reads the map of version 1.0 from the content: lines of decimal numbers, of which the first
// says how many fragments follow, in whole blocks.
func (r *Reader) map10(m *fragments) error {
	var blk []byte
	line := func() (v int64, ok bool, err error) {
		var n number
		for !n.bad {
			if len(blk) == 0 {
				if r.left < blockSize {
					return 0, false, nil
				}
				blk = r.src.buf[:blockSize]
				if err := r.src.must(blk); err != nil {
					return 0, false, r.cut(err, "a sparse map")
				}
				r.left -= blockSize
			}
			c := blk[0]
			if blk = blk[1:]; c == '\n' {
				break
			}
			n.add(c)
		}
		v, ok = n.value()
		return v, ok, nil
	}
	count, ok, err := line()
	if err != nil {
		return err
	}
	m.bad = !ok || count < 0
	if count > MaxFragments {
		m.count = count
		return nil
	}
	for range 2 * count {
		if m.bad {
			return nil
		}
		v, ok, err := line()
		if err != nil {
			return err
		}
		m.add(v, ok)
	}
	return nil
}

// content is where Read is in the current entry.
type content struct {
	rest      int64 // of the file, with holes
	sparse    bool
	pos       int64 // in a sparse file
	fragments []fragment
}

// Read reads the content of the current entry, the holes of a sparse file as
// zeros. It gives io.EOF at the end of the entry, at once where that has no
// content or a Problem, and io.ErrUnexpectedEOF where the archive is cut.
func (r *Reader) Read(p []byte) (int, error) {
	c := &r.content
	if r.err != nil {
		return 0, r.err
	}
	if c.rest == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), c.rest)]
	var n int
	var err error
	if hole := c.next(&p); hole {
		clear(p)
		n = len(p)
	} else {
		n, err = r.src.r.Read(p)
		r.src.off += int64(n)
		r.left -= int64(n)
	}
	c.rest -= int64(n)
	c.pos += int64(n)
	switch {
	case err == io.EOF && n > 0:
		err = nil // a hole may follow; what is missing shows in the next Read
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	if c.rest == 0 && err == nil {
		return n, io.EOF
	}
	r.err = err
	return n, err
}

// next cuts p to what lies in one fragment or, true, in one hole.
func (c *content) next(p *[]byte) (hole bool) {
	if !c.sparse {
		return false
	}
	for len(c.fragments) > 0 && c.pos >= c.fragments[0].offset+c.fragments[0].length {
		c.fragments = c.fragments[1:]
	}
	if len(c.fragments) == 0 {
		return true
	}
	f := c.fragments[0]
	end := f.offset + f.length
	if hole = c.pos < f.offset; hole {
		end = f.offset
	}
	*p = (*p)[:min(int64(len(*p)), end-c.pos)]
	return hole
}
