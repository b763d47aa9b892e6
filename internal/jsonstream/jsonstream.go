// Package jsonstream reads JSON of any size in constant memory.
//
// A [Decoder] stands before one value of a document. The caller asks what
// [Kind] of value comes next, and takes it ([Decoder.String], [Decoder.Object],
// …) or leaves it: whatever a callback of Object or Array does not take is skipped.
// Nothing is kept of what is skipped, and nothing is allocated for it.
//
//	err := jsonstream.Decode(ctx, r, func(d *jsonstream.Decoder) error {
//		return d.Object(func(key string) error {
//			if key != "version" {
//				return nil // skipped
//			}
//			v, err := d.Text()
//			…
//		})
//	})
//
// Hazards: values come in the file's order and keys may repeat. An error of
// syntax is noticed only when it is reached, so that what came before has been given already. One string
// holds at most [MaxString] bytes; a longer one is skipped and counted by
// [Decoder.Overlong], which a caller has to look at to know that its result is whole.
//
// What encoding/json accepts is accepted here, with equal strings, and what it
// refuses is refused, with one exception: a byte order mark before the document is skipped.
package jsonstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

const (
	// MaxString is the most bytes of one key, string or number that is
	// returned. It is far above every field that a package has (a licence text, the longest
	// that was seen, is 11 KiB), and keeps a hostile one from costing memory.
	MaxString = 16 << 10

	// MaxDepth is the most levels of objects and arrays: the limit of
	// encoding/json, which costs 1.25 KiB here.
	MaxDepth = 10000

	// bufferSize is the read buffer: one read for most manifests.
	bufferSize = 16 << 10
)

// Kind is the kind of a JSON value.
type Kind uint8

// The kinds of values. Invalid is returned where no value stands; the next
// operation returns the error.
const (
	Invalid Kind = iota
	Null
	Bool
	Number
	String
	Object
	Array
)

var kindNames = [...]string{"nothing", "null", "a boolean", "a number", "a string", "an object", "an array"}

func (k Kind) String() string { return kindNames[min(int(k), len(kindNames)-1)] }

var (
	// ErrTooLong says that a string or number has more than MaxString bytes.
	// It has been skipped, and the decoder can be used on.
	ErrTooLong = fmt.Errorf("JSON string of more than %d bytes", MaxString)

	// ErrKind says that the value is of another kind than was asked for. It
	// has been skipped, and the decoder can be used on.
	ErrKind = errors.New("JSON value of another kind")

	errTaken = errors.New("jsonstream: the value was taken already")
)

// SyntaxError says where the input stops being JSON.
type SyntaxError struct {
	Offset int64 // bytes before the offending one
	msg    string
	cause  error
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.msg, e.Offset) }

// Unwrap is io.ErrUnexpectedEOF where the document ends too early.
func (e *SyntaxError) Unwrap() error { return e.cause }

// Decoder reads one JSON document. It is used by one goroutine.
type Decoder struct {
	r    io.Reader
	ctx  func() error // nil, or what ends reading early
	base int64        // offset of buf[0] in the input
	pos  int          // next byte in buf
	end  int          // bytes in buf

	err      error // sticky: I/O or syntax
	pending  bool  // a value stands here that nobody has taken
	depth    int   // open objects and arrays
	overlong int

	keys    [keySlots]string        // see intern
	levels  [MaxDepth/64 + 1]uint64 // used by Skip: bit set, the level is an object
	scratch []byte                  // a string that has escapes or crosses a refill
	buf     [bufferSize]byte
}

// New returns a decoder before the document in r.
func New(r io.Reader) *Decoder {
	d := new(Decoder)
	d.Reset(r)
	return d
}

// Reset makes d a decoder of another document, keeping its memory.
func (d *Decoder) Reset(r io.Reader) {
	d.r, d.ctx = r, nil
	d.base, d.pos, d.end = 0, 0, 0
	d.err, d.pending, d.depth, d.overlong = nil, true, 0, 0
}

var pool = sync.Pool{New: func() any { return new(Decoder) }}

// Decode reads the one document in r with a decoder that it borrows: fn gets
// the document's value, is free not to take it, and must not keep d. After fn, the rest of the
// input has to be white space. It stops when ctx ends.
func Decode(ctx context.Context, r io.Reader, fn func(d *Decoder) error) error {
	d := pool.Get().(*Decoder)
	defer func() {
		d.r, d.ctx = nil, nil
		pool.Put(d)
	}()
	d.Reset(r)
	d.ctx = ctx.Err
	if err := fn(d); err != nil {
		return err
	}
	return d.End()
}

// End skips the document's value if it was not taken, and checks that only white space follows.
func (d *Decoder) End() error {
	if err := d.finish(); err != nil {
		return err
	}
	if c, ok := d.peek(); ok {
		return d.syntax("unexpected %s after the document", char(c))
	}
	return d.fatal()
}

// Overlong is how many keys (with their values) and strings were left out so
// far because they have more than MaxString bytes.
func (d *Decoder) Overlong() int { return d.overlong }

// Offset is how many bytes of the input have been read.
func (d *Decoder) Offset() int64 { return d.base + int64(d.pos) }

// Kind says what value stands next, without taking it.
func (d *Decoder) Kind() Kind {
	if !d.pending {
		return Invalid
	}
	c, ok := d.peek()
	if !ok {
		return Invalid
	}
	return kindOf(c)
}

func kindOf(c byte) Kind {
	switch c {
	case '"':
		return String
	case '{':
		return Object
	case '[':
		return Array
	case 't', 'f':
		return Bool
	case 'n':
		return Null
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return Number
	}
	return Invalid
}

// take marks the next value as taken if it is of kind k. Otherwise it
// skips it and returns ErrKind.
func (d *Decoder) take(k Kind) error {
	if !d.pending {
		return errTaken
	}
	c, ok := d.peek()
	switch {
	case !ok:
		return d.ended()
	case kindOf(c) == k:
		d.pending = false
		return nil
	}
	if err := d.Skip(); err != nil {
		return err
	}
	return ErrKind
}
