package kmsg

import (
	"bytes"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// journal reads lines of journalctl -o json: an object each, whose values are texts or, where bytes are
// not printable, arrays of numbers (systemd's "Journal JSON Format").
type journal struct {
	message []byte
}

// line reads an entry, and reports whether it is one. The text is valid until the next.
func (j *journal) line(b []byte) (l Line, who origin, ok bool) {
	var transport, tag []byte
	found := false
	who = originProgram
	for rest, more := cutPrefix(b, "{"); more; {
		var key, value []byte
		if key, value, rest, more = member(rest); !more {
			break
		}
		text := bytes.Trim(value, `"`)
		switch string(key) {
		case "MESSAGE":
			found = j.decode(value)
		case "_TRANSPORT":
			transport = text
		case "SYSLOG_IDENTIFIER":
			tag = text
		case "_HOSTNAME":
			l.Node = text
		case "__REALTIME_TIMESTAMP":
			if micros, ok := digits64(text); ok {
				l.Time = time.UnixMicro(micros).UTC()
			}
		case "_SOURCE_MONOTONIC_TIMESTAMP":
			if micros, ok := digits64(text); ok && micros <= maxMicros {
				l.Monotonic = time.Duration(micros) * time.Microsecond
			}
		}
	}
	// A program can call itself kernel; how the entry came it cannot choose.
	if string(transport) == "kernel" || transport == nil && string(tag) == "kernel" {
		who, tag = originKernel, nil
	}
	l.Tag, l.Text = tag, j.message
	return l, who, found
}

func digits64(b []byte) (int64, bool) {
	n, rest, ok := number(b)
	return n, ok && len(rest) == 0
}

// member cuts the next key and value off an object. The key is as it is written.
func member(b []byte) (key, value, rest []byte, ok bool) {
	b = bytes.TrimLeft(b, " \t,")
	key, rest, ok = quoted(b)
	if !ok {
		return nil, nil, nil, false
	}
	rest, ok = cutPrefix(bytes.TrimLeft(rest, " \t"), ":")
	if !ok {
		return nil, nil, nil, false
	}
	rest = bytes.TrimLeft(rest, " \t")
	end := valueEnd(rest)
	if end <= 0 {
		return nil, nil, nil, false
	}
	return key, rest[:end], rest[end:], true
}

// valueEnd is where a value ends: a text, an array (the journal nests none in another), or a word.
func valueEnd(b []byte) int {
	if _, rest, ok := quoted(b); ok {
		return len(b) - len(rest)
	}
	if !hasPrefix(b, "[") {
		return bytes.IndexAny(b, ",}")
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case ']':
			return i + 1
		case '"':
			_, rest, ok := quoted(b[i:])
			if !ok {
				return -1
			}
			i = len(b) - len(rest) - 1
		}
	}
	return -1
}

// quoted cuts a text in quotes off the front, and leaves it as it is written.
func quoted(b []byte) (text, rest []byte, ok bool) {
	if !hasPrefix(b, `"`) {
		return nil, b, false
	}
	for i := 1; i < len(b); i++ {
		n := bytes.IndexAny(b[i:], `"\`)
		if n < 0 {
			return nil, b, false
		}
		if i += n; b[i] == '"' {
			return b[1:i], b[i+1:], true
		}
		i++
	}
	return nil, b, false
}

// decode reads a message: a text, the first text of an array, or bytes.
func (j *journal) decode(value []byte) bool {
	j.message = j.message[:0]
	list, array := cutPrefix(value, "[")
	if text, _, ok := quoted(bytes.TrimLeft(list, " ")); ok {
		j.message = appendUnquoted(j.message, text)
		return true
	}
	if !array {
		return false // null: longer than journalctl shows
	}
	for {
		n, rest, ok := number(bytes.TrimLeft(list, " ,"))
		if !ok {
			return true
		}
		j.message = append(j.message, byte(n))
		list = rest
	}
}

// appendUnquoted appends what a text of JSON stands for.
func appendUnquoted(to, text []byte) []byte {
	for len(text) > 0 {
		i := bytes.IndexByte(text, '\\')
		if i < 0 || i+1 == len(text) {
			return append(to, text...)
		}
		to = append(to, text[:i]...)
		c := text[i+1]
		text = text[i+2:]
		switch c {
		case 'n':
			c = '\n'
		case 't':
			c = '\t'
		case 'r':
			c = '\r'
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'u':
			var r rune
			r, text = unicodeEscape(text)
			to = utf8.AppendRune(to, r)
			continue
		}
		to = append(to, c)
	}
	return to
}

// unicodeEscape reads what follows \u, with the second half of a pair.
func unicodeEscape(b []byte) (rune, []byte) {
	r, rest, ok := hex4(b)
	if !ok {
		return utf8.RuneError, b
	}
	if second, ok := cutPrefix(rest, `\u`); ok && utf16.IsSurrogate(r) {
		if low, after, ok := hex4(second); ok {
			if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
				return both, after
			}
		}
	}
	return r, rest
}

func hex4(b []byte) (r rune, rest []byte, ok bool) {
	if len(b) < 4 {
		return 0, b, false
	}
	for _, c := range b[:4] {
		d, ok := hexDigit(c)
		if !ok {
			return 0, b, false
		}
		r = r<<4 | rune(d)
	}
	return r, b[4:], true
}
