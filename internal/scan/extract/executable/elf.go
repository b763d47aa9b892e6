package executable

import (
	"encoding/binary"
	"io"

	"stella/internal/scan/extract"
)

// Numbers of the ELF specification (gABI 4.1).
const (
	ptLoad = 1
	pfX    = 1
	pfW    = 2

	shtNull   = 0
	shtNobits = 8

	shnXindex  = 0xffff
	elfClass64 = 2
	elfMSB     = 2

	// tableChunk is how much of a header table is read at once.
	tableChunk = 4 << 10
)

// elfHeader is what the first bytes of an ELF file say.
type elfHeader struct {
	words
	*elfFields
	phoff, shoff  int64
	phsize, phnum int
	shsize, shnum int
	shstrndx      int
}

// elfFields is where the fields of headers are in one class.
type elfFields struct {
	phLen, phFlags, phOff, phAddr, phFile, phMem int // of a program header; phLen is its length
	shLen, shAddr, shOff, shSize, shLink         int // of a section header
}

var (
	elf32 = elfFields{32, 24, 4, 8, 16, 20, 40, 12, 16, 20, 24}
	elf64 = elfFields{56, 4, 8, 16, 32, 40, 64, 16, 24, 32, 40}
)

// parseELF reads the ELF header; false where it is not one.
func parseELF(b []byte) (h elfHeader, ok bool) {
	if len(b) < 64 || string(b[:4]) != "\x7fELF" || b[4] < 1 || b[4] > elfClass64 || b[5] < 1 || b[5] > elfMSB {
		return h, false
	}
	h.ByteOrder = binary.LittleEndian
	if b[5] == elfMSB {
		h.ByteOrder = binary.BigEndian
	}
	h.wide = b[4] == elfClass64
	h.elfFields = &elf32
	sizes := b[40:] // the rest of the header is the same in both classes
	if h.wide {
		h.elfFields = &elf64
		h.phoff, h.shoff, sizes = int64(h.Uint64(b[32:])), int64(h.Uint64(b[40:])), b[52:]
	} else {
		h.phoff, h.shoff = int64(h.Uint32(b[28:])), int64(h.Uint32(b[32:]))
	}
	h.phsize, h.phnum = int(h.Uint16(sizes[2:])), int(h.Uint16(sizes[4:]))
	h.shsize, h.shnum, h.shstrndx = int(h.Uint16(sizes[6:])), int(h.Uint16(sizes[8:])), int(h.Uint16(sizes[10:]))
	return h, h.phoff >= 0 && h.shoff >= 0
}

// segment is a program header.
type segment struct {
	kind, flags uint32
	addr        uint64
	off, size   int64  // in the file
	mem         uint64 // in memory
}

func (h *elfHeader) segment(b []byte) segment {
	return segment{
		kind: h.Uint32(b), flags: h.Uint32(b[h.phFlags:]),
		addr: h.word(b[h.phAddr:]), off: int64(h.word(b[h.phOff:])),
		size: int64(h.word(b[h.phFile:])), mem: h.word(b[h.phMem:]),
	}
}

// openELF gives random access to an ELF file, without its code where that is kept apart: where the linker (GNU
// ld's -z separate-code, lld) put the headers into a segment that is not code. Older
// ones put headers, code and constants into one, and then all of it is spooled.
func openELF(f *extract.File, head []byte) (io.ReaderAt, error) {
	h, ok := parseELF(head)
	if !ok || h.phsize < h.phLen || h.phoff > headSize {
		return f.ReaderAt()
	}
	var code segment
	apart := false
	for i := range h.phnum {
		at := h.phoff + int64(i*h.phsize)
		if at+int64(h.phLen) > int64(len(head)) {
			return f.ReaderAt()
		}
		s := h.segment(head[at:])
		if s.kind != ptLoad || s.size <= 0 {
			continue
		}
		if s.off == 0 && s.flags&pfX == 0 {
			apart = true
		}
		if s.flags&(pfX|pfW) == pfX && s.size > code.size {
			code = s
		}
	}
	if !apart || code.off < headSize || code.off > f.Size || code.size > f.Size-code.off {
		return f.ReaderAt()
	}
	return spoolWithout(f, code.off, code.off+code.size)
}

// elfLayout reads program and section headers.
func elfLayout(r io.ReaderAt, size int64) (*layout, error) {
	var b [64]byte
	if ok, err := readAt(r, b[:], 0); !ok {
		return nil, err
	}
	h, ok := parseELF(b[:])
	if !ok {
		return nil, nil
	}
	l := &layout{r: r, size: size}
	if h.phsize >= h.phLen {
		err := table(r, h.phoff, h.phsize, h.phnum, func(b []byte) (bool, error) {
			s := h.segment(b)
			if s.kind != ptLoad {
				return true, nil
			}
			if l.goSize == 0 && s.flags&(pfX|pfW) == pfW {
				l.goAddr, l.goSize = s.addr, s.mem
			}
			l.add(s.addr, s.off, s.size)
			return !l.full, nil
		})
		if err != nil {
			return nil, err
		}
	}
	return l, h.sections(l)
}

// sections looks for the two sections that matter, by name.
func (h *elfHeader) sections(l *layout) error {
	if h.shoff == 0 || h.shsize < h.shLen {
		return nil
	}
	var b [64]byte
	n, names := h.shnum, h.shstrndx
	// Program headers may point behind the end, in files with nothing but debug information.
	l.truncated = h.shoff > l.size-int64(n*h.shsize)
	if n == 0 || names == shnXindex {
		// Too many for 16 bits: the first section header says how many.
		if ok, err := readAt(l.r, b[:h.shLen], h.shoff); !ok {
			return err
		}
		if n == 0 {
			n = int(min(h.word(b[h.shSize:]), uint64(l.size)/uint64(h.shsize)))
		}
		if names == shnXindex {
			names = int(h.Uint32(b[h.shLink:]))
		}
	}
	if names >= n {
		return nil
	}
	if ok, err := readAt(l.r, b[:h.shLen], h.shoff+int64(names)*int64(h.shsize)); !ok {
		return err
	}
	strings := int64(h.word(b[h.shOff:]))
	goFound := false
	return table(l.r, h.shoff, h.shsize, n, func(b []byte) (bool, error) {
		var s [16]byte
		k, err := readSome(l.r, s[:], strings+int64(h.Uint32(b)))
		if err != nil {
			return false, err
		}
		off, size := int64(h.word(b[h.shOff:])), int64(h.word(b[h.shSize:]))
		if t := h.Uint32(b[4:]); t != shtNull && t != shtNobits && (off > l.size || size > l.size-off) {
			l.truncated = true
		}
		switch {
		case name(s[:k], ".go.buildinfo") && !goFound:
			goFound = true
			l.goAddr, l.goSize = h.word(b[h.shAddr:]), h.word(b[h.shSize:])
		case name(s[:k], ".dep-v0"):
			l.setAudit(off, size)
		}
		return true, nil
	})
}

// table calls fn with each of n records of size bytes from off, until fn says no or the file ends.
func table(r io.ReaderAt, off int64, size, n int, fn func(b []byte) (bool, error)) error {
	buf := make([]byte, max(tableChunk/size, 1)*size)
	for n > 0 && off >= 0 {
		k := min(n, len(buf)/size)
		got, err := readSome(r, buf[:k*size], off)
		if err != nil {
			return err
		}
		for i := range got / size {
			if more, err := fn(buf[i*size : (i+1)*size]); err != nil || !more {
				return err
			}
		}
		if got < k*size {
			return nil
		}
		n -= k
		off += int64(k * size)
	}
	return nil
}
