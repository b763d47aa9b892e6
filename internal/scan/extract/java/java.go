// Package java finds Maven packages in Java archives: jar, war, ear and their
// relatives, and the archives inside them.
//
// An archive is a zip file. A Maven build leaves a descriptor in it,
// META-INF/maven/<group>/<artifact>/pom.properties and pom.xml; other builds leave only
// META-INF/MANIFEST.MF. A shaded archive holds the classes, and mostly the descriptors, of
// other artifacts: each descriptor is a package. One of them, or none, is
// the main package: the one that the file itself is.
//
// The main package is identified by the first of these that fits:
//
//  1. The pom.properties whose artifact id matches the file name: with its
//     version, exactly, up to punctuation, or as beginning or end.
//     The last, loose match, and 2, only count if file name and manifest state no other version;
//     an OSGi bundle's version of three numbers may say the same with a zero or a qualifier more.
//  2. The only descriptor there is.
//  3. The file name, name-version.jar. Its version may be missing: then it is
//     Implementation-, Specification-, Plugin- or Bundle-Version of the manifest. An archive with
//     neither manifest nor descriptor counts only if the name has a version.
//
// A pom.xml stands in for a pom.properties that is missing. The group id
// comes from the descriptor, or from the parent that pom.xml names. Without a descriptor it is a guess, in this order:
// a table of well-known artifacts (families.go), Group-Id, Implementation-Vendor-Id and
// Bundle-SymbolicName of the manifest, the file name up to its last dot,
// and last the artifact id itself, as it was the custom before 2005.
//
// Hazards: an archive of a few kilobytes inflates to gigabytes, holds itself, or
// has a million members. Inflated bytes, depth and what is remembered are
// bounded; what is beyond is said with Partial.
package java

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"

	"stella/internal/scan/extract"
	"stella/internal/scan/inventory"
	"stella/internal/spool"
	"stella/internal/zipstream"
)

const (
	// maxDepth is how deep archives may be nested: real ones reach four (ear, war, jar, jar). A
	// level holds up to 90 KiB: a spool's memory, a directory buffer.
	maxDepth = 8
	// Nested archives may inflate to this much in all: class files shrink to
	// a half, and what is compressed once does not shrink again, so that an honest file stays far below.
	inflateBase   = 256 << 20
	inflateFactor = 8
	// minArchive is the size of an empty zip archive. Smaller files, mostly placeholders, hold nothing.
	minArchive = 22
)

var errInflated = errors.New("its archives inflate to more than any honest file of its size: the rest was not read")

type extractor struct{}

// New returns the extractor of Java archives.
func New() extract.Extractor { return extractor{} }

func (extractor) Name() string { return "java" }
func (extractor) Version() int { return 3 }

func (extractor) Wants(h extract.Header) bool { return h.Size >= minArchive && isArchive(h.Path) }

// suffixes are those of syft's java-archive-cataloger.
var suffixes = [...]string{
	".jar", ".war", ".ear", ".par", ".sar", ".nar", ".kar", ".far",
	".jpi", ".hpi", // Jenkins plugins
	".lpkg", // Liferay
	".rar",  // resource adapters
	".zap",  // ZAP add-ons
}

// isArchive reports whether a name ends like that of a Java archive, in any case.
func isArchive[S string | []byte](name S) bool {
	for _, s := range suffixes {
		if n := len(name) - len(s); n >= 0 && equalFoldASCII(name[n:], s) {
			return true
		}
	}
	return false
}

// equalFoldASCII compares with a lower-case s, without allocating.
func equalFoldASCII[S string | []byte](b S, s string) bool {
	for i := range len(s) {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

func (extractor) Extract(ctx context.Context, f *extract.File, out extract.Output) error {
	r, err := f.ReaderAt()
	if err != nil {
		return err
	}
	s := scans.Get().(*scan)
	defer scans.Put(s)
	s.ctx, s.f, s.out = ctx, f, out
	defer func() { s.ctx, s.f, s.out = nil, nil, nil }()
	s.left = inflateBase + inflateFactor*f.Size
	return s.archive(r, f.Size, "", 0)
}

// scan is the state of one Extract. Its buffers are used again.
type scan struct {
	ctx  context.Context //nolint:containedctx // it lives as long as one call of Extract
	f    *extract.File
	out  extract.Output
	dec  zipstream.Decoder
	text [maxText]byte
	left int64 // bytes that may still be inflated
}

var scans = sync.Pool{New: func() any { return new(scan) }}

// archive reads one archive: the file itself, or the member at that path of it.
func (s *scan) archive(r io.ReaderAt, size int64, member string, depth int) error {
	a, err := zipstream.Open(r, size)
	if errors.Is(err, zipstream.ErrNotZip) && isRAR(r) {
		return nil // the other kind of .rar
	}
	if err != nil {
		return err
	}
	// Identification is over, and what it remembered is gone, before anything nested is opened.
	nested, damage := s.identify(a, member)
	if damage != nil && !isDamage(damage) {
		return damage
	}
	if !nested {
		return damage
	}
	err = a.Entries(func(e *zipstream.Entry) error {
		if err := s.ctx.Err(); err != nil || e.Size < minArchive || e.NameCut || !isArchive(e.Name) {
			return err
		}
		return s.nested(a, &e.Member, join(member, e.Name), depth+1)
	})
	if damage != nil && (err == nil || isDamage(err)) {
		return damage // the same, seen again
	}
	return err
}

// nested reads an archive inside a. Damage to it is Partial; an error returned ends the whole file.
func (s *scan) nested(a *zipstream.Archive, m *zipstream.Member, member string, depth int) error {
	err := func() error {
		if depth > maxDepth {
			return fmt.Errorf("%w: archives are nested more than %d deep", zipstream.ErrMember, maxDepth)
		}
		if m.Method == zipstream.Stored {
			r, err := a.Section(m)
			if err != nil {
				return err
			}
			return s.archive(r, r.Size(), member, depth)
		}
		if m.Size > s.left {
			return errInflated
		}
		b, err := s.inflate(a, m)
		if err != nil {
			return err
		}
		defer b.Close()
		return s.archive(b, b.Size(), member, depth)
	}()
	if isDamage(err) {
		s.out.Partial(member + ": " + err.Error())
		return nil
	}
	return err
}

func isRAR(r io.ReaderAt) bool {
	var magic [4]byte
	n, _ := r.ReadAt(magic[:], 0)
	return n == len(magic) && string(magic[:]) == "Rar!"
}

// inflate spools a compressed member.
func (s *scan) inflate(a *zipstream.Archive, m *zipstream.Member) (*spool.Buffer, error) {
	r, err := s.dec.Open(a, m)
	if err != nil {
		return nil, err
	}
	b, err := s.f.Spool(ctxReader{s.ctx, r}, m.Size)
	if err != nil {
		return nil, err
	}
	s.left -= b.Size()
	return b, nil
}

type ctxReader struct {
	ctx context.Context //nolint:containedctx // it lives as long as one copy
	r   io.Reader
}

func (r ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// isDamage tells what is wrong with an archive from what is wrong with the machine.
func isDamage(err error) bool {
	return errors.Is(err, zipstream.ErrNotZip) || errors.Is(err, zipstream.ErrDirectory) ||
		errors.Is(err, zipstream.ErrOverlap) || errors.Is(err, zipstream.ErrMember) || errors.Is(err, errInflated)
}

// join appends a member's name to the path of the archive that holds it.
func join(member string, name []byte) string {
	n := strings.TrimLeft(inventory.Clean(string(name)), "/")
	if member == "" {
		return n
	}
	return member + "!/" + n
}

// base is the last element of the archive's path.
func (s *scan) base(member string) string {
	if member != "" {
		return path.Base(member)
	}
	return path.Base(s.f.Path)
}
