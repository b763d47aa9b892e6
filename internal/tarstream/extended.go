package tarstream

import (
	"bytes"
	"fmt"
	"slices"
)

const (
	// maxKey is longer than any PAX key that means something here.
	maxKey = 32
	// shown is how much of a name that is too long is kept, for messages.
	shown = 200
	// keepName is up to what capacity a name's buffer is used again.
	keepName = 4 << 10
	// minRecord is the shortest PAX record: "5 a=\n".
	minRecord = 5
)

var slash = []byte("/")

// extended is what the extended headers say of the next entry.
type extended struct {
	longName, longLink text
	pax                pax
	problem            string // the first
}

// pax holds the records that matter, the last of each key. An empty value is as none.
type pax struct {
	path, linkpath text
	size           number

	major, minor         byte // see version
	sparseName           text
	sparseSize, realSize number
	blocks               number
	sparseMap            fragments
	separate             bool // the map is of offset and numbytes records
	mapSet               bool
}

func (e *extended) reset() {
	e.longName.reset()
	e.longLink.reset()
	e.pax.reset()
	e.problem = ""
}

func (x *pax) reset() {
	x.path.reset()
	x.linkpath.reset()
	x.sparseName.reset()
	x.sparseMap.reset()
	x.size, x.sparseSize, x.realSize, x.blocks = number{}, number{}, number{}, number{}
	x.major, x.minor, x.separate, x.mapSet = 0, 0, false, false
}

// text is a name of at most MaxName bytes.
type text struct {
	b    []byte
	over int64 // its length where that is more: b is its beginning
}

func (t *text) empty() bool { return len(t.b) == 0 }

func (t *text) reset() {
	if t.over = 0; cap(t.b) > keepName {
		t.b = nil
	}
	t.b = t.b[:0]
}

// read takes a value of n bytes.
func (t *text) read(p *payload, n int64) (err error) {
	t.reset()
	keep := n
	if n > MaxName {
		t.over, keep = n, shown
	}
	t.b = slices.Grow(t.b, int(keep))
	if t.b, err = p.appendTo(t.b, int(keep)); err != nil {
		return err
	}
	return p.skip(n - keep)
}

// readLong takes a GNU name, which ends at a NUL.
func (t *text) readLong(p *payload) (err error) {
	t.reset()
	n := p.left()
	keep := min(n, MaxName+1)
	t.b = slices.Grow(t.b, int(keep))
	if t.b, err = p.appendTo(t.b, int(keep)); err != nil {
		return err
	}
	if t.b = cstring(t.b); len(t.b) > MaxName {
		t.b, t.over = t.b[:shown], n
	}
	return nil
}

// extend reads an extended header of size bytes.
func (r *Reader) extend(typ byte, size int64) error {
	p := payload{src: &r.src, rest: size}
	var err error
	switch typ {
	case typeLongName:
		err = r.ext.longName.readLong(&p)
	case typeLongLink:
		err = r.ext.longLink.readLong(&p)
	default:
		r.ext.pax.reset() // the last PAX header is the one that counts
		err = r.records(&p)
	}
	r.left = p.rest // a long name's rest is of no use, and skipped with the padding
	return r.cut(err, "an extended header")
}

// records reads "length key=value\n", length being that of all of it.
func (r *Reader) records(p *payload) error {
	for p.left() > 0 {
		start := p.left()
		var n number
		for {
			if p.left() == 0 || n.bad {
				return r.damaged("a PAX record does not begin with its length")
			}
			c, err := p.next()
			if err != nil {
				return err
			}
			if c == ' ' {
				break
			}
			n.add(c)
		}
		length, ok := n.value()
		body := length - (start - p.left()) - 1 // without the newline
		if !ok || length < minRecord || length > start || body < 0 {
			return r.damaged("a PAX record has a length that cannot be")
		}
		if err := r.record(p, body); err != nil {
			return err
		}
		c, err := p.next()
		if err != nil {
			return err
		}
		if c != '\n' {
			return r.damaged("a PAX record does not end where it says")
		}
	}
	return nil
}

// record reads "key=value" of n bytes.
func (r *Reader) record(p *payload, n int64) error {
	var key [maxKey]byte
	k := 0
	for {
		if n == 0 {
			r.ext.spoil("one of its PAX records has no value")
			return nil
		}
		c, err := p.next()
		if err != nil {
			return err
		}
		n--
		if c == '=' {
			break
		}
		if k == maxKey {
			return p.skip(n)
		}
		key[k] = c
		k++
	}
	if k == 0 || bytes.IndexByte(key[:k], 0) >= 0 {
		r.ext.spoil("one of its PAX records has no proper key")
	}
	return r.ext.take(key[:k], p, n)
}

// take reads the value, of n bytes, of the keys that matter.
func (e *extended) take(key []byte, p *payload, n int64) error {
	x := &e.pax
	switch string(key) {
	case "path":
		return e.name(&x.path, p, n)
	case "linkpath":
		return e.name(&x.linkpath, p, n)
	case "size":
		return x.size.read(p, n)
	case "GNU.sparse.name":
		return x.sparseName.read(p, n)
	case "GNU.sparse.major":
		return version(&x.major, p, n)
	case "GNU.sparse.minor":
		return version(&x.minor, p, n)
	case "GNU.sparse.size":
		return x.sparseSize.read(p, n)
	case "GNU.sparse.realsize":
		return x.realSize.read(p, n)
	case "GNU.sparse.numblocks":
		return x.blocks.read(p, n)
	case "GNU.sparse.map":
		return x.readMap(p, n)
	case "GNU.sparse.offset":
		return x.readPart(p, n, false)
	case "GNU.sparse.numbytes":
		return x.readPart(p, n, true)
	}
	return p.skip(n)
}

func (e *extended) name(t *text, p *payload, n int64) error {
	err := t.read(p, n)
	if bytes.IndexByte(t.b, 0) >= 0 {
		e.spoil("a name in its PAX records has a NUL")
	}
	return err
}

func (e *extended) spoil(why string) {
	if e.problem == "" {
		e.problem = why
	}
}

// version keeps a version of one digit as that digit, and any other as a '?'.
func version(v *byte, p *payload, n int64) error {
	*v = 0
	if n != 1 {
		if n > 0 {
			*v = '?'
		}
		return p.skip(n)
	}
	c, err := p.next()
	*v = '?'
	if c >= '0' && c <= '9' {
		*v = c
	}
	return err
}

func (n *number) read(p *payload, length int64) error {
	*n = number{}
	for ; length > 0 && !n.bad; length-- {
		c, err := p.next()
		if err != nil {
			return err
		}
		n.add(c)
	}
	return p.skip(length)
}

// names chooses among the names that a header block and what came before it give, and
// with the name makes the old regular type one of the new.
func (r *Reader) names(b *block) {
	h, x := &r.hdr, &r.ext.pax
	name, link := &x.path, &x.linkpath
	if !r.ext.longName.empty() {
		name = &r.ext.longName
	}
	if !r.ext.longLink.empty() {
		link = &r.ext.longLink
	}
	if h.Type == typeRegOld {
		h.Type = TypeReg
		if name.empty() && b.isDir() || name.over == 0 && bytes.HasSuffix(name.b, slash) {
			h.Type = TypeDir
		}
	}
	if h.Type != TypeGNUSparse && x.sparseKind() != notSparse && !x.sparseName.empty() {
		name = &x.sparseName
		if bytes.IndexByte(name.b, 0) >= 0 {
			r.problem("its name as a sparse file has a NUL")
		}
	}
	if name.empty() {
		h.Name = b.name()
	} else {
		h.Name = string(name.b)
	}
	if link.empty() {
		h.Linkname = string(cstring(b[157:257]))
	} else {
		h.Linkname = string(link.b)
	}
	if name.over > 0 {
		r.problem(fmt.Sprintf("its name has %d bytes, and %d are the limit", name.over, MaxName))
	}
	switch {
	case link.over == 0:
	case h.Type == TypeLink || h.Type == TypeSymlink:
		r.problem(fmt.Sprintf("what it links to has a name of %d bytes, and %d are the limit", link.over, MaxName))
	default: // it means nothing
		h.Linkname = ""
	}
}
