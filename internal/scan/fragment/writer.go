package fragment

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"stella/internal/scan/inventory"
)

// A record on disk: its kind, the uvarint length of its body, the body. The
// path of an entry is front-coded against the entry before it. The end record
// is empty and is followed by the tail: the fields of Stats and the number of
// bytes before the tail, 8 bytes each, and the CRC-32C of all that, little-endian.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Writer writes a fragment. Its errors are sticky and are those of the underlying writer: [Writer.Close] returns the first.
type Writer struct {
	w     *bufio.Writer
	crc   uint32
	n     int64
	seq   uint64
	last  []byte
	body  []byte
	stats Stats
	err   error
}

// writeBuffer is the buffer of a Writer, in bytes.
const writeBuffer = 32 << 10

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: bufio.NewWriterSize(w, writeBuffer)} }

// Reset makes w a new Writer that writes to f, with the buffers of the old one.
func (w *Writer) Reset(f io.Writer) {
	w.w.Reset(f)
	*w = Writer{w: w.w, last: w.last[:0], body: w.body[:0]}
}

func (w *Writer) record(k Kind, body []byte) {
	var head [1 + binary.MaxVarintLen32]byte
	head[0] = byte(k)
	w.raw(binary.AppendUvarint(head[:1], uint64(len(body))))
	w.raw(body)
}

func (w *Writer) raw(b []byte) {
	if w.err != nil {
		return
	}
	w.crc = crc32.Update(w.crc, castagnoli, b)
	w.n += int64(len(b))
	_, w.err = w.w.Write(b)
}

// Err is the first error of writing.
func (w *Writer) Err() error { return w.err }

// Seq is the number of the last entry.
func (w *Writer) Seq() uint64 { return w.seq }

// Entry records an entry of the layer and gives it the next number. target is for symbolic links.
func (w *Writer) Entry(k Kind, path, target string) {
	w.seq++
	w.stats.Entries++
	w.path(k, path, target)
}

// Hide records a whiteout or an opaque directory.
func (w *Writer) Hide(k Kind, path string) { w.path(k, path, "") }

func (w *Writer) path(k Kind, path, target string) {
	shared := 0
	for n := min(len(path), len(w.last)); shared < n && path[shared] == w.last[shared]; {
		shared++
	}
	b := binary.AppendUvarint(w.body[:0], uint64(shared))
	b = appendString(b, path[shared:])
	if k == Symlink {
		b = appendString(b, target)
	}
	w.last = append(w.last[:shared], path[shared:]...)
	w.body = b
	w.record(k, b)
}

// Package records a package of the file at path, which is entry number seq,
// with what it provides and requires. [ErrTooLarge] means that this package was not recorded.
func (w *Writer) Package(seq uint64, path, member, extractor string, p *inventory.Package) error {
	b := w.found(seq, path, member, extractor)
	b, err := Encode(b, p)
	if err != nil {
		return err
	}
	w.body = b
	w.record(Package, b)
	for _, k := range p.Provides {
		w.Keys(Provides, k)
	}
	for _, r := range p.Requires {
		w.Keys(Requires, r...)
	}
	w.stats.Packages++
	return w.err
}

// Keys records what the package before it provides (one key) or requires (alternatives).
func (w *Writer) Keys(k Kind, keys ...string) {
	keys = keys[:min(len(keys), maxList)]
	b := append(w.body[:0], byte(len(keys)))
	for _, s := range keys {
		b = appendString(b, s)
	}
	w.body = b
	w.record(k, b)
}

// Copy records a package that was read from a fragment again, at another path.
func (w *Writer) Copy(seq uint64, path string, r *Record) {
	b := append(w.found(seq, path, r.Member, r.Extractor), r.Encoded...)
	w.body = b
	w.record(Package, b)
	w.stats.Packages++
}

// Link records that the last entry, at path, is a hard link; where extractor is not empty, that it is wanted by an
// extractor, and that its content stands in this layer under the name target.
func (w *Writer) Link(path, target, extractor string, mode fs.FileMode) {
	b := appendString(w.found(w.seq, path, "", extractor), target)
	w.body = binary.AppendUvarint(b, uint64(mode.Perm()))
	w.record(Link, w.body)
	if extractor != "" {
		w.stats.Links++
	}
}

func (w *Writer) found(seq uint64, path, member, extractor string) []byte {
	b := binary.AppendUvarint(w.body[:0], seq)
	return appendString(appendString(appendString(b, path), member), extractor)
}

// Release records an os-release file.
func (w *Writer) Release(seq uint64, path string, r *inventory.Release) {
	b := w.found(seq, path, "", "")
	for _, s := range []string{r.ID, r.IDLike, r.VersionID, r.VersionCodename, r.PrettyName, r.Name} {
		b = appendString(b, s)
	}
	w.body = b
	w.record(Release, b)
}

// Problem records something that could not be read in the file at path, the
// last entry; or in the whole layer, where path is empty.
func (w *Writer) Problem(path, extractor, reason string) {
	w.ProblemAt(w.seq, path, extractor, reason)
}

// ProblemAt is Problem for entry number seq.
func (w *Writer) ProblemAt(seq uint64, path, extractor, reason string) {
	w.body = appendString(w.found(seq, path, "", extractor), reason)
	w.record(Problem, w.body)
}

// Close writes the end, with what only the caller knows of the layer, and
// flushes. It does not close the underlying writer.
func (w *Writer) Close(compressed, uncompressed, files int64) (Stats, error) {
	w.stats.Compressed, w.stats.Uncompressed, w.stats.Files = compressed, uncompressed, files
	w.record(end, nil)
	n := w.n
	var tail []byte
	for _, v := range append(w.stats.fields(), &n) {
		tail = binary.LittleEndian.AppendUint64(tail, uint64(*v))
	}
	w.raw(tail)
	w.raw(binary.LittleEndian.AppendUint32(nil, w.crc))
	if w.err == nil {
		w.err = w.w.Flush()
	}
	if w.err != nil {
		return w.stats, fmt.Errorf("write the layer's results: %w", w.err)
	}
	return w.stats, nil
}
