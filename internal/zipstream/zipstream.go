// Package zipstream reads zip archives of any size in a fixed amount of
// memory: the central directory is a stream of entries, none of which is kept.
//
// An archive ends with its central directory, one record per member, and an
// end record that says where the directory starts. Before the first member there can be a prefix of
// any size (a shell script in a self-executing jar), which shifts all
// offsets; after the end record there can be a comment. A member's data
// follows a local header, which repeats some of its directory record.
//
// Hazards, all of which a hostile archive uses:
//
//   - Counts and sizes are claims. The number of entries is whatever the
//     directory holds; the stated number is only compared at the end.
//   - Entries may share data (a bomb without recursion). The sum of what all
//     entries occupy can not exceed the archive: [ErrOverlap].
//   - Names may repeat. Finding repeats needs memory for all names, so it is up
//     to the caller for the names that matter to it. The JVM takes the last one, archive/zip the first.
//   - Inflated data may be a thousand times larger than the archive.
//     [Decoder.Open] never gives more than the stated size; the caller limits that.
//
// The format is PKWARE's APPNOTE.TXT 6.3.10.
package zipstream

import (
	"errors"
	"fmt"
	"io"
)

// Errors that callers tell apart. Those of Open say that nothing can be
// read; those of Entries that the entries given so far may be used.
var (
	// ErrNotZip says that there is no end record: it is not a zip archive, or its end is missing.
	ErrNotZip = errors.New("not a zip archive: no end of central directory")
	// ErrDirectory says that the directory is damaged or lies.
	ErrDirectory = errors.New("damaged zip directory")
	// ErrOverlap says that entries claim more bytes than the archive has.
	ErrOverlap = errors.New("zip entries overlap")
	// ErrMember says that one member cannot be read; others may be.
	ErrMember = errors.New("unreadable zip member")
)

// MaxName is the most bytes of a member's name that are kept: PATH_MAX on Linux.
const MaxName = 4 << 10

// Compression methods that [Decoder.Open] knows.
const (
	Stored   = 0
	Deflated = 8
)

const flagEncrypted = 1 << 0

// Entry is one record of the central directory. Nothing in it was verified.
type Entry struct {
	// Name is valid until the callback returns.
	Name []byte
	// NameCut says that the name was longer than MaxName and Name is its beginning.
	NameCut bool
	Member
}

// Directory reports whether the entry is a directory, by its name.
func (e *Entry) Directory() bool { return len(e.Name) > 0 && e.Name[len(e.Name)-1] == '/' }

// Member says where the data of an entry is. It is small, and may be kept to
// open the member later.
type Member struct {
	Method, Flags uint16
	CRC32         uint32
	Compressed    int64 // bytes in the archive
	Size          int64 // bytes when inflated
	Offset        int64 // of the local header, from the start of the ReaderAt
}

// Encrypted reports whether the data is encrypted.
func (m *Member) Encrypted() bool { return m.Flags&flagEncrypted != 0 }

// Archive is an open archive. It holds no entries and needs no closing.
// Safe for concurrent use if its ReaderAt is.
type Archive struct {
	r    io.ReaderAt
	base int64 // length of the prefix: added to every stated offset
	dir  int64 // start of the directory
	end  int64 // end of the directory: start of the end record
	// records is the stated number of entries, exact with zip64, else modulo 1<<16.
	records uint64
	zip64   bool
}

// Open finds the directory of the archive in the first size bytes of r.
// Errors: ErrNotZip, ErrDirectory, or one of r.
func Open(r io.ReaderAt, size int64) (*Archive, error) {
	a, err := findDirectory(r, size)
	if err != nil {
		return nil, err
	}
	return a, nil
}

// Section gives random access to the data of a stored member, in place. It
// does not check the CRC.
func (a *Archive) Section(m *Member) (*io.SectionReader, error) {
	if m.Method != Stored {
		return nil, fmt.Errorf("%w: compressed with method %d, which cannot be read in place", ErrMember, m.Method)
	}
	if m.Compressed != m.Size {
		return nil, fmt.Errorf("%w: stored, but %d bytes are said to become %d", ErrMember, m.Compressed, m.Size)
	}
	return a.raw(m)
}

// raw gives the bytes of a member as they stand in the archive.
func (a *Archive) raw(m *Member) (*io.SectionReader, error) {
	if m.Encrypted() {
		return nil, fmt.Errorf("%w: it is encrypted", ErrMember)
	}
	var h [localSize]byte
	if m.Offset < 0 || m.Offset > a.dir-localSize {
		return nil, fmt.Errorf("%w: its header would be at byte %d, and the directory starts at %d", ErrMember, m.Offset, a.dir)
	}
	if err := readAt(a.r, h[:], m.Offset); err != nil {
		return nil, fmt.Errorf("read the header of a zip member: %w", err)
	}
	if le.Uint32(h[:]) != sigLocal {
		return nil, fmt.Errorf("%w: no header at byte %d", ErrMember, m.Offset)
	}
	start := m.Offset + localSize + int64(le.Uint16(h[26:])) + int64(le.Uint16(h[28:]))
	if start > a.dir || m.Compressed > a.dir-start {
		return nil, fmt.Errorf("%w: %d bytes from byte %d reach into the directory at %d", ErrMember, m.Compressed, start, a.dir)
	}
	return io.NewSectionReader(a.r, start, m.Compressed), nil
}

// readAt fills p from off; a short read is io.ErrUnexpectedEOF.
func readAt(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || err == io.EOF:
		return io.ErrUnexpectedEOF
	}
	return err
}
