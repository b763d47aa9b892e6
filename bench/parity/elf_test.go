package main

import (
	"bytes"
	"compress/zlib"
	"debug/elf"
	"encoding/binary"
	"testing"
)

// section is a section of a program.
type section struct {
	name string
	data []byte
}

// program makes the smallest x86-64 ELF file that has the given sections, all in one writable segment, where
// debug/buildinfo, and so each of the tools, looks for Go's build information.
func program(t *testing.T, sections ...section) []byte {
	t.Helper()
	const base, headers = 0x400000, 64 + 56 // ELF header and one program header, elf(5)
	names := []byte{0}
	body := []byte{}
	table := []elf.Section64{{}}
	for _, s := range append(sections, section{".shstrtab", nil}) {
		for len(body)%16 != 8 { // so that the file offset, headers included, is aligned to 16
			body = append(body, 0)
		}
		h := elf.Section64{Name: uint32(len(names)), Type: uint32(elf.SHT_PROGBITS), Flags: uint64(elf.SHF_ALLOC | elf.SHF_WRITE),
			Off: uint64(headers + len(body)), Addr: uint64(base + headers + len(body)), Size: uint64(len(s.data)), Addralign: 16}
		names = append(append(names, s.name...), 0)
		if s.data == nil {
			h.Type, h.Flags, h.Addr, h.Size = uint32(elf.SHT_STRTAB), 0, 0, uint64(len(names))
			s.data = names
		}
		body = append(body, s.data...)
		table = append(table, h)
	}
	size := uint64(headers + len(body))
	var b bytes.Buffer
	for _, v := range []any{
		elf.Header64{Ident: [16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1,
			Entry: base, Phoff: 64, Shoff: size, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64,
			Shnum: uint16(len(table)), Shstrndx: uint16(len(table) - 1)},
		elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W), Vaddr: base, Paddr: base, Filesz: size, Memsz: size, Align: 4096},
		body, table,
	} {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// goProgram is a Go program with that build information: the inline form of Go 1.18 and later, as in debug/buildinfo.
func goProgram(t *testing.T, version, modules string) []byte {
	t.Helper()
	frame := string(make([]byte, 16)) // before and after the text, in which the linker puts marks
	b := append([]byte("\xff Go buildinf:"), 8, 2)
	b = append(b, make([]byte, 32-len(b))...)
	for _, s := range []string{version, frame + modules + "\n" + frame} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return program(t, section{".go.buildinfo", b})
}

// rustProgram is a program that cargo-auditable built: zlib-compressed JSON in the section .dep-v0.
func rustProgram(t *testing.T, audit string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	if _, err := w.Write([]byte(audit)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return program(t, section{".dep-v0", b.Bytes()})
}
