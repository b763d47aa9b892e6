package pkgdb

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"sync"
)

// MaxLine is the longest line, in bytes, that is kept. The longest of Debian
// 12 is the Provides field of librust-winapi-dev, 75,649 bytes.
const MaxLine = 128 << 10

// checkLines is how many lines are read between two looks at the context.
const checkLines = 256

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, MaxLine) }}

// Lines reads a text line by line. Of a line longer than [MaxLine] the
// beginning is kept and the rest is read past, whatever its length.
type Lines struct {
	ctx    context.Context
	r      *bufio.Reader
	line   []byte
	number int
	long   bool
	err    error
}

// NewLines reads r. Close gives its buffer back.
func NewLines(ctx context.Context, r io.Reader) *Lines {
	l := &Lines{ctx: ctx, r: readers.Get().(*bufio.Reader)}
	l.r.Reset(r)
	return l
}

// Next moves to the next line. It is false at the end, where the text cannot
// be read, and when the context ends: Err tells.
func (l *Lines) Next() bool {
	if l.err != nil {
		return false
	}
	if l.number%checkLines == 0 {
		if l.err = l.ctx.Err(); l.err != nil {
			return false
		}
	}
	l.number++
	l.long = false
	l.line, l.err = l.r.ReadSlice('\n')
	if l.err == bufio.ErrBufferFull {
		l.skip()
	}
	l.line = bytes.TrimSuffix(l.line, []byte("\n"))
	// A last line without a line break is a line; the error comes with the next call.
	return l.err == nil || len(l.line) > 0
}

// skip reads to the end of a line that does not fit. Reading on overwrites the
// buffer, so that the kept part is copied: once for a long line, and hostile files have no other cost.
func (l *Lines) skip() {
	l.long = true
	l.line = bytes.Clone(l.line)
	for l.err == bufio.ErrBufferFull {
		if l.err = l.ctx.Err(); l.err != nil {
			return
		}
		_, l.err = l.r.ReadSlice('\n')
	}
}

// Bytes is the line without its line break, valid until the next call of Next.
func (l *Lines) Bytes() []byte { return l.line }

// Number counts lines from 1.
func (l *Lines) Number() int { return l.number }

// Long says that the line went on beyond what Bytes gives.
func (l *Lines) Long() bool { return l.long }

// Err is what stopped Next, nil at the end of the text.
func (l *Lines) Err() error {
	if l.err == io.EOF {
		return nil
	}
	return l.err
}

// Close ends the reading. No method may be called after it.
func (l *Lines) Close() {
	l.r.Reset(nil)
	readers.Put(l.r)
	l.r, l.line = nil, nil
}
