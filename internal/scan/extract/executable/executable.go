// Package executable finds what compilers write into the binaries they make:
// the modules of a Go binary, and the crates of a Rust binary built with cargo-auditable.
//
// ELF, PE and Mach-O files map parts of themselves to addresses. A [layout] is
// what the three have in common: the mappings, where Go's build information
// may stand, and the section .dep-v0 of cargo-auditable.
//
// Most executables of an image are neither Go nor Rust, and nothing in the first bytes of
// an ELF file tells: both kinds of data are found through the section headers, at
// the end. What a linker keeps apart as code can hold neither, so it is not
// spooled (sparse.go): half of a C library. A PE file says
// in its first 4 KiB whether it can hold anything; most .NET assemblies cannot.
//
// Hazards: every offset, size and count in a header is a claim. Tables are
// walked in place, not kept; the module list of a Go binary and the inflated JSON
// of a Rust binary are streams. Binaries packed with UPX are not unpacked: nothing is found in them.
package executable

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/edges"
)

// minSize is less than the smallest executable that holds build information.
const minSize = 256

// maxArchs is how many architectures of a universal binary are read: there are not as many.
const maxArchs = 16

type extractor struct{}

// New returns the extractor of executables. It wants every file with a bit of
// mode x set: put it behind all extractors that go by name.
func New() extract.Extractor { return extractor{} }

func (extractor) Name() string { return "executable" }
func (extractor) Version() int { return 1 }

// Wants takes files that may be run, and libraries by their name, which have no mode x in many distributions.
func (extractor) Wants(h extract.Header) bool {
	if h.Size < minSize {
		return false
	}
	if h.Mode&0o111 != 0 {
		return true
	}
	name := h.Path[strings.LastIndexByte(h.Path, '/')+1:]
	for _, s := range [...]string{".so", ".exe", ".dll", ".dylib", ".node"} {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	return strings.Contains(name, ".so.")
}

// errFormat says that headers contradict themselves. A file that only begins like an
// executable is not worth a report.
var errFormat = errors.New("damaged executable")

func (x extractor) Extract(ctx context.Context, f *extract.File, out extract.Output) error {
	head, err := f.Peek(headSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	s := &scan{ctx: ctx, scope: edges.Scope(f.Path), out: out}
	switch kindOf(head) {
	case kindELF:
		r, err := openELF(f, head)
		if err != nil {
			return err
		}
		return s.file(r, f.Size, elfLayout)
	case kindPE:
		if !mayHoldPE(head) {
			return nil
		}
		return s.spooled(f, peLayout)
	case kindMachO:
		return s.spooled(f, machoLayout)
	case kindFat:
		return s.fat(f, head)
	}
	return nil
}

// headSize is what File.Peek gives at most: the headers of PE files, program headers of ELF files.
const headSize = 4096

type kind int

const (
	kindNone kind = iota
	kindELF
	kindPE
	kindMachO
	kindFat
)

func kindOf(head []byte) kind {
	if len(head) < minSize {
		return kindNone
	}
	switch le, be := binary.LittleEndian.Uint32(head), binary.BigEndian.Uint32(head); {
	case be == 0x7f454c46:
		return kindELF
	case head[0] == 'M' && head[1] == 'Z':
		return kindPE
	case le == machO32 || le == machO64 || be == machO32 || be == machO64:
		return kindMachO
	case be == fat32 && binary.BigEndian.Uint32(head[4:]) <= maxArchs:
		return kindFat // a Java class begins so, and has its version, 45 or more, in place of the count
	}
	return kindNone
}

// scan is the state of one Extract.
type scan struct {
	ctx   context.Context //nolint:containedctx // it lives as long as one call of Extract
	scope string          // the file's path, as a part of keys
	out   extract.Output
}

type layoutFunc func(r io.ReaderAt, size int64) (*layout, error)

func (s *scan) spooled(f *extract.File, fn layoutFunc) error {
	r, err := f.ReaderAt()
	if err != nil {
		return err
	}
	return s.file(r, f.Size, fn)
}

// fat reads a universal binary: several Mach-O files in one.
func (s *scan) fat(f *extract.File, head []byte) error {
	type arch struct{ off, size int64 }
	var archs []arch
	for i := range int(binary.BigEndian.Uint32(head[4:])) {
		at := 8 + 20*i
		if at+20 > len(head) {
			break // the file is shorter than the architectures it states
		}
		h := head[at:]
		archs = append(archs, arch{int64(binary.BigEndian.Uint32(h[8:])), int64(binary.BigEndian.Uint32(h[12:]))})
	}
	r, err := f.ReaderAt()
	if err != nil {
		return err
	}
	for i, a := range archs {
		if a.size > f.Size-a.off {
			return fmt.Errorf("%w: architecture %d would reach beyond its end", errFormat, i+1)
		}
		if err := s.file(io.NewSectionReader(r, a.off, a.size), a.size, machoLayout); err != nil {
			return err
		}
	}
	return nil
}

// file reads one binary.
func (s *scan) file(r io.ReaderAt, size int64, fn layoutFunc) error {
	l, err := fn(r, size)
	if err != nil || l == nil {
		return hole(err)
	}
	if l.full {
		s.out.Partial(fmt.Sprintf("its headers map more than %d parts: the others were not read", maxMappings))
	}
	if l.truncated {
		s.out.Partial(fmt.Sprintf("it ends after %d bytes, and its headers place sections behind that: it was truncated, and what it says of its packages may be missing", size))
	}
	if err := s.goBinary(l); err != nil {
		return hole(err)
	}
	return hole(s.audit(l))
}
