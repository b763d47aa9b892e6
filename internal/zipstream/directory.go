package zipstream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

var le = binary.LittleEndian

const (
	sigLocal     = 0x04034b50
	sigEntry     = 0x02014b50
	sigEnd       = 0x06054b50
	sigEnd64     = 0x06064b50
	sigLocator64 = 0x07064b50

	localSize     = 30
	entrySize     = 46
	endSize       = 22
	end64Size     = 56
	locator64Size = 20

	maxComment = math.MaxUint16

	// searchWindow is how much of the tail is looked at at once for the end record.
	searchWindow = 4 << 10
	// maxCandidates bounds how many end signatures are tried: a comment can be full of them.
	maxCandidates = 16
)

var endMark = []byte("PK\x05\x06")

// findDirectory looks backwards for an end record. Like archive/zip and
// the JVM it believes the last one, but goes on where that one does not lead to a directory,
// because a comment may contain the signature.
func findDirectory(r io.ReaderAt, size int64) (*Archive, error) {
	var first error
	tried := 0
	buf := make([]byte, searchWindow+endSize)
	lowest := max(0, size-endSize-maxComment)
	for hi := size; hi-endSize >= lowest; hi -= searchWindow {
		// Records that start in [lo, hi-endSize]: the next window ends where one
		// that starts just before lo would.
		lo := max(lowest, hi-endSize-searchWindow+1)
		b := buf[:hi-lo]
		if err := readAt(r, b, lo); err != nil {
			return nil, fmt.Errorf("read the end of a zip archive: %w", err)
		}
		for i := len(b) - endSize + len(endMark); ; {
			if i = bytes.LastIndex(b[:i], endMark); i < 0 {
				break
			}
			at, rec := lo+int64(i), b[i:i+endSize]
			i += len(endMark) - 1
			if at+endSize+int64(le.Uint16(rec[20:])) > size {
				continue // its comment would not fit
			}
			if tried++; tried > maxCandidates {
				return nil, first
			}
			a, err := openDirectory(r, size, at, rec)
			if err == nil {
				return a, nil
			}
			if !errors.Is(err, ErrDirectory) {
				return nil, fmt.Errorf("read the end of a zip archive: %w", err)
			}
			if first == nil {
				first = err
			}
		}
	}
	if first == nil {
		first = ErrNotZip
	}
	return nil, first
}

// openDirectory reads the end record rec, found at at, and checks that it leads to a directory.
func openDirectory(r io.ReaderAt, size, at int64, rec []byte) (*Archive, error) {
	a := &Archive{r: r, end: at, records: uint64(le.Uint16(rec[10:]))}
	length, offset := uint64(le.Uint32(rec[12:])), uint64(le.Uint32(rec[16:]))
	if a.records == math.MaxUint16 || length == math.MaxUint32 || offset == math.MaxUint32 {
		var rec64 [end64Size]byte
		end64, err := find64(r, at, rec64[:])
		if err != nil {
			return nil, err
		}
		if end64 >= 0 {
			a.zip64, a.end = true, end64
			a.records, length, offset = le.Uint64(rec64[32:]), le.Uint64(rec64[40:]), le.Uint64(rec64[48:])
		}
	}
	if length > uint64(a.end) || offset > uint64(a.end) {
		return nil, fmt.Errorf("%w: said to be %d bytes at byte %d, and the archive has %d", ErrDirectory, length, offset, size)
	}
	// The directory stands right before its end record. Where that is not at the stated
	// offset, the difference is a prefix, unless an entry is at the stated offset.
	a.dir = a.end - int64(length)
	a.base = a.dir - int64(offset)
	if a.base != 0 {
		ok, err := hasSignature(r, int64(offset), sigEntry)
		if err != nil {
			return nil, err
		}
		if ok {
			a.base, a.dir = 0, int64(offset)
		}
	}
	if a.base < 0 {
		return nil, fmt.Errorf("%w: it would start at byte %d and end at byte %d", ErrDirectory, offset, a.end)
	}
	if length > 0 {
		ok, err := hasSignature(r, a.dir, sigEntry)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("%w: no entry at byte %d, where it should start", ErrDirectory, a.dir)
		}
	}
	return a, nil
}

// hasSignature reports whether a record of that kind may start at that place.
func hasSignature(r io.ReaderAt, at int64, signature uint32) (bool, error) {
	var b [4]byte
	err := readAt(r, b[:], at)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return false, nil
	}
	return err == nil && le.Uint32(b[:]) == signature, err
}

// find64 fills rec with the zip64 end record that belongs to the end record
// at end and returns where it is, -1 if there is none: then 0xffff is just a number.
func find64(r io.ReaderAt, end int64, rec []byte) (int64, error) {
	var loc [locator64Size]byte
	if end < locator64Size {
		return -1, nil
	}
	if err := readAt(r, loc[:], end-locator64Size); err != nil {
		return -1, err
	}
	if le.Uint32(loc[:]) != sigLocator64 {
		return -1, nil
	}
	// The stated place does not know of a prefix; the usual place is right before the locator.
	for _, at := range []int64{int64(le.Uint64(loc[8:])), end - locator64Size - end64Size} {
		if at < 0 || at > end-locator64Size-end64Size {
			continue
		}
		if err := readAt(r, rec, at); err != nil {
			return -1, err
		}
		if le.Uint32(rec) == sigEnd64 {
			return at, nil
		}
	}
	return -1, fmt.Errorf("%w: a zip64 locator that leads nowhere", ErrDirectory)
}
