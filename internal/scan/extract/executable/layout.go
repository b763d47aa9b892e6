package executable

import (
	"encoding/binary"
	"errors"
	"io"
)

// maxMappings is how many mappings of a file are kept: real ones have up to ten, PE files up to 96.
const maxMappings = 128

// mapping is a part of the file and the address it is loaded at.
type mapping struct {
	addr uint64
	off  int64
	size int64
}

// layout is what Go's and Rust's data need to be found.
type layout struct {
	r    io.ReaderAt
	size int64
	maps []mapping
	full bool // there were more mappings
	// truncated says that the file ends before what its headers place in it.
	truncated bool

	// Go's build information is between these addresses, if anywhere.
	goAddr, goSize uint64
	// audit is the section .dep-v0; its size is 0 where there is none.
	audit mapping
}

// add keeps a mapping, cut to what the file has.
func (l *layout) add(addr uint64, off, size int64) {
	if off < 0 || size <= 0 || off >= l.size {
		return
	}
	if len(l.maps) == maxMappings {
		l.full = true
		return
	}
	l.maps = append(l.maps, mapping{addr, off, min(size, l.size-off)})
}

// setAudit notes the section .dep-v0, if it is in the file.
func (l *layout) setAudit(off, size int64) {
	if off >= 0 && size > 0 && off < l.size && size <= l.size-off {
		l.audit = mapping{off: off, size: size}
	}
}

// at gives the file from an address to the end of its mapping; nil where nothing is mapped there.
func (l *layout) at(addr uint64) *io.SectionReader {
	for _, m := range l.maps {
		if addr >= m.addr && addr-m.addr < uint64(m.size) {
			d := int64(addr - m.addr)
			return io.NewSectionReader(l.r, m.off+d, m.size-d)
		}
	}
	return nil
}

// readAt fills p from off; false where the file ends before.
func readAt(r io.ReaderAt, p []byte, off int64) (bool, error) {
	n, err := readSome(r, p, off)
	return n == len(p), err
}

// readSome reads what there is from off, up to len(p) bytes. The end of the file is no error, and neither is an
// offset that some header made up.
func readSome(r io.ReaderAt, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, nil
	}
	n, err := r.ReadAt(p, off)
	if n == len(p) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}

// words reads the numbers of a header.
type words struct {
	binary.ByteOrder
	wide bool // 64 bit
}

// word reads an address or size.
func (w words) word(b []byte) uint64 {
	if w.wide {
		return w.Uint64(b)
	}
	return uint64(w.Uint32(b))
}

// name compares a NUL-padded name.
func name(b []byte, want string) bool {
	if len(b) < len(want) || string(b[:len(want)]) != want {
		return false
	}
	return len(b) == len(want) || b[len(want)] == 0
}
