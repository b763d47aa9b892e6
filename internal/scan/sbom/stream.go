package sbom

import (
	"io"
	"strconv"
	"unicode/utf8"
)

// bufferSize is how much is gathered before a write: large enough for few
// system calls, small enough not to matter.
const bufferSize = 32 << 10

// stream writes JSON piece by piece. Commas and line ends follow from the order
// of the calls; the caller sees to it that keys and values alternate and that what is opened is
// closed. The first error of the writer stays in err, and nothing is written after it.
//
// It exists because encoding/json needs a whole value in memory, which here
// can be a component with a hundred thousand locations, and because of its speed:
// figures are in BenchmarkWrite.
type stream struct {
	w   io.Writer
	err error

	// The buffer is never grown or replaced: storing a new slice for each piece would wake the
	// garbage collector's write barrier millions of times, a fifth of all CPU time.
	buf []byte
	n   int // bytes in buf

	// Between two members a comma is due, except after an opening bracket or a
	// key. A bracket that closes was a member itself, so one flag serves all depths.
	comma bool
	line  bool // the next member starts a line
}

func newStream(w io.Writer) *stream {
	return &stream{w: w, buf: make([]byte, bufferSize)}
}

// flush hands what was gathered to the writer.
func (s *stream) flush() error {
	if s.err == nil && s.n > 0 {
		var n int
		if n, s.err = s.w.Write(s.buf[:s.n]); s.err == nil && n < s.n {
			s.err = io.ErrShortWrite
		}
	}
	s.n = 0
	return s.err
}

// raw writes text as it is.
func (s *stream) raw(text string) { put(s, text) }

// put is raw for strings and bytes.
func put[T string | []byte](s *stream, text T) {
	for len(text) > len(s.buf)-s.n {
		n := copy(s.buf[s.n:], text)
		s.n += n
		text = text[n:]
		s.flush()
	}
	s.n += copy(s.buf[s.n:], text)
}

// next prepares for a key or a value.
func (s *stream) next() {
	if s.comma {
		s.raw(",")
	}
	if s.line {
		s.raw("\n")
		s.line = false
	}
	s.comma = true
}

// newline puts the next member, or the closing bracket, on a new line.
func (s *stream) newline() { s.line = true }

func (s *stream) open(bracket string) {
	s.next()
	s.raw(bracket)
	s.comma = false
}

func (s *stream) close(bracket string) {
	s.comma = false
	s.next()
	s.raw(bracket)
}

func (s *stream) key(name string) {
	s.next()
	s.quote(name)
	s.raw(":")
	s.comma = false
}

func (s *stream) text(value string) { s.next(); s.quote(value) }
func (s *stream) bool(value bool)   { s.next(); s.raw(strconv.FormatBool(value)) }

func (s *stream) int(value int64) {
	var digits [20]byte
	s.next()
	put(s, strconv.AppendInt(digits[:0], value, 10))
}

// field writes a member with a string, nothing where the string is empty.
func (s *stream) field(name, value string) {
	if value != "" {
		s.key(name)
		s.text(value)
	}
}

// id writes a member with SPDX identifiers, alone or in an expression, which have nothing to escape.
func (s *stream) id(name string, id []byte) {
	s.key(name)
	s.next()
	s.raw(`"`)
	put(s, id)
	s.raw(`"`)
}

func (s *stream) object(name string) { s.key(name); s.open("{") }
func (s *stream) array(name string)  { s.key(name); s.open("[") }

// quote writes a JSON string. Bytes that are not UTF-8 become U+FFFD; nothing
// is escaped for HTML.
func (s *stream) quote(v string) {
	s.raw(`"`)
	s.part(v)
	s.raw(`"`)
}

// plain are the bytes that stand for themselves in a JSON string: printable
// ASCII but for the quote and the backslash, and all that is not ASCII.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return t
}()

// part writes v as a piece of a JSON string whose quotes are the caller's.
func (s *stream) part(v string) {
	start := 0
	for i := 0; i < len(v); {
		c := v[i]
		if plain[c] && c < utf8.RuneSelf {
			i++
			continue
		}
		if plain[c] {
			if r, size := utf8.DecodeRuneInString(v[i:]); r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		s.raw(v[start:i])
		s.escape(c)
		i++
		start = i
	}
	s.raw(v[start:])
}

// escape writes what stands for a byte that may not stand in a JSON string itself.
func (s *stream) escape(c byte) {
	const hex = "0123456789abcdef"
	switch {
	case c == '"':
		s.raw(`\"`)
	case c == '\\':
		s.raw(`\\`)
	case c == '\n':
		s.raw(`\n`)
	case c == '\t':
		s.raw(`\t`)
	case c >= utf8.RuneSelf:
		s.raw("\uFFFD")
	default:
		s.raw(`\u00`)
		s.raw(hex[c>>4 : c>>4+1])
		s.raw(hex[c&15 : c&15+1])
	}
}
