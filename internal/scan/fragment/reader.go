package fragment

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
)

const (
	tailSize = 7*8 + 4
	// maxBody is the largest body that Writer makes: an encoded package, or the alternatives of a requirement.
	maxBody = 1 << 20
	// readBuffer is the read buffer of a Reader.
	readBuffer = 32 << 10
)

// ErrDamaged says that a fragment is not what a Writer wrote.
var ErrDamaged = errors.New("the stored layer results are damaged")

// Source is a stored fragment.
type Source interface {
	io.ReaderAt
	Size() int64
}

// Check reads all of a fragment, compares its length and checksum, and returns what it says of its layer.
func Check(s Source) (Stats, error) {
	var stats Stats
	n := s.Size() - tailSize
	if n < 0 {
		return stats, ErrDamaged
	}
	var tail [tailSize]byte
	if _, err := s.ReadAt(tail[:], n); err != nil && err != io.EOF {
		return stats, err
	}
	crc := crc32.New(castagnoli)
	if _, err := io.CopyBuffer(crc, onlyReader{io.NewSectionReader(s, 0, s.Size()-4)}, make([]byte, min(s.Size(), readBuffer))); err != nil {
		return stats, err
	}
	var size int64
	for i, v := range append(stats.fields(), &size) {
		*v = int64(binary.LittleEndian.Uint64(tail[8*i:]))
	}
	if size != n || crc.Sum32() != binary.LittleEndian.Uint32(tail[tailSize-4:]) {
		return Stats{}, ErrDamaged
	}
	return stats, nil
}

type onlyReader struct{ io.Reader }

// Part says which records a reader wants; the others are passed over at the cost of their length.
type Part uint8

// The two parts of a fragment: what the layer's entries are, and what was found in them.
const (
	Paths Part = 1 << iota
	Findings
)

// Reader reads a fragment's records in order.
type Reader struct {
	r     *bufio.Reader
	parts Part
	last  []byte
	body  []byte
	seq   uint64
	names map[string]string
}

// NewReader returns a Reader of some parts of s, which has passed Check.
func NewReader(s Source, parts Part) *Reader {
	r := &Reader{r: bufio.NewReaderSize(nil, readBuffer), names: map[string]string{}}
	r.Reset(s, parts)
	return r
}

// Reset makes r a new Reader, of s, with the buffers of the old one.
func (r *Reader) Reset(s Source, parts Part) {
	r.r.Reset(io.NewSectionReader(s, 0, s.Size()))
	r.parts, r.last, r.seq = parts, r.last[:0], 0
}

// Next reads the next wanted record into rec, whose slices are valid until the call after. io.EOF is the end.
func (r *Reader) Next(rec *Record) error {
	for {
		k, err := r.r.ReadByte()
		if err != nil {
			return damaged(err)
		}
		n, err := binary.ReadUvarint(r.r)
		if err != nil {
			return damaged(err)
		}
		if n > maxBody {
			return fmt.Errorf("%w: a record of %d bytes", ErrDamaged, n)
		}
		if Kind(k) == end || Kind(k).part()&r.parts != 0 {
			return r.read(rec, Kind(k), n)
		}
		if _, err := r.r.Discard(int(n)); err != nil {
			return damaged(err)
		}
	}
}

func (k Kind) part() Part {
	switch k {
	case Dir, File, Symlink, Whiteout, Opaque:
		return Paths
	}
	return Findings
}

func (r *Reader) read(rec *Record, k Kind, n uint64) error {
	if uint64(cap(r.body)) < n {
		r.body = make([]byte, n+n/2)
	}
	r.body = r.body[:n]
	if _, err := io.ReadFull(r.r, r.body); err != nil {
		return damaged(err)
	}
	*rec = Record{Kind: k, Keys: rec.Keys[:0]}
	return r.decode(rec)
}

func damaged(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: it ends in the middle", ErrDamaged)
	}
	return err
}

func (r *Reader) decode(rec *Record) error {
	d := &decoder{b: r.body}
	switch rec.Kind {
	case Dir, File, Symlink, Whiteout, Opaque:
		r.decodePath(d, rec)
	case Package, Release, Problem, Link:
		rec.Seq, rec.Path = d.uvarint(), d.bytes()
		rec.Member, rec.Extractor = d.string(), r.name(d.bytes())
		switch rec.Kind {
		case Package:
			rec.Encoded = d.b
		case Problem:
			rec.Reason = d.string()
		case Link:
			rec.Target, rec.Mode = d.bytes(), fs.FileMode(d.uvarint()).Perm()
		default:
			v := &rec.Release
			for _, s := range []*string{&v.ID, &v.IDLike, &v.VersionID, &v.VersionCodename, &v.PrettyName, &v.Name} {
				*s = d.string()
			}
		}
	case Provides, Requires:
		for range d.byte() {
			rec.Keys = append(rec.Keys, d.string())
		}
	case end:
		return io.EOF
	default:
		return fmt.Errorf("%w: record of unknown kind %q", ErrDamaged, byte(rec.Kind))
	}
	if d.err != nil {
		return fmt.Errorf("%w: in a record of kind %q", ErrDamaged, byte(rec.Kind))
	}
	return nil
}

func (r *Reader) decodePath(d *decoder, rec *Record) {
	shared := d.uvarint()
	rest := d.bytes()
	if shared > uint64(len(r.last)) {
		d.err = errDamaged
		return
	}
	r.last = append(r.last[:shared], rest...)
	rec.Path = r.last
	if rec.Kind == Symlink {
		rec.Target = d.bytes()
	}
	if rec.Kind.IsEntry() {
		r.seq++
		rec.Seq = r.seq
	}
}

// name interns an extractor's name; there are few.
func (r *Reader) name(b []byte) string {
	if s, ok := r.names[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(r.names) < maxList {
		r.names[s] = s
	}
	return s
}
