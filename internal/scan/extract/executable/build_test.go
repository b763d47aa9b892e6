package executable

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
)

// These build executables of a few kilobytes that debug/elf, debug/pe and debug/macho read.

// spec says what an executable holds.
type spec struct {
	order    binary.AppendByteOrder
	wide     bool
	goInfo   func(s spec, addr uint64) []byte // what stands at the beginning of writable data, which is mapped at addr
	audit    []byte
	sections bool // has section headers (ELF), or names sections (Mach-O)
	joined   bool // code and constants in one segment (ELF)
	inCode   bool // the audit section is in the code (ELF)
	unused   int  // bytes of code
}

const (
	goText = "path\texample.com/Main\n" +
		"mod\texample.com/Main\tv1.2.3\t\n" +
		"dep\tgithub.com/BurntSushi/toml\tv1.3.2\th1:abc=\n" +
		"dep\tgolang.org/x/sys\tv0.1.0\th1:def=\n=>\tgithub.com/fork/sys\tv0.2.0\th1:ghi=\n" +
		"dep\texample.com/local\tv0.0.0\n=>\t./local\t(devel)\t\n" +
		"build\t-compiler=gc\n"
	goVersion = "go1.21.3"
)

// wantGo is goText as packages.
var wantGo = []string{
	"golang:example.com/Main@v1.2.3", "golang:stdlib@1.21.3", "golang:github.com/BurntSushi/toml@v1.3.2",
	"golang:github.com/fork/sys@v0.2.0", "golang:example.com/local@",
}

func framed(text string) string { return "0123456789abcdef" + text + "fedcba9876543210" }

// inlineInfo is the block since Go 1.18.
func inlineInfo(version, text string) func(spec, uint64) []byte {
	return func(spec, uint64) []byte {
		b := append([]byte(goMagic), 8, goInline)
		b = append(b, make([]byte, goHeader-len(b))...)
		b = append(binary.AppendUvarint(b, uint64(len(version))), version...)
		text := framed(text)
		return append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
}

// pointerInfo is the block before.
func pointerInfo(s spec, addr uint64) []byte {
	size, big := byte(4), byte(0)
	if s.wide {
		size = 8
	}
	if s.order.String() == "BigEndian" {
		big = goBigEndian
	}
	text := framed(goText)
	b := append([]byte(goMagic), size, big)
	headers := addr + goHeader + 64
	b = s.word(s.word(b, headers), headers+2*uint64(size))
	b = append(b, make([]byte, goHeader+64-len(b))...)
	data := headers + 4*uint64(size)
	b = s.word(s.word(b, data), uint64(len(goVersion)))
	b = s.word(s.word(b, data+uint64(len(goVersion))), uint64(len(text)))
	return append(append(b, goVersion...), text...)
}

func (s spec) word(b []byte, v uint64) []byte {
	if s.wide {
		return s.order.AppendUint64(b, v)
	}
	return s.order.AppendUint32(b, uint32(v))
}

func pad(b []byte, n int) []byte { return append(b, make([]byte, n-len(b))...) }

func roundUp(n, to int) int { return (n + to - 1) / to * to }

// elf builds a file as GNU ld lays it out: headers and constants, code, data, section names and headers.
func (s spec) elf() []byte {
	const page, base, dataBase = 4096, 0x400000, 0x40000000
	audit := s.audit
	code := bytes.Repeat([]byte{0x90}, max(s.unused, page))
	auditOff := 2048
	if s.inCode {
		auditOff = page
		copy(code, audit)
	}
	dataOff := page + roundUp(len(code), page)
	var data []byte
	if s.goInfo != nil {
		data = s.goInfo(s, dataBase)
	}
	data = append(data, "data"...)
	names := "\x00.go.buildinfo\x00.dep-v0\x00.shstrtab\x00"
	namesOff := dataOff + len(data)
	shoff := namesOff + len(names)

	class, order := byte(1), byte(1)
	if s.wide {
		class = 2
	}
	if s.order.String() == "BigEndian" {
		order = 2
	}
	fields, header := elf32, 52
	if s.wide {
		fields, header = elf64, 64
	}
	b := append([]byte("\x7fELF"), class, order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = s.order.AppendUint16(b, 2)
	b = s.order.AppendUint16(b, 62)
	b = s.order.AppendUint32(b, 1)
	b = s.word(s.word(b, base), uint64(header))
	shnum, shstrndx := 4, 3
	if !s.sections {
		shoff, shnum, shstrndx = 0, 0, 0
	}
	b = s.order.AppendUint32(s.word(b, uint64(shoff)), 0)
	for _, v := range []int{header, fields.phLen, 3, fields.shLen, shnum, shstrndx} {
		b = s.order.AppendUint16(b, uint16(v))
	}
	segment := func(flags uint32, addr uint64, off, size int) {
		b = s.order.AppendUint32(b, ptLoad)
		if s.wide {
			b = s.order.AppendUint32(b, flags)
		}
		b = s.word(s.word(s.word(b, uint64(off)), addr), addr)
		b = s.word(s.word(b, uint64(size)), uint64(size))
		if !s.wide {
			b = s.order.AppendUint32(b, flags)
		}
		b = s.word(b, page)
	}
	if s.joined {
		segment(4|pfX, base, 0, page+len(code))
		segment(4, base+1<<20, page, 0)
	} else {
		segment(4, base, 0, page)
		segment(4|pfX, base+page, page, len(code))
	}
	segment(4|pfW, dataBase, dataOff, len(data))
	if !s.inCode {
		b = append(pad(b, auditOff), audit...)
	}
	b = append(pad(b, page), code...)
	b = append(append(pad(b, dataOff), data...), names...)
	section := func(name, kind int, addr uint64, off, size int) {
		b = s.order.AppendUint32(s.order.AppendUint32(b, uint32(name)), uint32(kind))
		b = s.word(s.word(s.word(s.word(b, 0), addr), uint64(off)), uint64(size))
		b = s.order.AppendUint32(s.order.AppendUint32(b, 0), 0)
		b = s.word(s.word(b, 1), 0)
	}
	if s.sections {
		section(0, 0, 0, 0, 0)
		section(1, 1, dataBase, dataOff, len(data))
		if len(audit) > 0 {
			section(15, 1, base, auditOff, len(audit))
		} else {
			section(0, 0, 0, 0, 0)
		}
		section(23, 3, 0, namesOff, len(names))
	}
	return b
}

// pe builds a PE32+ or PE32 file.
func (s spec) pe() []byte {
	const base, dataAddr, dataOff = 0x140000000, 0x2000, 1024
	var data []byte
	imageBase := uint64(base)
	if !s.wide {
		imageBase = 0x400000
	}
	if s.goInfo != nil {
		data = s.goInfo(s, imageBase+dataAddr)
	}
	mem := len(data)
	data = append(data, make([]byte, roundUp(len(data)+1, 512)-len(data))...)
	le := binary.LittleEndian
	b := pad([]byte("MZ"), 60)
	b = append(le.AppendUint32(b, 64), "PE\x00\x00"...)
	machine, optional, magic := uint16(0x8664), 240, uint16(peOptional64)
	if !s.wide {
		machine, optional, magic = 0x14c, 224, 0x10b
	}
	b = le.AppendUint16(le.AppendUint16(b, machine), 2)
	b = append(b, make([]byte, 12)...)
	b = le.AppendUint16(le.AppendUint16(b, uint16(optional)), 0x22)
	o := make([]byte, optional)
	le.PutUint16(o, magic)
	if s.wide {
		le.PutUint64(o[24:], imageBase)
		le.PutUint32(o[108:], 16) // data directories
	} else {
		le.PutUint32(o[28:], uint32(imageBase))
		le.PutUint32(o[92:], 16)
	}
	b = append(b, o...)
	section := func(name string, mem, addr, size, off int, flags uint32) {
		b = append(b, pad([]byte(name), 8)...)
		for _, v := range []int{mem, addr, size, off, 0, 0, 0, int(flags)} {
			b = le.AppendUint32(b, uint32(v))
		}
	}
	auditOff := dataOff + len(data)
	section(".data", mem, dataAddr, len(data), dataOff, peData)
	section(".dep-v0", len(s.audit), 0x90000, roundUp(len(s.audit), 512), auditOff, 0x40000040)
	b = append(append(pad(b, dataOff), data...), s.audit...)
	return pad(b, roundUp(len(b), 512))
}

// macho builds a Mach-O file with one segment for data and its sections.
func (s spec) macho() []byte {
	const addr, off = 0x100002000, 4096
	at := uint64(addr)
	if !s.wide {
		at = 0x2000
	}
	var data []byte
	if s.goInfo != nil {
		data = s.goInfo(s, at)
	}
	magic, header, command, head, sect := uint32(machO32), 28, uint32(lcSegment), 56, 68
	if s.wide {
		magic, header, command, head, sect = machO64, 32, lcSegment64, 72, 80
	}
	n := 0
	if s.sections {
		n = 2
	}
	b := s.order.AppendUint32(nil, magic)
	for _, v := range []int{0x1000007, 3, 2, 1, head + n*sect, 0} {
		b = s.order.AppendUint32(b, uint32(v))
	}
	b = pad(b, header)
	b = s.order.AppendUint32(s.order.AppendUint32(b, command), uint32(head+n*sect))
	b = append(b, pad([]byte("__DATA"), 16)...)
	size := uint64(len(data) + len(s.audit))
	b = s.word(s.word(s.word(s.word(b, at), size), off), size)
	for _, v := range []int{vmRW, vmRW, n, 0} {
		b = s.order.AppendUint32(b, uint32(v))
	}
	section := func(name string, addr uint64, off, size int) {
		b = append(append(b, pad([]byte(name), 16)...), pad([]byte("__DATA"), 16)...)
		b = s.order.AppendUint32(s.word(s.word(b, addr), uint64(size)), uint32(off))
		b = append(b, make([]byte, sect-32-2*int(len(s.word(nil, 0)))-4)...)
	}
	if s.sections {
		section("__go_buildinfo", at, off, len(data))
		section(".dep-v0", at+uint64(len(data)), off+len(data), len(s.audit))
	}
	return append(append(pad(b, off), data...), s.audit...)
}

// fat joins Mach-O files to a universal binary.
func fat(files ...[]byte) []byte {
	be := binary.BigEndian
	b := be.AppendUint32(be.AppendUint32(nil, fat32), uint32(len(files)))
	off := 4096
	for i, f := range files {
		for _, v := range []int{0x1000007 + 5*i, 3, off, len(f), 12} {
			b = be.AppendUint32(b, uint32(v))
		}
		off += roundUp(len(f), 4096)
	}
	for _, f := range files {
		b = append(pad(b, roundUp(len(b), 4096)), f...)
	}
	return b
}

func deflated(text string) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	w.Write([]byte(text))
	w.Close()
	return b.Bytes()
}
