package kmsg

import (
	"bytes"
	"time"

	"stella/internal/oom"
)

// apart takes a line apart, in whatever form it is.
func (f *file) apart(b []byte) (Line, origin) {
	if hasPrefix(b, "{") {
		if l, who, ok := f.journal.line(b); ok {
			return l, who
		}
	}
	return f.prefixes.line(b)
}

// line takes in one line.
func (f *file) line(b []byte) error {
	pair := bytes.TrimLeft(b, " \t")
	if !hasPrefix(pair, `"`) {
		return f.plain(b)
	}
	key, value, _, ok := member(pair)
	if !ok {
		return f.plain(b)
	}
	if string(key) == "time" { // dmesg --json has it in the line before the text
		if at, _, ok := seconds(value); ok {
			f.prefixes.last, f.prefixes.relative = Line{Monotonic: at}, true
		}
		return nil
	}
	text, _, ok := quoted(value)
	if !ok || string(key) != "msg" && index(text, `\n`) < 0 {
		return f.plain(b)
	}
	// Or what a cloud says of a machine's console, with all its lines in one text: "Output": "…\r\n…".
	for rest := appendUnquoted(nil, text); len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		if err := f.plain(line); err != nil {
			return err
		}
	}
	return nil
}

func (f *file) plain(b []byte) error {
	l, who := f.apart(b)
	f.note(l.Time)
	if who != originKernel && f.options.Other != nil && f.wanted(l.Text) {
		f.options.Other(l)
	}
	if who == originProgram {
		return nil
	}
	if hasPrefix(l.Text, "Linux version ") { // a boot
		f.reports.Reset()
		return f.kills.flush()
	}
	report, ok := f.reports.Line(l)
	if !ok {
		return nil
	}
	return f.kills.add(report)
}

// wanted reports whether a line has one of the words that were asked for.
func (f *file) wanted(text []byte) bool {
	for _, w := range f.options.OtherWords {
		if index(text, w) >= 0 {
			return true
		}
	}
	return len(f.options.OtherWords) == 0
}

// note keeps the first and the last time.
func (f *file) note(t time.Time) {
	if t.IsZero() {
		return
	}
	if f.summary.First.IsZero() {
		f.summary.First = t
	}
	f.summary.Last = t
}

const (
	// again is the time within which a second report of a process is of the same kill. No process id is given again so soon.
	again = 2 * time.Second
	// maxWaiting bounds the kills that wait for more reports of the same process. They come right behind the kill, with
	// those of the other processes of the group between them.
	maxWaiting = 64
)

// merger joins the reports that tell of one kill.
type merger struct {
	emit    func(oom.Report) error
	waiting []oom.Report
	emitted int64
}

// emitError is an error of the function that is given the kills.
type emitError struct{ err error }

func (e *emitError) Error() string { return e.err.Error() }

func (m *merger) add(r oom.Report) error {
	for i := range m.waiting {
		if w := &m.waiting[i]; same(w, &r) {
			join(w, &r)
			return nil
		}
	}
	if len(m.waiting) == maxWaiting {
		if err := m.give(1); err != nil {
			return err
		}
	}
	m.waiting = append(m.waiting, r)
	return nil
}

// same reports whether two reports tell of the same kill.
func same(a, b *oom.Report) bool {
	if a.Process.PID != b.Process.PID || a.Process.Comm != b.Process.Comm || a.Node != b.Node {
		return false
	}
	gap := b.Monotonic - a.Monotonic
	if a.Monotonic == 0 || b.Monotonic == 0 {
		gap = b.Time.Sub(a.Time)
	}
	return gap >= -again && gap <= again
}

// join adds what b tells more of the kill.
func join(a, b *oom.Report) {
	if b.Group != 0 {
		a.Group = b.Group
	}
	if a.Cgroup == "" {
		a.Cgroup = b.Cgroup
	}
	if b.Group == 0 || b.Repeated > 0 {
		a.Repeated += max(1, b.Repeated)
	}
}

// give emits the oldest n.
func (m *merger) give(n int) error {
	for i := range n {
		m.emitted++
		if err := m.emit(m.waiting[i]); err != nil {
			m.waiting = nil
			return &emitError{err}
		}
	}
	m.waiting = append(m.waiting[:0], m.waiting[n:]...)
	return nil
}

func (m *merger) flush() error { return m.give(len(m.waiting)) }
