package worker

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"stella/internal/scanner"
)

func TestParseStat(t *testing.T) {
	const rest = " S 1 1 1 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 5 0 100 1000000 300 18446744073709551615"
	for _, name := range []string{"stella", "a) R (b", "", "\n"} {
		s, err := parseStat([]byte("17 ("+name+")"+rest), 4096)
		if err != nil || s.cpu != 3*time.Second || s.resident != 300*4096 {
			t.Errorf("%q: %+v, %v", name, s, err)
		}
	}
	for _, text := range []string{"", "17 (x", "17 (x) S 1", "17 (x)" + strings.Replace(rest, "300", "-1", 1), "17 (x)" + strings.Replace(rest, "250", "x", 1)} {
		if s, err := parseStat([]byte(text), 4096); err == nil {
			t.Errorf("%q: %+v", text, s)
		}
	}
}

func TestParseStatus(t *testing.T) {
	const text = "Name:\tstella\nVmHWM:\t   17000 kB\nVmRSS:\t16000 kB\nVmX:\t-1 kB\nVmY:\t99999999999999999 kB\n"
	for key, want := range map[string]int64{"VmHWM": 17000 << 10, "VmRSS": 16000 << 10, "VmX": 0, "VmY": 0, "Vm": 0, "VmSwap": 0} {
		if got := parseStatus(text, key); got != want {
			t.Errorf("%s: %d", key, got)
		}
	}
}

func TestOutOfMemoryLines(t *testing.T) {
	for _, line := range []string{
		"fatal error: runtime: out of memory", "fatal error: out of memory", "fatal error: runtime: cannot allocate memory",
		"fatal error: pageAlloc: out of memory", "fatal error: out of memory allocating heap arena map",
		"fatal error: runtime: cannot map pages in arena address space",
	} {
		if !isOutOfMemory(line) {
			t.Errorf("not recognised: %s", line)
		}
	}
	for _, line := range []string{
		"", "out of memory", "panic: out of memory", "fatal error: all goroutines are asleep - deadlock!",
		"fatal error: stack overflow", " fatal error: out of memory",
	} {
		if isOutOfMemory(line) {
			t.Errorf("taken for want of memory: %s", line)
		}
	}
}

// What the evidence says, where no test can make the kernel give it.
func TestExplain(t *testing.T) {
	for name, c := range map[string]struct {
		e     evidence
		want  scanner.Outcome
		words string
	}{
		"the machine was full": {evidence{signal: 9, kills: 1, peak: 20 << 20, limit: 64 << 20, limited: true}, scanner.OutcomeOOM, "well below its limit"},
		"no peak":              {evidence{signal: 9, kills: 1, limit: 64 << 20, limited: true}, scanner.OutcomeOOM, "whose limit is 64.0 MiB"},
		// The kernel was faster than the server.
		"timeout and a kill":    {evidence{signal: 9, kills: 1, peak: 64 << 20, limit: 64 << 20, limited: true, killed: &killing{scanner.OutcomeTimeout, "x"}}, scanner.OutcomeOOM, "at its limit"},
		"a helper was killed":   {evidence{code: 1, kills: 1, limit: 64 << 20, limited: true}, scanner.OutcomeKilled, "exit code 1"},
		"nothing was read yet":  {evidence{signal: 15, busy: true, last: scanner.Progress{Layer: -1, Phase: "squash"}}, scanner.OutcomeKilled, "in the phase squash"},
		"between files":         {evidence{signal: 15, busy: true, last: scanner.Progress{Layer: 4}}, scanner.OutcomeKilled, "while it read layer 4"},
		"it had said something": {evidence{code: 1, stderr: stderr{first: "stella: x"}}, scanner.OutcomeKilled, `said "stella: x"`},
	} {
		got, message := c.e.explain()
		if got != c.want || !strings.Contains(message, c.words) {
			t.Errorf("%s: %s: %s", name, got, message)
		}
	}
}

// Whatever a worker writes, a message has one part, and texts can be shown.
func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"hello":{"protocol":1,"version":"1"}}`))
	f.Add([]byte(`{"progress":{"phase":"layers","layer":3,"path":"a","peak":1}}`))
	f.Add([]byte(`{"ended":{"outcome":"succeeded","result":{"inventory":"sha256:0"},"last":{"layer":-1}}}`))
	f.Add([]byte(`{"ended":{"outcome":"oom"}} {}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := parseMessage(line)
		if err != nil {
			return
		}
		if e := m.Ended; e != nil && e.Outcome == scanner.OutcomeSucceeded && e.Result == nil {
			t.Errorf("succeeded without a result: %s", line)
		}
		if m.Log != nil {
			if text := cut(m.Log.Text); !utf8.ValidString(text) || len(text) > maxText {
				t.Errorf("%q", text)
			}
		}
	})
}

// Whatever the kernel's files hold, what is taken from them is an amount.
func FuzzKernelFiles(f *testing.F) {
	f.Add("17 (x) S 1 1 1 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 5 0 100 1000000 300 1")
	f.Add("VmHWM:\t   17000 kB\n")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := parseStat([]byte(text), 4096); err == nil && (s.cpu < 0 || s.resident < 0) {
			t.Errorf("%+v", s)
		}
		if n := parseStatus(text, "VmHWM"); n < 0 {
			t.Error(n)
		}
	})
}

func TestVisible(t *testing.T) {
	for s, want := range map[string]string{"usr/lib/a.jar": "usr/lib/a.jar", "a\x1b": `"a\x1b"`, `a"b`: `"a\"b"`, strings.Repeat("x", 600): strings.Repeat("x", 512) + "…"} {
		if got := visible(s); got != want {
			t.Errorf("%q is shown as %q", s, got)
		}
	}
	if long := cut(strings.Repeat("é", maxText)); len(long) > maxText || !utf8.ValidString(long) {
		t.Errorf("cut to %d bytes", len(long))
	}
}
