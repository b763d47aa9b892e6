package executable

import (
	"bytes"
	"encoding/binary"
	"io"
)

// The block that Go's linker writes (cmd/link/internal/ld/data.go, debug/buildinfo): 14 bytes of magic at an
// address divisible by 16, the size of pointers, flags, and 16 bytes that were pointers to two strings before Go
// 1.18. Since then the two follow inline, each after its length: the version of Go, and
// the modules, between two sentinels of 16 bytes.
const (
	goMagic      = "\xff Go buildinf:"
	goAlign      = 16
	goHeader     = 32
	goBigEndian  = 1 // flags
	goInline     = 2
	goSentinel   = 16
	maxGoVersion = 1 << 10 // "go1.26.1 X:…": experiments are listed

	// scanChunk is a multiple of goAlign, so that the magic is never split.
	scanChunk = 16 << 10
)

// buildInfo is what the block holds. modules is nil where the binary was built without modules.
type buildInfo struct {
	version string
	modules *io.SectionReader
}

// findBuildInfo looks for the block; nil where there is none that holds together.
func findBuildInfo(l *layout) (*buildInfo, error) {
	addr, ok, err := findMagic(l)
	if !ok {
		return nil, err
	}
	r := l.at(addr)
	var h [goHeader]byte
	if ok, err := readAt(r, h[:], 0); !ok {
		return nil, err
	}
	var b buildInfo
	if h[15]&goInline != 0 {
		err = b.inline(io.NewSectionReader(r, goHeader, r.Size()-goHeader))
	} else {
		err = b.pointers(l, h[:])
	}
	if b.version == "" || err != nil {
		return nil, err
	}
	return &b, b.unframe()
}

// findMagic returns the address of the block.
func findMagic(l *layout) (addr uint64, ok bool, err error) {
	if l.goSize == 0 || l.goAddr+l.goSize < l.goAddr {
		return 0, false, nil
	}
	addr = (l.goAddr + goAlign - 1) &^ (goAlign - 1)
	if addr-l.goAddr >= l.goSize {
		return 0, false, nil
	}
	r := l.at(addr)
	if r == nil {
		return 0, false, nil
	}
	left := int64(min(l.goSize-(addr-l.goAddr), uint64(r.Size())))
	buf := make([]byte, min(left, scanChunk))
	for off := int64(0); left > goHeader; off += scanChunk {
		b := buf[:min(left, scanChunk)]
		if ok, err := readAt(r, b, off); !ok {
			return 0, false, err
		}
		left -= int64(len(b))
		for at := 0; ; at++ {
			i := bytes.Index(b[at:], []byte(goMagic))
			if i < 0 {
				break
			}
			if at += i; at%goAlign == 0 {
				return addr + uint64(off) + uint64(at), true, nil
			}
		}
	}
	return 0, false, nil
}

// inline reads the two strings that r begins with.
func (b *buildInfo) inline(r *io.SectionReader) error {
	version, next, err := counted(r, 0)
	if version == nil || version.Size() > maxGoVersion {
		return err
	}
	if b.modules, _, err = counted(r, next); b.modules == nil {
		return err
	}
	return b.setVersion(version)
}

func (b *buildInfo) setVersion(r *io.SectionReader) error {
	v := make([]byte, r.Size())
	if ok, err := readAt(r, v, 0); !ok {
		return err
	}
	b.version = string(v)
	return nil
}

// counted gives the string whose length is at off, and where it ends; nil where the mapping is shorter.
func counted(r *io.SectionReader, off int64) (s *io.SectionReader, end int64, err error) {
	var b [binary.MaxVarintLen64]byte
	k, err := readSome(r, b[:], off)
	if err != nil {
		return nil, 0, err
	}
	length, n := binary.Uvarint(b[:k])
	if off += int64(n); n <= 0 || length > uint64(r.Size()-off) {
		return nil, 0, nil
	}
	return io.NewSectionReader(r, off, int64(length)), off + int64(length), nil
}

// pointers reads the two strings that the header points to.
func (b *buildInfo) pointers(l *layout, h []byte) error {
	w := words{ByteOrder: binary.LittleEndian, wide: h[14] == 8}
	if h[15]&goBigEndian != 0 {
		w.ByteOrder = binary.BigEndian
	}
	if h[14] != 4 && h[14] != 8 {
		return nil
	}
	version, err := goString(l, w, w.word(h[16:]))
	if version == nil || version.Size() > maxGoVersion {
		return err
	}
	if b.modules, err = goString(l, w, w.word(h[16+h[14]:])); err != nil {
		return err
	}
	return b.setVersion(version)
}

// goString follows a pointer to a string header: an address and a length.
func goString(l *layout, w words, addr uint64) (*io.SectionReader, error) {
	r := l.at(addr)
	if r == nil {
		return nil, nil
	}
	var h [16]byte
	size := 4
	if w.wide {
		size = 8
	}
	if ok, err := readAt(r, h[:2*size], 0); !ok {
		return nil, err
	}
	length := w.word(h[size:])
	data := l.at(w.word(h[:]))
	if data == nil || length > uint64(data.Size()) {
		return nil, nil
	}
	return io.NewSectionReader(data, 0, int64(length)), nil
}

// unframe takes the sentinels off the modules, or drops what has none.
func (b *buildInfo) unframe() error {
	if b.modules == nil || b.modules.Size() < 2*goSentinel+1 {
		b.modules = nil
		return nil
	}
	var c [1]byte
	_, err := readAt(b.modules, c[:], b.modules.Size()-goSentinel-1)
	if c[0] != '\n' {
		b.modules = nil
		return err
	}
	b.modules = io.NewSectionReader(b.modules, goSentinel, b.modules.Size()-2*goSentinel)
	return err
}
