package zipstream

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
)

// directoryBuffer is how much of the directory is read at once: some hundred entries.
const directoryBuffer = 16 << 10

// Entries calls fn for every entry in the order of the directory. The entry
// is used again for the next call. It returns fn's error as it is, ErrDirectory or ErrOverlap
// where the rest of the directory cannot be believed, or an error of the ReaderAt.
func (a *Archive) Entries(fn func(e *Entry) error) error {
	// It is enough to know that each entry takes bytes and that
	// there are no more than stand between the start and the end record: a stated count can make it neither loop nor allocate.
	d := walkers.Get().(*walker)
	defer walkers.Put(d)
	d.reset(a)
	defer d.reset(&Archive{r: nothing})
	var n uint64
	for {
		ok, err := d.next()
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: it ends within entry %d", ErrDirectory, n+1)
		}
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		n++
		if err := fn(&d.e); err != nil {
			return err
		}
	}
	if a.zip64 && n != a.records || uint16(n) != uint16(a.records) {
		return fmt.Errorf("%w: it says %d entries and has %d", ErrDirectory, a.records, n)
	}
	return nil
}

// walker reads one directory.
type walker struct {
	a    *Archive
	br   *bufio.Reader
	e    Entry
	name [MaxName]byte
	used int64 // bytes that the entries so far occupy
}

// walkers keeps buffers between archives: most have few entries. One that is not in use keeps no archive alive.
var (
	walkers = sync.Pool{New: func() any { return &walker{br: bufio.NewReaderSize(nil, directoryBuffer)} }}
	nothing = bytes.NewReader(nil)
)

func (d *walker) reset(a *Archive) {
	d.a, d.used = a, 0
	d.br.Reset(io.NewSectionReader(a.r, a.dir, a.end-a.dir))
}

// next reads an entry into d.e; false where the directory is at its end.
func (d *walker) next() (bool, error) {
	h, err := d.br.Peek(entrySize)
	if len(h) < 4 || le.Uint32(h) != sigEntry {
		// Something else may stand between the directory and its end, a signature for example.
		if err != nil && !errors.Is(err, io.EOF) {
			return false, fmt.Errorf("read the zip directory: %w", err)
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	e := &d.e
	e.Flags, e.Method = le.Uint16(h[8:]), le.Uint16(h[10:])
	e.CRC32 = le.Uint32(h[16:])
	size := [3]uint64{uint64(le.Uint32(h[24:])), uint64(le.Uint32(h[20:])), uint64(le.Uint32(h[42:]))}
	name, extra, comment := int(le.Uint16(h[28:])), int(le.Uint16(h[30:])), int(le.Uint16(h[32:]))
	if _, err := d.br.Discard(entrySize); err != nil {
		return false, err
	}
	kept := min(name, MaxName)
	e.Name, e.NameCut = d.name[:kept], kept < name
	if _, err := io.ReadFull(d.br, e.Name); err != nil {
		return false, err
	}
	if _, err := d.br.Discard(name - kept); err != nil {
		return false, err
	}
	if err := d.extra(extra, &size); err != nil {
		return false, err
	}
	if _, err := d.br.Discard(comment); err != nil {
		return false, err
	}
	return true, d.place(size[0], size[1], size[2], name)
}

// extra reads the extra fields, n bytes, for the zip64 one: it holds, in this order,
// size, compressed size and offset, each only where the record itself says 0xffffffff.
func (d *walker) extra(n int, size *[3]uint64) error {
	for n >= 4 {
		h, err := d.br.Peek(4)
		if err != nil {
			return err
		}
		tag, length := le.Uint16(h), int(le.Uint16(h[2:]))
		if _, err := d.br.Discard(4); err != nil {
			return err
		}
		n -= 4
		length = min(length, n)
		n -= length
		for i := 0; tag == 1 && i < len(size) && length >= 8; i++ {
			if size[i] != math.MaxUint32 {
				continue
			}
			v, err := d.br.Peek(8)
			if err != nil {
				return err
			}
			size[i] = le.Uint64(v)
			if _, err := d.br.Discard(8); err != nil {
				return err
			}
			length -= 8
		}
		if _, err := d.br.Discard(length); err != nil {
			return err
		}
	}
	_, err := d.br.Discard(n)
	return err
}

// place sets where the entry's data is, and counts it.
func (d *walker) place(size, compressed, offset uint64, name int) error {
	e, a := &d.e, d.a
	if size > math.MaxInt64 || compressed > uint64(a.dir) || offset > uint64(a.dir-a.base) {
		return fmt.Errorf("%w: entry %.100q: %d bytes at byte %d, and the archive has %d before its directory",
			ErrDirectory, e.Name, compressed, offset, a.dir)
	}
	e.Size, e.Compressed, e.Offset = int64(size), int64(compressed), a.base+int64(offset)
	if d.used += localSize + int64(name) + e.Compressed; d.used > a.dir-a.base {
		return fmt.Errorf("%w: up to %.100q they claim %d bytes, and the archive has %d", ErrOverlap, e.Name, d.used, a.dir-a.base)
	}
	return nil
}
