// Package kmsg reads the kernel log, live and from files, and finds in it every
// process that the kernel killed for want of memory.
//
// Words: a [Record] is what one read of /dev/kmsg gives. A [Line] is a line of any log,
// without what the log put before it (time, host, program). A report is all that the kernel says of
// one kill: a header (who asked for memory, whose limit it hit, what was used, who could be killed) and the
// line "Killed process". A header is open from its first line to that line. The invoker is
// the process that asked for memory; the victim need not be it.
//
// [Follow] reads the log of this machine as it is written. [Files] reads a log that somebody kept,
// in any of the forms that dmesg, syslog and the journal give it. Both assemble
// reports by [Reports], which anything else that has lines may use.
//
// Hazards:
//
//   - The kernel logs ten headers in five seconds and leaves out the rest; it never leaves
//     out the line "Killed process" (mm/oom_kill.c). So that line alone makes a report.
//   - Everybody may choose the name of a process and, with a delegated cgroup, that of a cgroup,
//     and make both look like parts of a line. So lines are recognised by how they begin and taken
//     apart from their end, and the victim's name is taken from where it is unambiguous.
//   - Any program may write "Killed process" to a log. Only what the log says is of the kernel counts.
//   - The kernel's lines are no transaction: other lines come between them, before Linux 4.2 also those of
//     another report, and a line can be cut, or come in several pieces.
//   - The text of a line is valid until the next one is read.
package kmsg

import (
	"bytes"
	"time"
)

// Line is one line of a log.
type Line struct {
	// Seq is the sequence number in /dev/kmsg, 0 elsewhere.
	Seq uint64
	// Monotonic is the time since boot, 0 where the log has none.
	Monotonic time.Duration
	// Time is the wall clock, zero where the log has none.
	Time time.Time
	// Node is the host's name, where the log has it.
	Node []byte
	// Tag is the program that the log names, empty for the kernel.
	Tag []byte
	// Caller is the thread or processor that logged it ("T123", "C0"; CONFIG_PRINTK_CALLER), or empty.
	Caller []byte
	// Text is the line itself, without its end.
	Text []byte
}

// Record is one record of /dev/kmsg (Documentation/ABI/testing/dev-kmsg).
type Record struct {
	Seq uint64
	// Level is 0 (emergency) to 7 (debug); Facility 0 is the kernel, the others are programs that wrote to /dev/kmsg.
	Level, Facility int
	// Monotonic is the time since boot, to the microsecond.
	Monotonic time.Duration
	// Caller is as in [Line].
	Caller []byte
	// Text may have several lines. It is a part of what was parsed, which is changed: the
	// kernel writes unusual bytes as \x0a.
	Text []byte
}

// ParseRecord takes a record apart: "level,sequence,microseconds,flags[,…];text", and lines of its
// dictionary, which it drops. It reports whether it is one. It changes b.
func ParseRecord(b []byte) (Record, bool) {
	head, text, ok := bytes.Cut(b, []byte(";"))
	if !ok {
		return Record{}, false
	}
	var r Record
	prio, head, ok1 := field(head)
	seq, head, ok2 := field(head)
	micros, head, ok3 := field(head)
	if !ok1 || !ok2 || !ok3 || len(head) == 0 || micros > maxMicros {
		return Record{}, false
	}
	r.Level, r.Facility = int(prio&7), int(min(prio>>3, 1<<20))
	r.Seq, r.Monotonic = uint64(seq), time.Duration(micros)*time.Microsecond
	_, rest, _ := bytes.Cut(head, []byte(",")) // the flags
	for len(rest) > 0 {
		var extra []byte
		extra, rest, _ = bytes.Cut(rest, []byte(","))
		if caller, ok := bytes.CutPrefix(extra, []byte("caller=")); ok {
			r.Caller = caller
		}
	}
	text, _, _ = bytes.Cut(text, []byte("\n"))
	r.Text = unescape(text)
	return r, true
}

// maxMicros is the longest time that a [time.Duration] holds, in microseconds.
const maxMicros = int64(1<<63-1) / 1000

// field reads a number and the comma behind it.
func field(b []byte) (int64, []byte, bool) {
	n, rest, ok := number(b)
	if !ok || len(rest) == 0 || rest[0] != ',' {
		return 0, nil, false
	}
	return n, rest[1:], true
}

// unescape undoes in place what the kernel does to control characters, to bytes beyond ASCII and to the backslash.
func unescape(b []byte) []byte {
	i := bytes.IndexByte(b, '\\')
	if i < 0 {
		return b
	}
	n := i
	for ; i < len(b); i++ {
		c := b[i]
		if c == '\\' && i+3 < len(b) && b[i+1] == 'x' {
			high, ok1 := hexDigit(b[i+2])
			low, ok2 := hexDigit(b[i+3])
			if ok1 && ok2 {
				c = high<<4 | low
				i += 3
			}
		}
		b[n] = c
		n++
	}
	return b[:n]
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
