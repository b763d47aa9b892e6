package executable

import (
	"bytes"
	"encoding/binary"
	"io"
)

// Numbers of Microsoft's PE format specification.
const (
	peFileHeader    = 24 // with the signature
	peSectionHeader = 40
	peOptional64    = 0x20b

	// What a section with initialized, readable, writable data says, and the bits of its alignment.
	peData      = 0x40 | 0x40000000 | 0x80000000
	peAlignment = 0x600000
)

// peHeader finds the section table. b is the beginning of the file.
func peHeader(b []byte) (table []byte, base uint64, ok bool) {
	le := binary.LittleEndian
	if len(b) < 64 {
		return nil, 0, false
	}
	at := int64(le.Uint32(b[60:]))
	if at+peFileHeader > int64(len(b)) || string(b[at:at+4]) != "PE\x00\x00" {
		return nil, 0, false
	}
	h := b[at:]
	n, optional := int(le.Uint16(h[6:])), int(le.Uint16(h[20:]))
	if peFileHeader+optional+n*peSectionHeader > len(h) {
		return nil, 0, false
	}
	if o := h[peFileHeader : peFileHeader+optional]; len(o) >= 32 {
		if base = uint64(le.Uint32(o[28:])); le.Uint16(o) == peOptional64 {
			base = le.Uint64(o[24:])
		}
	}
	return h[peFileHeader+optional:][:n*peSectionHeader], base, true
}

// peSection is one section header.
type peSection struct {
	name                 []byte
	addr, mem, off, size uint32
	flags                uint32
}

func (s *peSection) goData() bool {
	return s.addr != 0 && s.size != 0 && s.flags&^peAlignment == peData
}

func peSections(table []byte, fn func(s *peSection)) {
	le := binary.LittleEndian
	for b := table; len(b) >= peSectionHeader; b = b[peSectionHeader:] {
		fn(&peSection{
			name: b[:8], mem: le.Uint32(b[8:]), addr: le.Uint32(b[12:]),
			size: le.Uint32(b[16:]), off: le.Uint32(b[20:]), flags: le.Uint32(b[36:]),
		})
	}
}

// mayHoldPE reports whether there is a section that Go or cargo-auditable
// could have written to. Headers that go beyond the first 4 KiB might name one.
func mayHoldPE(head []byte) (may bool) {
	table, _, ok := peHeader(head)
	if !ok {
		at := int64(binary.LittleEndian.Uint32(head[60:]))
		return at+4 > int64(len(head)) || bytes.HasPrefix(head[at:], []byte("PE\x00\x00"))
	}
	peSections(table, func(s *peSection) { may = may || s.goData() || name(s.name, ".dep-v0") })
	return may
}

// peWindow is what is read of a file to hold its headers: a DOS program of usual size, and 96 sections.
const peWindow = 16 << 10

func peLayout(r io.ReaderAt, size int64) (*layout, error) {
	b := make([]byte, min(size, peWindow))
	if ok, err := readAt(r, b, 0); !ok {
		return nil, err
	}
	table, base, ok := peHeader(b)
	if !ok {
		return nil, nil // a DOS program, or one with headers where no linker puts them
	}
	l := &layout{r: r, size: size}
	peSections(table, func(s *peSection) {
		addr := base + uint64(s.addr)
		l.add(addr, int64(s.off), int64(s.size))
		if s.goData() && l.goSize == 0 {
			l.goAddr, l.goSize = addr, uint64(s.mem)
		}
		if name(s.name, ".dep-v0") {
			// Padded to the file's alignment: what is used is the size in memory.
			l.setAudit(int64(s.off), int64(min(s.size, max(s.mem, 1))))
		}
	})
	return l, nil
}
