package kmsg

import (
	"bytes"
	"time"
)

// origin is who wrote a line.
type origin int

const (
	originKernel  origin = iota
	originProgram        // some program, Line.Tag if it is named
	originBare           // nothing says who: the kernel, or a program that keeps a log of its own
)

// prefixes takes off a line what the log put before it. Forms are told line by line, for files are
// put together from several. The forms are in docs/oom-formats.md.
type prefixes struct {
	clock clock
	last  Line // the time of the line before, for one that goes on with it
	who   origin
	// relative says that the time of a line hangs on the line before, so that none may be left out.
	relative bool
}

// line takes a line apart. It changes text where that is a record of /dev/kmsg.
func (p *prefixes) line(text []byte) (Line, origin) {
	indented := len(text) > 0 && (text[0] == ' ' || text[0] == '\t')
	l := Line{Text: trim(text)}
	who, found := p.strip(&l)
	if !found { // the second line of a record, or a line without any prefix
		l.Monotonic, l.Time = p.last.Monotonic, p.last.Time
		if indented && p.who == originProgram {
			return l, originProgram
		}
		return l, originBare
	}
	p.last, p.who = Line{Monotonic: l.Monotonic, Time: l.Time}, who
	return l, who
}

// trim takes off what no log means: blanks and NULs at the front, ends of lines in any form (also as
// the four characters \r\n), and anywhere the colours of a terminal. It changes b.
func trim(b []byte) []byte {
	if bytes.IndexByte(b, escape) >= 0 {
		b = uncoloured(b)
	}
	for {
		n := len(b)
		b = bytes.TrimRight(b, "\r\n\x00")
		for _, end := range []string{`\n`, `\r`} {
			if hasSuffix(b, end) {
				b = b[:len(b)-2]
			}
		}
		b = bytes.TrimLeft(b, " \t\r\x00")
		if len(b) == n {
			return b
		}
	}
}

// escape begins a sequence for a terminal, and maxEscape bounds those that are looked for ("\x1b[1;31m").
const (
	escape    = 0x1b
	maxEscape = 16
)

// uncoloured takes such sequences out, in place.
func uncoloured(b []byte) []byte {
	n := 0
	for i := 0; i < len(b); i++ {
		if b[i] == escape && i+1 < len(b) && b[i+1] == '[' {
			j := i + 2
			for j < min(len(b), i+maxEscape)-1 && (b[j] >= '0' && b[j] <= '9' || b[j] == ';') {
				j++
			}
			if j < len(b) && b[j] == 'm' { // other sequences are part of a name
				i = j
				continue
			}
		}
		b[n] = b[i]
		n++
	}
	return b[:n]
}

// strip takes one prefix after the other off l.Text. found says that there was one.
func (p *prefixes) strip(l *Line) (who origin, found bool) {
	if len(l.Text) == 0 {
		return originBare, false
	}
	if l.Text[0] >= '0' && l.Text[0] <= '9' {
		if r, ok := ParseRecord(l.Text); ok {
			l.Monotonic, l.Caller, l.Text = r.Monotonic, r.Caller, r.Text
			if r.Facility != 0 {
				return originProgram, true
			}
			return originKernel, true
		}
	}
	bare := len(l.Text)
	l.Text = priority(l.Text)
	switch {
	case p.rfc5424(l):
		return afterTag(l, &p.clock), true
	case p.talos(l):
		return afterTag(l, &p.clock), true
	case p.wallTime(l):
		return p.afterTime(l), true
	}
	if rest, ok := cutPrefix(l.Text, "kernel: "); ok {
		l.Text = rest
	}
	l.Text = decoded(l.Text)
	if p.brackets(l) {
		return afterBrackets(l), true
	}
	return originKernel, len(l.Text) != bare
}

// priority takes off "<6>".
func priority(b []byte) []byte {
	rest, ok := cutPrefix(b, "<")
	if !ok {
		return b
	}
	if _, rest, ok = number(rest); !ok || len(rest) == 0 || rest[0] != '>' {
		return b
	}
	return rest[1:]
}

// rfc5424 takes off "1 2023-11-02T03:04:05.12+01:00 HOST PROGRAM PID ID DATA " of syslog's newer form.
func (p *prefixes) rfc5424(l *Line) bool {
	rest, ok := cutPrefix(l.Text, "1 ")
	if !ok {
		return false
	}
	t, rest, _, ok := p.clock.iso(rest)
	if !ok {
		return false
	}
	node, rest := token(rest)
	tag, rest := token(rest)
	_, rest = token(rest)
	_, rest = token(rest)
	if rest = space(rest); hasPrefix(rest, "[") { // structured data
		_, after, ok := bytes.Cut(rest, []byte("] "))
		if !ok {
			return false
		}
		rest = after
	} else {
		_, rest = token(rest)
	}
	l.Time, l.Node, l.Tag, l.Text = t, node, tag, space(rest)
	return true
}

// talos takes off "10.5.0.2: kern: warning: [2025-05-18T15:40:20.65Z]: ", or leaves its brackets.
func (p *prefixes) talos(l *Line) bool {
	node, rest := token(l.Text)
	tag, rest := token(rest)
	level, rest := token(rest)
	if !hasSuffix(node, ":") || !hasSuffix(tag, ":") || !hasSuffix(level, ":") {
		return false
	}
	l.Node, l.Tag = node[:len(node)-1], tag[:len(tag)-1]
	inside, rest, ok := bytes.Cut(space(rest), []byte("]: "))
	if !ok || !hasPrefix(inside, "[") {
		l.Node, l.Tag = nil, nil
		return false
	}
	if l.Time, _, _, ok = p.clock.iso(inside[1:]); !ok {
		l.Node, l.Tag = nil, nil
		return false
	}
	l.Text = rest
	return true
}

// decoded takes off "kern  :err   : " of dmesg --decode.
func decoded(b []byte) []byte {
	rest, ok := cutPrefix(b, "kern  :")
	if !ok || len(rest) < 8 || rest[6] != ':' {
		return b
	}
	return space(rest[7:])
}

// wallTime takes off a time of day in one of the forms of syslog, of the journal and of dmesg.
func (p *prefixes) wallTime(l *Line) bool {
	t, rest, comma, ok := p.clock.iso(l.Text)
	if !ok {
		t, rest, ok = epoch(l.Text)
	}
	if !ok {
		t, rest, ok = p.clock.syslog(l.Text)
	}
	if !ok {
		t, rest, ok = p.weekday(l.Text)
	}
	if !ok || len(rest) > 0 && rest[0] != ' ' {
		return false
	}
	l.Time, l.Text = t, space(rest)
	if comma { // dmesg --time-format=iso, which names nobody
		l.Tag = kernelTag
	}
	return true
}

var kernelTag = []byte("kernel")

// weekday reads "Tue 2022-03-15 09:22:41 KST" of journalctl -o short-full, and "Tue Mar 15 09:22:41 2022" of OpenWrt.
func (p *prefixes) weekday(b []byte) (t time.Time, rest []byte, ok bool) {
	word, rest := token(b)
	rest = space(rest)
	if len(word) < 2 || len(word) > 16 || word[0] == '[' {
		return t, b, false
	}
	if t, rest, _, ok := p.clock.iso(rest); ok {
		_, rest = token(rest) // the zone's name
		return t, rest, true
	}
	return p.clock.syslog(rest)
}

// epoch reads "1566381722.504311" (journalctl -o short-unix).
func epoch(b []byte) (time.Time, []byte, bool) {
	seconds, rest, ok := number(b)
	if !ok || len(rest) < 7 || rest[0] != '.' || seconds < 1e8 || seconds > 1e11 {
		return time.Time{}, b, false
	}
	of, rest := fraction(rest[1:])
	return time.Unix(seconds, int64(of)).UTC(), rest, true
}

// maxWords bounds the words between the time and the program ("host kern.info kernel:").
const maxWords = 4

// afterTime takes off the host and the program that follow a time.
func (p *prefixes) afterTime(l *Line) origin {
	if len(l.Tag) > 0 || hasPrefix(l.Text, "[") {
		l.Tag = kernelTag
		return afterTag(l, &p.clock)
	}
	first, rest := token(l.Text)
	if string(first) == "stdout" || string(first) == "stderr" { // of a container: TIME stdout F TEXT
		_, rest = token(rest)
		l.Text = space(rest)
		return originProgram
	}
	rest = l.Text
	for i := range maxWords {
		var word []byte
		word, rest = token(rest)
		tag, ok := bytes.CutSuffix(word, []byte(":"))
		if !ok {
			continue
		}
		if i > 0 && !hasPrefix(first, "kern.") {
			l.Node = first
		}
		l.Tag, _, _ = bytes.Cut(tag, []byte("["))
		l.Text, _ = cutPrefix(rest, " ")
		if string(l.Tag) == "Guest" && hasPrefix(l.Text, "<") { // the console of a machine, in VMware's log
			l.Tag, l.Node, l.Text = kernelTag, nil, priority(l.Text)
		}
		return afterTag(l, &p.clock)
	}
	return originProgram
}

// afterTag says who it was, and takes off what the kernel's lines have before their text.
func afterTag(l *Line, c *clock) origin {
	if string(l.Tag) != "kernel" && string(l.Tag) != "kern" {
		return originProgram
	}
	l.Tag = nil
	l.Text = priority(space(l.Text))
	p := prefixes{clock: *c, last: *l}
	at := l.Time
	if p.brackets(l) && !at.IsZero() {
		l.Time = at
	}
	return originKernel
}

// afterBrackets takes off the host and the program of journalctl -o short-monotonic. dmesg has neither.
func afterBrackets(l *Line) origin {
	node, rest := token(l.Text)
	word, rest := token(rest)
	tag, ok := bytes.CutSuffix(word, []byte(":"))
	if !ok || bytes.ContainsAny(node, ":[(") {
		return originKernel
	}
	name, pid, _ := bytes.Cut(tag, []byte("["))
	switch {
	case string(tag) == "kernel":
		l.Node = node
	case len(name) > 0 && hasSuffix(pid, "]"):
		l.Node, l.Tag, l.Text = node, name, space(rest)
		return originProgram
	default:
		return originKernel
	}
	l.Text, _ = cutPrefix(rest, " ")
	return originKernel
}
