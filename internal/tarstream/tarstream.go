// Package tarstream reads the tar archives that image layers are, in memory
// that does not depend on what they contain.
//
// # Vocabulary
//
// An archive is a sequence of blocks of 512 bytes. An entry is a header block and its stored content, padded to whole blocks. An
// extended header is an entry that describes the next one: PAX records
// (type x), a GNU long name (L) or link name (K). A sparse file is stored
// without its holes; its map says where the fragments that are stored belong.
//
// # Whose reading counts
//
// Tar has dialects that contradict each other. What the container runtimes
// unpack is what archive/tar reads, so that its reading is the right one here,
// down to its oddities: a global header (g) changes nothing and
// cancels the extended headers before it, GNU names win over PAX names, and types that have no
// content have none, whatever their size field says. Everything that archive/tar reads without an error
// gives the same names, types and contents here, but:
//
//   - a name over [MaxName], a name with a NUL from GNU.sparse.name, and a sparse map over [MaxFragments] are a Problem;
//   - Size is 0 for types that have no content, where archive/tar repeats the field;
//   - the name of a global header is that of its block, and its records are not looked at.
//
// And reading goes on where archive/tar stops:
//
//   - owners, times and device numbers are not looked at, nor are PAX records
//     other than path, linkpath, size and GNU.sparse.*, of whatever size;
//   - what spoils one entry only is that entry's [Header.Problem]: a mode that is no number, a name with a NUL, a bad sparse map.
//
// It stops where the end of an entry cannot be known: then, bytes from within a
// file would be taken for entries. So damaged framing of PAX records, which may hide a size record, is [ErrHeader].
//
// # Hazards
//
// Names are as they are in the archive: absolute, with "..", not UTF-8. The caller cleans them.
// A sparse file of a few bytes may claim any Size: what reads it must have a limit.
package tarstream

import (
	"errors"
	"fmt"
	"io"
)

// MaxName bounds a name and a link name, in bytes. Linux takes paths below
// 4096 (PATH_MAX); the rest is room for what cleaning removes, such as repeated "./".
const MaxName = 64 << 10

// Types that mean something to a reader of layers. Others are given as they are, with their content.
const (
	TypeReg       = '0'
	TypeLink      = '1' // hard link
	TypeSymlink   = '2'
	TypeChar      = '3'
	TypeBlock     = '4'
	TypeDir       = '5'
	TypeFifo      = '6'
	TypeCont      = '7' // a regular file, to be stored contiguously
	TypeGNUSparse = 'S' // a regular file in the old GNU sparse format
	TypeGlobal    = 'g' // a PAX global header, without effect
)

const (
	typeRegOld   = 0
	typePAX      = 'x'
	typeLongName = 'L'
	typeLongLink = 'K'
)

// ErrHeader is matched by every *[HeaderError].
var ErrHeader = errors.New("invalid tar header")

// HeaderError says that the archive cannot be read beyond a place.
type HeaderError struct {
	Offset int64 // of the header block, in bytes from where reading began
	Reason string
}

func (e *HeaderError) Error() string {
	return fmt.Sprintf("%v at byte %d: %s", ErrHeader, e.Offset, e.Reason)
}

// Is makes errors.Is(err, ErrHeader) true.
func (e *HeaderError) Is(target error) bool { return target == ErrHeader }

// Header is one entry.
type Header struct {
	Name, Linkname string
	// Size is how many bytes Read gives: for a sparse file, with its holes.
	Size int64
	// Mode is as stored: permissions and the three bits above them, and in some archives the file type.
	Mode int64
	// Type is one of the constants or whatever else the archive says. The old
	// regular type NUL is given as TypeReg, or TypeDir where the name ends with a slash.
	Type byte
	// Problem says why the entry cannot be taken as stated; empty for nearly
	// all. Its content cannot be read, and a name that is too long is cut. The next entry is not affected.
	Problem string
}

// Reader reads an archive from its start to its end.
type Reader struct {
	src source
	hdr Header
	ext extended
	// left is stored content of the current entry that was not read, pad what fills its last block.
	left int64
	pad  int
	// at is the offset of the header block in hand.
	at int64

	content content
	err     error
}

// NewReader reads from r. Where r is an io.Seeker that can move forward
// relative to where it is, content that nobody reads is skipped with it.
func NewReader(r io.Reader) *Reader {
	return &Reader{src: newSource(r)}
}

// Offset is how many bytes were consumed. In a cut archive it can be more
// than there are, where r seeks beyond its end as files do.
func (r *Reader) Offset() int64 { return r.src.off }

// Next moves to the next entry. The Header is valid until the next call; the strings in it for ever.
//
// The end is io.EOF: two zero blocks, or the end of the input where a header
// could begin. A cut archive gives an error that matches io.ErrUnexpectedEOF, one that
// makes no sense a *[HeaderError]; errors of the input are given as they are. Every error is final.
func (r *Reader) Next() (*Header, error) {
	if r.err == nil {
		r.err = r.next()
	}
	if r.err != nil {
		return nil, r.err
	}
	return &r.hdr, nil
}

func (r *Reader) next() error {
	r.content = content{}
	r.ext.reset()
	for {
		b, err := r.block()
		if err != nil {
			return err
		}
		size, ok := numeric(b[124:136])
		ok = ok && size >= 0
		switch typ := b[156]; typ {
		default:
			return r.entry(b, size, ok)
		case typePAX, typeLongName, typeLongLink, TypeGlobal:
			if !ok {
				return r.damaged("the size of an extended header is no size")
			}
			r.setStored(size)
			if typ == TypeGlobal {
				r.hdr = Header{Name: string(cstring(b[:100])), Type: TypeGlobal}
				return nil
			}
			if err := r.extend(typ, size); err != nil {
				return err
			}
		}
	}
}

// block goes to the next header block. What is left of the entry before is read with it where that is little.
func (r *Reader) block() (*block, error) {
	if err := r.src.skipLong(&r.left); err != nil {
		return nil, r.cut(err, "the content of an entry")
	}
	skip := int(r.left) + r.pad
	n, err := r.src.fill(r.src.buf[:skip+blockSize])
	switch {
	case err == nil:
	case err != io.EOF:
		return nil, err
	case n < int(r.left):
		return nil, r.cut(io.ErrUnexpectedEOF, "the content of an entry")
	case n <= skip: // the padding may be missing at the end
		return nil, io.EOF
	default:
		return nil, r.cut(io.ErrUnexpectedEOF, "a header")
	}
	r.left, r.pad, r.at = 0, 0, r.src.off-blockSize
	b := (*block)(r.src.buf[skip:])
	sum, signed := b.sums()
	if sum == 0 {
		return nil, r.end()
	}
	if !b.checksum(sum, signed) {
		return nil, r.damaged("its checksum is wrong")
	}
	return b, nil
}

// end is called after a zero block.
func (r *Reader) end() error {
	n, err := r.src.fill(r.src.buf[:blockSize])
	switch {
	case err == io.EOF && n > 0:
		return r.cut(io.ErrUnexpectedEOF, "the end mark")
	case err != nil:
		return err
	}
	if sum, _ := (*block)(r.src.buf[:]).sums(); sum != 0 {
		return r.damaged("a block of zeros is followed by something else")
	}
	return io.EOF
}

// entry takes the header block of a file. size is its size field where ok.
func (r *Reader) entry(b *block, size int64, ok bool) error {
	h := &r.hdr
	*h = Header{Type: b[156], Problem: r.ext.problem}
	var modeOK bool
	if h.Mode, modeOK = numeric(b[100:108]); !modeOK {
		r.problem("its mode is no number")
	}
	r.names(b)
	if r.ext.pax.size.set {
		size, ok = r.ext.pax.size.value()
		ok = ok && size >= 0
	}
	switch {
	case headerOnly(h.Type):
		size = 0
	case !ok:
		return r.damaged(fmt.Sprintf("the size of %.200q is no size, and what follows cannot be found", h.Name))
	}
	h.Size = size
	r.setStored(size)
	if err := r.sparse(b); err != nil {
		return err
	}
	if h.Problem == "" {
		r.content.rest = h.Size
	}
	return nil
}

func (r *Reader) setStored(size int64) { r.left, r.pad = size, int(-size&(blockSize-1)) }

// problem keeps the first.
func (r *Reader) problem(why string) {
	if r.hdr.Problem == "" {
		r.hdr.Problem = why
	}
}

func (r *Reader) damaged(reason string) error { return &HeaderError{r.at, reason} }

// cut says where the input ended too early; other errors are not changed.
func (r *Reader) cut(err error, within string) error {
	if err != io.ErrUnexpectedEOF {
		return err
	}
	return fmt.Errorf("the archive is cut at byte %d, within %s: %w", r.src.off, within, err)
}

func headerOnly(typ byte) bool {
	switch typ {
	case TypeLink, TypeSymlink, TypeChar, TypeBlock, TypeDir, TypeFifo:
		return true
	}
	return false
}
