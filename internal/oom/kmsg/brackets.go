package kmsg

import (
	"bytes"
	"time"
)

// maxBracket bounds what is between the brackets of a time.
const maxBracket = 64

// brackets takes off a time in brackets and the caller's id behind it: "[   37.123371][ T9185] ". It reports whether
// there was a time; a row of the task table begins with a bracket as well.
func (p *prefixes) brackets(l *Line) bool {
	inside, rest, ok := bracket(l.Text)
	if !ok || !p.inBrackets(l, inside) {
		return false
	}
	if id, after, ok := bracket(space(rest)); ok && caller(id) {
		l.Caller, rest = id, after
	}
	rest, _ = cutPrefix(rest, ":")
	rest, _ = cutPrefix(rest, " ")
	l.Text = rest
	return true
}

// bracket cuts "[ inside ]".
func bracket(b []byte) (inside, rest []byte, ok bool) {
	if !hasPrefix(b, "[") {
		return nil, b, false
	}
	i := bytes.IndexByte(b[:min(len(b), maxBracket)], ']')
	if i < 0 {
		return nil, b, false
	}
	return bytes.TrimSpace(b[1:i]), b[i+1:], true
}

// caller reports whether it is the id of a thread ("T9185") or of a processor ("C0").
func caller(b []byte) bool {
	if len(b) < 2 || len(b) > maxCaller || b[0] != 'T' && b[0] != 'C' {
		return false
	}
	_, rest, ok := number(b[1:])
	return ok && len(rest) == 0
}

// inBrackets reads a time in one of dmesg's forms.
func (p *prefixes) inBrackets(l *Line, b []byte) bool {
	if delta, ok := cutPrefix(b, "+"); ok { // dmesg --human
		of, rest, ok := seconds(delta)
		if !ok || len(rest) > 0 {
			return false
		}
		p.relative = true
		l.Monotonic, l.Time = p.last.Monotonic, p.last.Time
		if l.Monotonic != 0 {
			l.Monotonic += of
		}
		if !l.Time.IsZero() {
			l.Time = l.Time.Add(of)
		}
		return true
	}
	b, _, _ = bytes.Cut(b, []byte(" <")) // dmesg --show-delta
	if of, rest, ok := seconds(b); ok && len(rest) == 0 {
		l.Monotonic = of
		return true
	}
	if t, rest, _, ok := p.clock.iso(b); ok && len(rest) == 0 {
		l.Time = t
		return true
	}
	t, ok := p.clock.human(b)
	if ok {
		l.Time = t
	}
	return ok
}

// seconds reads "123.456789".
func seconds(b []byte) (time.Duration, []byte, bool) {
	n, rest, ok := number(b)
	if !ok || n > maxMicros/1e6-1 || len(rest) < 2 || rest[0] != '.' || rest[1] < '0' || rest[1] > '9' {
		return 0, b, false
	}
	of, rest := fraction(rest[1:])
	return time.Duration(n)*time.Second + of, rest, true
}
