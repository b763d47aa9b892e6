package executable

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// Numbers of Apple's mach-o/loader.h and fat.h.
const (
	machO32 = 0xfeedface
	machO64 = 0xfeedfacf
	fat32   = 0xcafebabe

	lcSegment   = 0x1
	lcSegment64 = 0x19

	// maxCommand is the largest load command that is understood: a segment of 255 sections fits.
	maxCommand = 24 << 10

	vmRW = 3
)

// machoLayout reads the load commands.
func machoLayout(r io.ReaderAt, size int64) (*layout, error) {
	var b [32]byte
	if ok, err := readAt(r, b[:], 0); !ok {
		return nil, err
	}
	w := words{ByteOrder: binary.LittleEndian}
	if m := binary.BigEndian.Uint32(b[:]); m == machO32 || m == machO64 {
		w.ByteOrder = binary.BigEndian
	}
	header := int64(28)
	switch w.Uint32(b[:]) {
	case machO64:
		w.wide, header = true, 32
	case machO32:
	default:
		return nil, nil
	}
	l := &layout{r: r, size: size}
	m := machO{words: w, layout: l}
	br := bufio.NewReaderSize(io.NewSectionReader(r, header, int64(w.Uint32(b[20:]))), maxCommand)
	for range w.Uint32(b[16:]) { // a false count ends with the section
		c, err := br.Peek(8)
		if err != nil {
			return m.done(err)
		}
		n := int(w.Uint32(c[4:]))
		if n < 8 || n > int(size) {
			break
		}
		if cmd := w.Uint32(c); n <= maxCommand && cmd == m.segmentCommand() {
			if c, err = br.Peek(n); err != nil {
				return m.done(err)
			}
			m.segment(c)
		}
		if _, err := br.Discard(n); err != nil {
			return m.done(err)
		}
	}
	return m.done(nil)
}

type machO struct {
	words
	*layout
	named bool // the section __go_buildinfo was seen
}

func (m *machO) done(err error) (*layout, error) {
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return m.layout, nil
}

func (m *machO) segmentCommand() uint32 {
	if m.wide {
		return lcSegment64
	}
	return lcSegment
}

// segment reads a segment command and its sections.
func (m *machO) segment(c []byte) {
	// The command and its length, a name of 16 bytes; address, size in memory, offset, size in the file as
	// words; protections, the number of sections and flags, four bytes each.
	word, head, sect := 4, 56, 68
	if m.wide {
		word, head, sect = 8, 72, 80
	}
	if len(c) < head {
		return
	}
	addr, mem := m.word(c[24:]), m.word(c[24+word:])
	off, size := int64(m.word(c[24+2*word:])), int64(m.word(c[24+3*word:]))
	prot := c[24+4*word:]
	if !name(c[8:24], "__PAGEZERO") {
		m.add(addr, off, size)
	}
	if !m.named && m.goSize == 0 && addr != 0 && size != 0 && m.Uint32(prot) == vmRW && m.Uint32(prot[4:]) == vmRW {
		m.goAddr, m.goSize = addr, mem
	}
	n := m.Uint32(prot[8:])
	for b := c[head:]; n > 0 && len(b) >= sect; n-- {
		// A name, the segment's name, address and size as words, the offset.
		addr, size := m.word(b[32:]), m.word(b[32+word:])
		switch {
		case name(b[:16], "__go_buildinfo") && !m.named:
			m.named, m.goAddr, m.goSize = true, addr, size
		case name(b[:16], ".dep-v0"):
			m.setAudit(int64(m.Uint32(b[32+2*word:])), int64(size))
		}
		b = b[sect:]
	}
}
