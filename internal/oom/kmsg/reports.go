package kmsg

import (
	"bytes"
	"strings"
	"time"

	"stella/internal/oom"
)

const (
	// maxOpen bounds the headers that are open at once. Since Linux 4.2 one lock makes the kernel write one after the
	// other; before that, and where lines were lost, there are more.
	maxOpen = 4
	// fresh is how long a header may wait for its next line and still be preferred to a newer one. The lines of one
	// header come within milliseconds, on a slow serial console 20 ms each.
	fresh = time.Second
	// stale is after what time a header without a kill is given up, and staleLines after how many lines; the
	// longest that belongs to none is a stack of each processor.
	stale      = time.Minute
	staleLines = 50_000
	// groupGap is the longest time between two lines of the killing of one group. The kernel writes them in a loop;
	// logs without microseconds round to a second.
	groupGap = time.Second
)

// Reports assembles reports from the lines of one log, in their order. The zero value is ready. It allocates
// nothing for lines that have nothing to do with OOM kills, and holds about 150 KiB at most. It
// is used by one goroutine.
type Reports struct {
	// PageSize is that of the machine in bytes; 0 is what the log tells, or else 4096.
	PageSize int64
	// Unanswered is called, if it is not nil, with each header for which no line says who was killed, nor that nobody was:
	// a report without a process. That shows late, at the latest at [Reports.Reset].
	Unanswered func(oom.Report)

	headers    [maxOpen]header
	lines      int // so far
	last       last
	unfinished int // headers that were given up
}

// Open reports whether some header waits for its kill, so that every line counts.
func (r *Reports) Open() bool {
	for i := range r.headers {
		if r.headers[i].stage != stageNone {
			return true
		}
	}
	return false
}

// Unfinished counts the headers for which no line said who was killed, those still open among them.
func (r *Reports) Unfinished() int {
	n := r.unfinished
	for i := range r.headers {
		if r.headers[i].stage != stageNone {
			n++
		}
	}
	return n
}

// Reset gives up all headers, as when the log goes on with another boot.
func (r *Reports) Reset() {
	for i := range r.headers {
		r.giveUp(&r.headers[i])
	}
	r.last.forget()
}

// Line takes in the next line and returns the report that it completes: that of the process that the line
// says was killed, at once. Two kinds of reports tell of a process that was told of before: that the kernel
// kills its whole group (with Seq of the first, and Repeated 0), and, with Repeated 1, that the kernel
// killed it once more with its group.
func (r *Reports) Line(l Line) (oom.Report, bool) {
	r.lines++
	r.age(&l)
	text := bytes.TrimRight(l.Text, "\r\n")
	switch plain := space(text); sort(plain) {
	case lineKilled:
		if k, ok := parseKilled(plain); ok {
			return r.killed(&l, &k), true
		}
	case lineSpared:
		if pid, ok := parseSpared(plain); ok {
			r.spared(&l, pid)
			return oom.Report{}, false
		}
	case lineGroup:
		if path, ok := parseGroup(plain); ok {
			return r.last.group(&l, path)
		}
	case lineOther:
	}
	for len(text) > 0 { // statistics come as one record with many lines
		var line []byte
		line, text, _ = bytes.Cut(text, []byte("\n"))
		r.context(&l, line)
	}
	return oom.Report{}, false
}

// kind is what a line is to the kills; lineOther may be a line of a header.
type kind int

const (
	lineOther kind = iota
	lineKilled
	lineSpared
	lineGroup
)

// sort goes by how a line begins.
func sort(text []byte) kind {
	if len(text) == 0 {
		return lineOther
	}
	switch text[0] {
	case 'K':
		if hasPrefix(text, "Killed process ") {
			return lineKilled
		}
		if hasPrefix(text, "Kernel panic") {
			return lineSpared
		}
	case 'M', 'O':
		if hasPrefix(text, "OOM victim ") {
			return lineSpared
		}
		if hasPrefix(text, "Memory cgroup out of memory") || hasPrefix(text, "Out of memory") {
			c, rest := cutCause(text)
			switch {
			case hasPrefix(rest, "Killed process "):
				return lineKilled
			case c == causeUnknown || hasPrefix(rest, "OOM victim "):
				return lineSpared
			}
		}
	case 'T':
		if hasPrefix(text, "Tasks in ") {
			return lineGroup
		}
	}
	return lineOther
}

// age gives up headers that waited too long, and all if the machine was booted anew.
func (r *Reports) age(l *Line) {
	for i := range r.headers {
		h := &r.headers[i]
		if h.stage == stageNone {
			continue
		}
		if since, ok := l.since(&h.at); ok && (since < -fresh || since > stale) || r.lines-h.line > staleLines {
			r.giveUp(h)
		}
	}
}

// giveUp closes a header, if it is open: no line says what became of it.
func (r *Reports) giveUp(h *header) {
	if h.stage == stageNone {
		return
	}
	if r.Unanswered != nil {
		r.Unanswered(h.unanswered(r.PageSize))
	}
	r.close(h)
}

// close closes a header that has no kill.
func (r *Reports) close(h *header) {
	r.unfinished++
	h.stage = stageNone
}

// spared closes the header of a process that was not killed.
func (r *Reports) spared(l *Line, pid int) {
	if h, _ := r.ofKill(l, &killed{process: oom.Process{PID: pid}, cause: causeCgroup}); h != nil {
		r.close(h)
	}
}

// killed makes the report of a kill.
func (r *Reports) killed(l *Line, k *killed) oom.Report {
	report := oom.Report{
		Seq: l.Seq, Monotonic: l.Monotonic, Time: l.Time, Node: string(l.Node), Process: k.process,
		Limit: oom.Limit{Scope: oom.ScopeUnknown},
	}
	report.Process.Comm = name(k.comm)
	h, named := r.ofKill(l, k)
	switch {
	case !named && r.last.member(l, k):
		r.last.join(l, &report)
		return report
	case h != nil:
		h.report(&report, k, r.PageSize)
		h.stage = stageNone
	case k.cause == causeNode:
		report.Limit.Scope = oom.ScopeNode // or of a cpuset, which is much rarer
	}
	r.last.set(l, k, &report)
	return report
}

// name is the name of a process. It may be any bytes, and a report goes out as JSON, which is text.
func name(comm []byte) string { return strings.ToValidUTF8(string(comm), "\uFFFD") }

// moment is when a line was written.
type moment struct {
	monotonic time.Duration
	wall      time.Time
}

func (l *Line) moment() moment { return moment{l.Monotonic, l.Time} }

// since is how much later a line was written, if the log tells.
func (l *Line) since(m *moment) (time.Duration, bool) {
	if l.Monotonic != 0 && m.monotonic != 0 {
		return l.Monotonic - m.monotonic, true
	}
	if !l.Time.IsZero() && !m.wall.IsZero() {
		return l.Time.Sub(m.wall), true
	}
	return 0, false
}
