package rpm

import (
	"context"
	"errors"
	"fmt"
	"io"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/pkgdb"
)

// minWindow is the least bytes that are read at a time. Pages of one blob
// mostly follow each other, and a larger window would be wasted where they do not.
const minWindow = 16 << 10

// database is what the readers of all formats share.
type database struct {
	ctx context.Context
	src *source
	out extract.Output
	rec *pkgdb.Record
	hdr header

	spent int64
}

// spend counts bytes of the file that a record or an index leads to. A sound
// database leads to each byte once: more bytes than the file has are a loop or a bomb.
func (d *database) spend(n int64) error {
	if d.spent += n; d.spent > d.src.size {
		return fatal{errors.New("the rpm database is corrupt: it uses parts of the file more than once; what follows was left out")}
	}
	return d.stopped()
}

// stopped is the error that ends reading: the context's, or that of the file below.
func (d *database) stopped() error {
	if err := d.ctx.Err(); err != nil {
		return fatal{err}
	}
	if d.src.err != nil {
		return fatal{d.src.err}
	}
	return nil
}

// fatal marks an error after which reading the database cannot go on; others
// are about one record or page.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

// tolerate makes an error about one place a partial result, and returns those that are fatal.
func (d *database) tolerate(err error, format string, args ...any) error {
	if err == nil {
		return d.stopped()
	}
	if f, ok := errors.AsType[fatal](err); ok {
		return f
	}
	d.out.Partial(fmt.Sprintf(format, args...) + ": " + err.Error())
	return d.stopped()
}

// source is the file.
type source struct {
	r    io.ReaderAt
	size int64
	err  error // the first error of r, which is not the database's fault
}

// window is a stretch of the file in memory.
type window struct {
	src   *source
	buf   []byte
	start int64
	n     int
}

func (s *source) window(size int) *window {
	return &window{src: s, buf: make([]byte, max(size, minWindow))}
}

// at gives n bytes at off, valid until the next call. n is at most the window's size.
func (w *window) at(off int64, n int) ([]byte, error) {
	if off < 0 || n < 0 || n > len(w.buf) || off > w.src.size-int64(n) {
		return nil, fmt.Errorf("the %d bytes at %d are beyond the end of the file (%d bytes)", n, off, w.src.size)
	}
	if i := off - w.start; i >= 0 && i+int64(n) <= int64(w.n) {
		return w.buf[i:][:n], nil
	}
	w.start, w.n = off, 0
	want := int(min(int64(len(w.buf)), w.src.size-off))
	k, err := w.src.r.ReadAt(w.buf[:want], off)
	if k < want {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if w.src.err == nil {
			w.src.err = err
		}
		return nil, err
	}
	w.n = k
	return w.buf[:n], nil
}

// blob is the content of a record, read forwards from the pages that hold it.
type blob struct {
	size int64 // as the record states it
	left int64 // of it, not yet consumed
	buf  []byte
	// next gives the next stretch, not empty, valid until it is called again.
	next func() ([]byte, error)
}

var errShort = errors.New("it ends before its last field")

// chunk gives what can be consumed at once, at least a byte.
func (b *blob) chunk() ([]byte, error) {
	if b.left <= 0 {
		return nil, errShort
	}
	if len(b.buf) == 0 {
		var err error
		if b.buf, err = b.next(); err != nil {
			return nil, err
		}
		if len(b.buf) == 0 {
			return nil, errShort
		}
	}
	return b.buf[:min(int64(len(b.buf)), b.left)], nil
}

// consume takes n bytes of the chunk.
func (b *blob) consume(n int) {
	b.buf = b.buf[n:]
	b.left -= int64(n)
}

// full reads len(p) bytes.
func (b *blob) full(p []byte) error {
	for len(p) > 0 {
		c, err := b.chunk()
		if err != nil {
			return err
		}
		n := copy(p, c)
		b.consume(n)
		p = p[n:]
	}
	return nil
}

// skip reads past n bytes.
func (b *blob) skip(n int64) error {
	for n > 0 {
		c, err := b.chunk()
		if err != nil {
			return err
		}
		k := int(min(int64(len(c)), n))
		b.consume(k)
		n -= int64(k)
	}
	return nil
}

// pos is how many bytes were consumed.
func (b *blob) pos() int64 { return b.size - b.left }
