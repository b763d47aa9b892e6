package jsonstream

import (
	"unicode/utf16"
	"unicode/utf8"
)

// plain holds the bytes that stand for themselves in a string.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= 0x20 && c != '"' && c != '\\'
	}
	return t
}()

// text consumes a string, whose quote stands next, and returns its value. It
// is valid until the next call of anything. Like encoding/json it replaces invalid UTF-8,
// byte by byte, and unpaired surrogates by U+FFFD.
func (d *Decoder) text() ([]byte, error) {
	d.pos++
	i := d.pos
	for i < d.end && plain[d.buf[i]] {
		i++
	}
	if i < d.end && d.buf[i] == '"' && i-d.pos <= MaxString { // most strings
		b := d.buf[d.pos:i]
		d.pos = i + 1
		return d.valid(b), nil
	}
	d.scratch = d.scratch[:0]
	long := false
	for {
		i := d.pos
		for i < d.end && plain[d.buf[i]] {
			i++
		}
		long = long || len(d.scratch)+i-d.pos > MaxString
		if !long {
			d.scratch = append(d.scratch, d.buf[d.pos:i]...)
		}
		d.pos = i
		c, ok := d.next()
		switch {
		case !ok:
			return nil, d.ended()
		case c == '"' && (long || len(d.scratch) > MaxString):
			return nil, ErrTooLong
		case c == '"':
			return d.valid(d.scratch), nil
		case c == '\\':
			r, err := d.escape()
			if err != nil {
				return nil, err
			}
			if !long {
				d.scratch = utf8.AppendRune(d.scratch, r)
			}
		case plain[c]:
			d.pos-- // the buffer was refilled: go on with a run
		default:
			d.pos--
			return nil, d.syntax("%s inside a string", char(c))
		}
	}
}

// valid replaces what is not UTF-8.
func (d *Decoder) valid(b []byte) []byte {
	if utf8.Valid(b) {
		return b
	}
	out := make([]byte, 0, len(b)+16)
	for _, r := range string(b) {
		out = utf8.AppendRune(out, r)
	}
	return out
}

// escape consumes what follows a backslash.
func (d *Decoder) escape() (rune, error) {
	c, ok := d.next()
	if !ok {
		return 0, d.ended()
	}
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		return d.unicode()
	}
	d.pos--
	return 0, d.syntax("%s after a backslash", char(c))
}

// unicode consumes the four digits of \u, and the second half of a pair of
// surrogates if one follows.
func (d *Decoder) unicode() (rune, error) {
	r, err := d.hex()
	if err != nil || !utf16.IsSurrogate(r) {
		return r, err
	}
	// A first half without a second one is U+FFFD, and what follows it is
	// read as if it stood alone: hence the loop.
	for {
		if d.ahead(2) && d.buf[d.pos] == '\\' && d.buf[d.pos+1] == 'u' {
			d.pos += 2
			r2, err := d.hex()
			if err != nil {
				return 0, err
			}
			if pair := utf16.DecodeRune(r, r2); pair != utf8.RuneError {
				return pair, nil
			}
			d.scratch = utf8.AppendRune(d.scratch, utf8.RuneError)
			if r = r2; utf16.IsSurrogate(r) {
				// Longer than allowed is all that matters from here on.
				d.scratch = d.scratch[:min(len(d.scratch), MaxString+1)]
				continue
			}
			return r, nil
		}
		return utf8.RuneError, nil
	}
}

func (d *Decoder) hex() (rune, error) {
	var r rune
	for range 4 {
		c, ok := d.next()
		if !ok {
			return 0, d.ended()
		}
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			d.pos--
			return 0, d.syntax("%s in a \\u escape", char(c))
		}
		r = r<<4 | rune(c)
	}
	return r, nil
}
