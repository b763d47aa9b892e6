// Package lines reads a text line by line in constant memory: a [Reader] gives
// each line as a slice of its buffer, and of a line that is too long its first
// [Max] bytes, saying so.
//
// Hazard: what [Reader.Bytes] returns changes with the next line.
package lines

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
)

// Max is the most bytes of a line that are kept. Longer lines exist (a Python
// package's description in one header), but no field that an inventory keeps is so long.
const Max = 16 << 10

// Reader reads lines. It is used by one goroutine.
type Reader struct {
	in      bufio.Reader
	stopped func() error
	line    []byte
	kept    [Max]byte // the start of a long line
	number  int
	long    bool
	err     error
}

var pool = sync.Pool{New: func() any {
	r := new(Reader)
	r.in = *bufio.NewReaderSize(nil, Max)
	return r
}}

// New returns a reader of the lines of r, which stops when ctx ends. Its
// memory comes from a pool: [Reader.Close] gives it back.
func New(ctx context.Context, r io.Reader) *Reader {
	l := pool.Get().(*Reader)
	l.in.Reset(r)
	l.stopped = ctx.Err
	l.line, l.number, l.long, l.err = nil, 0, false, nil
	return l
}

// Close gives the memory back; the reader must not be used afterwards.
func (l *Reader) Close() {
	l.in.Reset(nil)
	l.stopped, l.line = nil, nil
	pool.Put(l)
}

// Next goes to the next line, and reports whether there is one.
func (l *Reader) Next() bool {
	if l.err != nil {
		return false
	}
	if l.number%64 == 0 {
		if l.err = l.stopped(); l.err != nil {
			return false
		}
	}
	line, err := l.in.ReadSlice('\n')
	if l.long = errors.Is(err, bufio.ErrBufferFull); l.long {
		line = l.kept[:copy(l.kept[:], line)]
		for errors.Is(err, bufio.ErrBufferFull) {
			if l.err = l.stopped(); l.err != nil {
				return false
			}
			_, err = l.in.ReadSlice('\n')
		}
	}
	if l.err = err; err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
		return false // the part of a line before an error is not a line
	}
	l.number++
	l.line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	return true
}

// Bytes is the line without its end, valid until Next or Close.
func (l *Reader) Bytes() []byte { return l.line }

// Long reports whether the line had more than Max bytes, the rest of which is lost.
func (l *Reader) Long() bool { return l.long }

// Number is the line's number, the first being 1.
func (l *Reader) Number() int { return l.number }

// Err is what ended reading, nil at the end of the text.
func (l *Reader) Err() error {
	if errors.Is(l.err, io.EOF) {
		return nil
	}
	return l.err
}
