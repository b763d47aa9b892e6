package squash

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"

	"stella/internal/scan/fragment"
	"stella/internal/scan/inventory"
	"stella/internal/spool"
)

// An inventory on disk is one file: magic, locations, components, edges, a JSON trailer,
// and the trailer's length; where it is kept, the CRC-32C of all that comes last. The first three are written side by side, so
// they begin as files of their own.

const (
	magic = "stella inventory 1\n"
	// maxTrailer bounds the trailer: 1,001 problems of at most a few KiB.
	maxTrailer = 16 << 20
	ioBuffer   = 32 << 10
)

type trailer struct {
	Locations, Components, Edges int64 // bytes of the sections
	Problems                     []inventory.Problem
	Release                      *inventory.Release
	Count                        map[inventory.Type]int
	Note                         json.RawMessage
}

// Inventory is a squashed image on disk. It implements inventory.Inventory.
type Inventory struct {
	f    *os.File
	size int64 // without the checksum
	t    trailer
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var _ inventory.Inventory = (*Inventory)(nil)

// Open reads an inventory that [Inventory.WriteTo] wrote. It takes the file over.
func Open(f *os.File) (*Inventory, error) {
	inv, err := open(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("stored inventory: %w", err)
	}
	return inv, nil
}

func open(f *os.File) (*Inventory, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	end := st.Size() - crc32.Size
	if err := check(f, end); err != nil {
		return nil, err
	}
	head := make([]byte, len(magic))
	var size [8]byte
	if _, err := f.ReadAt(head, 0); err != nil || string(head) != magic {
		return nil, fmt.Errorf("not an inventory of this version: %w", fragment.ErrDamaged)
	}
	if _, err := f.ReadAt(size[:], end-8); err != nil {
		return nil, err
	}
	n := int64(binary.LittleEndian.Uint64(size[:]))
	at := end - 8 - n
	if n < 0 || n > maxTrailer || at < int64(len(magic)) {
		return nil, fragment.ErrDamaged
	}
	inv := &Inventory{f: f, size: end}
	if err := json.NewDecoder(io.NewSectionReader(f, at, n)).Decode(&inv.t); err != nil {
		return nil, fragment.ErrDamaged
	}
	t := &inv.t
	if min(t.Locations, t.Components, t.Edges) < 0 || int64(len(magic))+t.Locations+t.Components+t.Edges != at {
		return nil, fragment.ErrDamaged
	}
	return inv, nil
}

// check compares the checksum behind the first n bytes of f with them.
func check(f *os.File, n int64) error {
	if n < 0 {
		return fragment.ErrDamaged
	}
	var want [crc32.Size]byte
	if _, err := f.ReadAt(want[:], n); err != nil {
		return err
	}
	sum := crc32.New(castagnoli)
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, n)); err != nil {
		return err
	}
	if sum.Sum32() != binary.LittleEndian.Uint32(want[:]) {
		return fragment.ErrDamaged
	}
	return nil
}

// WriteTo writes the inventory with its checksum, so that Open can read it.
func (inv *Inventory) WriteTo(w io.Writer) (int64, error) {
	sum := crc32.New(castagnoli)
	n, err := io.Copy(io.MultiWriter(w, sum), io.NewSectionReader(inv.f, 0, inv.size))
	if err != nil {
		return n, err
	}
	k, err := w.Write(binary.LittleEndian.AppendUint32(nil, sum.Sum32()))
	return n + int64(k), err
}

// Close gives the disk space back.
func (inv *Inventory) Close() error { return inv.f.Close() }

// Problems implements inventory.Inventory.
func (inv *Inventory) Problems() []inventory.Problem { return inv.t.Problems }

// Release implements inventory.Inventory.
func (inv *Inventory) Release() *inventory.Release { return inv.t.Release }

// Count implements inventory.Inventory.
func (inv *Inventory) Count() map[inventory.Type]int { return inv.t.Count }

// Note is what the caller of Run gave to be kept.
func (inv *Inventory) Note() []byte { return inv.t.Note }

func (inv *Inventory) section(before, n int64) *bufio.Reader {
	return bufio.NewReaderSize(io.NewSectionReader(inv.f, int64(len(magic))+before, n), ioBuffer)
}

// Components implements inventory.Inventory.
func (inv *Inventory) Components() iter.Seq2[*inventory.Component, error] {
	return func(yield func(*inventory.Component, error) bool) {
		components := inv.section(inv.t.Locations, inv.t.Components)
		locations := inv.section(0, inv.t.Locations)
		var buf []byte
		for {
			var c inventory.Component
			err := readComponent(components, &c, &buf)
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(nil, fmt.Errorf("stored inventory: %w", err))
				return
			}
			left := c.LocationCount
			c.Locations = readLocations(locations, &left)
			if !yield(&c, nil) {
				return
			}
			for range c.Locations { // those that were not asked for
			}
		}
	}
}

func readComponent(r *bufio.Reader, c *inventory.Component, buf *[]byte) error {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return err
	}
	c.LocationCount = int(n)
	if c.PURL, err = readString(r, buf); err != nil {
		return noEOF(err)
	}
	c.Ref = c.PURL
	if _, err = readString(r, buf); err != nil {
		return noEOF(err)
	}
	c.Package, err = fragment.Decode(*buf)
	return err
}

func readLocations(r *bufio.Reader, left *int) iter.Seq2[inventory.Location, error] {
	var buf []byte
	return func(yield func(inventory.Location, error) bool) {
		for *left > 0 {
			*left--
			l, err := readLocation(r, &buf)
			if err != nil {
				err = fmt.Errorf("stored inventory: %w", noEOF(err))
				*left = 0
			}
			if !yield(l, err) {
				return
			}
		}
	}
}

func readLocation(r *bufio.Reader, buf *[]byte) (l inventory.Location, err error) {
	layer, err := binary.ReadUvarint(r)
	if err != nil {
		return l, err
	}
	l.Layer = int(layer)
	if l.Path, err = readString(r, buf); err == nil {
		l.Extractor, err = readString(r, buf)
	}
	return l, err
}

// Edges implements inventory.Inventory.
func (inv *Inventory) Edges() iter.Seq2[inventory.Edge, error] {
	return func(yield func(inventory.Edge, error) bool) {
		r := inv.section(inv.t.Locations+inv.t.Components, inv.t.Edges)
		var buf []byte
		for {
			var e inventory.Edge
			var err error
			if e.From, err = readString(r, &buf); err == io.EOF {
				return
			}
			if err == nil {
				e.To, err = readString(r, &buf)
			}
			if err != nil {
				yield(e, fmt.Errorf("stored inventory: %w", noEOF(err)))
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

func readString(r *bufio.Reader, buf *[]byte) (string, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return "", err
	}
	if n > 1<<20 {
		return "", fragment.ErrDamaged
	}
	if uint64(cap(*buf)) < n {
		*buf = make([]byte, 2*n)
	}
	*buf = (*buf)[:n]
	if _, err := io.ReadFull(r, *buf); err != nil {
		return "", noEOF(err)
	}
	return string(*buf), nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// writer writes the three sections side by side.
type writer struct {
	dir        string
	onDisk     func(int64)
	locations  *section
	components *section
	edges      *section
	count      map[inventory.Type]int
	places     int // locations of the component that is being written
	buf        []byte
}

type section struct {
	f *os.File
	w *bufio.Writer
	n int64
}

func newWriter(dir string, onDisk func(int64)) (*writer, error) {
	w := &writer{dir: dir, onDisk: onDisk, count: map[inventory.Type]int{}}
	for _, s := range []**section{&w.locations, &w.components, &w.edges} {
		f, err := spool.TempFile(dir)
		if err != nil {
			w.close()
			return nil, err
		}
		*s = &section{f: f, w: bufio.NewWriterSize(f, ioBuffer)}
	}
	_, err := w.locations.w.WriteString(magic)
	return w, err
}

func (s *section) write(b []byte) error {
	s.n += int64(len(b))
	_, err := s.w.Write(b)
	return err
}

func (w *writer) location(l inventory.Location) error {
	w.places++
	w.buf = binary.AppendUvarint(w.buf[:0], uint64(l.Layer))
	w.buf = appendString(appendString(w.buf, l.Path), l.Extractor)
	return w.locations.write(w.buf)
}

// component ends the component whose locations were written.
func (w *writer) component(ref string, p *inventory.Package) error {
	b := appendString(binary.AppendUvarint(w.buf[:0], uint64(w.places)), ref)
	enc, err := fragment.Encode(nil, p)
	if err != nil {
		return err
	}
	w.buf = append(binary.AppendUvarint(b, uint64(len(enc))), enc...)
	w.places = 0
	w.count[p.Type]++
	return w.components.write(w.buf)
}

func (w *writer) edge(from, to []byte) error {
	w.buf = appendString(appendString(w.buf[:0], string(from)), string(to))
	return w.edges.write(w.buf)
}

func (w *writer) finish(problems []inventory.Problem, r *inventory.Release, note []byte) (*Inventory, error) {
	t := trailer{w.locations.n, w.components.n, w.edges.n, problems, r, w.count, note}
	tail, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	for _, s := range []*section{w.components, w.edges} {
		if err := s.w.Flush(); err != nil {
			return nil, err
		}
		if _, err := io.Copy(w.locations.w, io.NewSectionReader(s.f, 0, s.n)); err != nil {
			return nil, err
		}
		s.f.Close()
	}
	tail = binary.LittleEndian.AppendUint64(tail, uint64(len(tail)))
	if err := w.locations.write(tail); err != nil {
		return nil, err
	}
	if err := w.locations.w.Flush(); err != nil {
		return nil, err
	}
	return &Inventory{f: w.locations.f, size: int64(len(magic)) + w.locations.n + w.components.n + w.edges.n, t: t}, nil
}

func (w *writer) close() {
	for _, s := range []*section{w.locations, w.components, w.edges} {
		if s != nil {
			s.f.Close()
		}
	}
}
