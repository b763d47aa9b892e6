package tarstream

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
)

const blockSize = 512

type block [blockSize]byte

// format is a dialect of the header block; extended headers are an entry of their own.
type format byte

const (
	formatV7 format = iota
	formatUSTAR
	formatStar
	formatGNU
)

// format reads the magic (POSIX ustar; GNU's has two spaces and no version; star
// adds a mark at the end of the block).
func (b *block) format() format {
	switch {
	case string(b[257:265]) == "ustar  \x00":
		return formatGNU
	case string(b[257:263]) != "ustar\x00":
		return formatV7
	case string(b[508:512]) == "tar\x00":
		return formatStar
	}
	return formatUSTAR
}

const chksumAt, chksumLen = 148, 8

// sums adds all bytes of the block: as POSIX has it, and as bytes with a sign, as some old tars did.
func (b *block) sums() (unsigned, signed int64) {
	const (
		low = 0x00ff00ff00ff00ff
		top = 0x8080808080808080
	)
	// Four lanes of 16 bits; 2*64 bytes fit into each: 128*255 < 1<<16.
	var lanes uint64
	negative := 0
	for i := 0; i < blockSize; i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		lanes += w&low + w>>8&low
		if w&top != 0 {
			negative += bits.OnesCount64(w & top)
		}
	}
	unsigned = int64(lanes&0xffff + lanes>>16&0xffff + lanes>>32&0xffff + lanes>>48)
	return unsigned, unsigned - 256*int64(negative)
}

// checksum compares; the field itself counts as spaces.
func (b *block) checksum(unsigned, signed int64) bool {
	field := b[chksumAt : chksumAt+chksumLen]
	want, ok := octal(field)
	for _, c := range field {
		unsigned += ' ' - int64(c)
		signed += ' ' - int64(int8(c))
	}
	return ok && (want == unsigned || want == signed)
}

// prefix is what comes before the name and a slash; nil in formats that have no such field.
func (b *block) prefix() []byte {
	switch b.format() {
	case formatUSTAR:
		return cstring(b[345:500])
	case formatStar:
		return cstring(b[345:476])
	case formatGNU:
		return b.mangledPrefix()
	}
	return nil
}

// mangledPrefix is for archives of Go before 1.8, which wrote a prefix where GNU has atime and ctime
// (golang.org/issue/12594): where those cannot be times and the field is ASCII, it is a prefix.
func (b *block) mangledPrefix() []byte {
	if isTime(b[345:357]) && isTime(b[357:369]) {
		return nil
	}
	p := cstring(b[345:500])
	for _, c := range p {
		if c >= 0x80 {
			return nil
		}
	}
	return p
}

func isTime(field []byte) bool {
	if field[0] == 0 {
		return true
	}
	_, ok := numeric(field)
	return ok
}

// name is what the block itself says.
func (b *block) name() string {
	name := cstring(b[:100])
	prefix := b.prefix()
	if len(prefix) == 0 {
		return string(name)
	}
	var joined [256]byte
	return string(append(append(append(joined[:0], prefix...), '/'), name...))
}

// isDir is for headers from before there was a type for directories.
func (b *block) isDir() bool {
	name := cstring(b[:100])
	if len(name) == 0 {
		return len(b.prefix()) > 0
	}
	return name[len(name)-1] == '/'
}

func cstring(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}

// numeric reads a number field: octal digits, or base 256 (a GNU extension) where the top bit is set. False where
// it is neither or does not fit.
func numeric(b []byte) (int64, bool) {
	if b[0]&0x80 == 0 {
		return octal(b)
	}
	var invert byte // two's complement: bit 6 is the sign
	if b[0]&0x40 != 0 {
		invert = 0xff
	}
	x := uint64((b[0] ^ invert) & 0x7f)
	for _, c := range b[1:] {
		if x>>56 > 0 {
			return 0, false
		}
		x = x<<8 | uint64(c^invert)
	}
	if x > math.MaxInt64 {
		return 0, false
	}
	if invert != 0 {
		return ^int64(x), true
	}
	return int64(x), true
}

// octal reads digits that may have spaces and NULs around them; an empty field is 0. Fields have at most 12
// bytes, so that nothing can overflow.
func octal(b []byte) (int64, bool) {
	for len(b) > 0 && (b[0] == ' ' || b[0] == 0) {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == 0) {
		b = b[:len(b)-1]
	}
	x := int64(0)
	for _, c := range b {
		if c == 0 { // what follows is not part of the field
			break
		}
		if c < '0' || c > '7' {
			return 0, false
		}
		x = x<<3 | int64(c-'0')
	}
	return x, true
}

// number is a decimal number that arrives byte by byte, so that no record need be held to be read. The zero value is an empty one.
type number struct {
	v        int64
	set      bool // there was a byte
	negative bool
	digits   bool
	bad      bool
}

func (n *number) add(c byte) {
	switch {
	case (c == '-' || c == '+') && !n.set:
		n.negative = c == '-'
	case c < '0' || c > '9':
		n.bad = true
	case n.v > (math.MaxInt64-int64(c-'0'))/10:
		n.bad = true
	default:
		n.v = n.v*10 + int64(c-'0')
		n.digits = true
	}
	n.set = true
}

// value is false where the bytes are no number of 64 bits.
func (n *number) value() (int64, bool) {
	if n.bad || !n.digits {
		return 0, false
	}
	if n.negative {
		return -n.v, true
	}
	return n.v, true
}
