package jsonstream

import (
	"errors"
	"fmt"
	"io"
)

// fill reads more once everything in the buffer was used. It reports false at the end of the
// input or on an error, both of which it keeps in d.err.
func (d *Decoder) fill() bool {
	if d.err != nil {
		return false
	}
	fresh := d.base == 0 && d.end == 0
	d.base += int64(d.end)
	d.pos, d.end = 0, 0
	d.end, d.err = d.read(d.buf[:])
	if fresh && d.err == nil {
		d.skipBOM()
		return d.pos < d.end || d.fill()
	}
	return d.err == nil
}

// peek skips white space and returns the byte after it without consuming it.
func (d *Decoder) peek() (byte, bool) {
	for {
		for d.pos < d.end {
			switch c := d.buf[d.pos]; c {
			case ' ', '\t', '\r', '\n':
				d.pos++
			default:
				return c, true
			}
		}
		if !d.fill() {
			return 0, false
		}
	}
}

// next consumes one byte.
func (d *Decoder) next() (byte, bool) {
	if d.pos == d.end && !d.fill() {
		return 0, false
	}
	c := d.buf[d.pos]
	d.pos++
	return c, true
}

// skipBOM drops a UTF-8 byte order mark, which editors on Windows write
// before a document. Part of one is an error like any other byte.
func (d *Decoder) skipBOM() {
	if d.buf[0] == 0xEF && d.ahead(3) && d.buf[1] == 0xBB && d.buf[2] == 0xBF {
		d.pos = 3
	}
}

// ahead makes n bytes available in the buffer without consuming them, by
// moving what is left to its front. It reports whether there are so many.
func (d *Decoder) ahead(n int) bool {
	if d.end-d.pos >= n {
		return true
	}
	copy(d.buf[:], d.buf[d.pos:d.end])
	d.base += int64(d.pos)
	d.end -= d.pos
	d.pos = 0
	for d.end < n && d.err == nil {
		var k int
		k, d.err = d.read(d.buf[d.end:])
		d.end += k
	}
	return d.end >= n
}

// read is d.r.Read that gives bytes or an error, never both and never neither.
func (d *Decoder) read(p []byte) (int, error) {
	if d.ctx != nil {
		if err := d.ctx(); err != nil {
			return 0, err
		}
	}
	for range 100 { // a reader may return nothing without an error, but not for ever
		n, err := d.r.Read(p)
		if n > 0 {
			return n, nil // an error comes again with the next read
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}

// ended is the error for input that stops inside the document.
func (d *Decoder) ended() error {
	if d.err == nil || errors.Is(d.err, io.EOF) {
		d.err = &SyntaxError{d.Offset(), "the JSON ends too early", io.ErrUnexpectedEOF}
	}
	return d.err
}

// fatal is the error that ended reading, nil where it is only the end of the input.
func (d *Decoder) fatal() error {
	if errors.Is(d.err, io.EOF) {
		return nil
	}
	return d.err
}

// syntax is the error for the byte that stands next.
func (d *Decoder) syntax(format string, args ...any) error {
	d.err = &SyntaxError{Offset: d.Offset(), msg: "not JSON: " + fmt.Sprintf(format, args...)}
	d.pos = d.end
	return d.err
}

// char is a byte as people read it.
func char(c byte) string {
	if c < 0x20 || c >= 0x7f {
		return fmt.Sprintf("byte 0x%02x", c)
	}
	return fmt.Sprintf("%q", rune(c))
}
