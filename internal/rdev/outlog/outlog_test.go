package outlog_test

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
)

func open(t testing.TB, o outlog.Options) *outlog.Store {
	t.Helper()
	return openIn(t, t.TempDir(), o)
}

func openIn(t testing.TB, dir string, o outlog.Options) *outlog.Store {
	t.Helper()
	s, err := outlog.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func create(t testing.TB, s *outlog.Store, id string, limits outlog.Limits) *outlog.Log {
	t.Helper()
	l, err := s.Create(id, limits)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func end(t testing.TB, l *outlog.Log) {
	t.Helper()
	if err := l.End(rdev.End{Reason: rdev.ReasonExit}); err != nil {
		t.Fatal(err)
	}
}

// part is what is read without a gap in it.
type part struct {
	first, next uint64 // numbers of its first record, and of the one behind it
	streams     map[rdev.Stream][]byte
	records     []outlog.Record // with data of their own, if they were asked for
}

// read reads all behind a cursor with a buffer of size bytes, and has to come to the end of the log. The parts are divided by gaps.
func read(t testing.TB, l *outlog.Log, after uint64, size int, records bool) []part {
	t.Helper()
	parts := []part{{first: after + 1, next: after + 1, streams: map[rdev.Stream][]byte{}}}
	for buf := make([]byte, size); ; {
		told := uint64(0)
		pos, err := l.Read(after, buf, func(r outlog.Record) bool {
			p := &parts[len(parts)-1]
			if told++; told == 1 && r.Seq != p.next {
				parts = append(parts, part{first: r.Seq, streams: map[rdev.Stream][]byte{}})
				p = &parts[len(parts)-1]
			} else if r.Seq != p.next {
				t.Fatalf("record %d comes behind %d", r.Seq, p.next-1)
			}
			p.next = r.Seq + 1
			p.streams[r.Stream] = append(append(p.streams[r.Stream], r.Data...), r.End...)
			if records {
				r.Data = slices.Clone(r.Data)
				p.records = append(p.records, r)
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		if pos.Next != after+pos.Gap+told {
			t.Fatalf("behind %d, a gap of %d and %d records are not at %+v", after, pos.Gap, told, pos)
		}
		if p := parts[len(parts)-1]; told > 0 && p.next != pos.Next+1 {
			t.Fatalf("record %d was told, and %+v", p.next-1, pos)
		}
		after = pos.Next
		if pos.Next == pos.Last {
			return parts
		}
		if told == 0 {
			t.Fatalf("nothing was told at %+v", pos)
		}
	}
}

// texts are the records of the only part.
func texts(t *testing.T, l *outlog.Log, after uint64) []string {
	t.Helper()
	parts := read(t, l, after, outlog.MinBuffer, true)
	if len(parts) != 1 {
		t.Fatalf("%d parts", len(parts))
	}
	var all []string
	for _, r := range parts[0].records {
		all = append(all, string(r.Stream)+": "+string(r.Data)+r.End)
	}
	return all
}

func TestRecords(t *testing.T) {
	long := strings.Repeat("x", outlog.MaxRecord)
	tests := []struct {
		name   string
		writes []string // to stdout, those that begin with ! to stderr
		want   []string
	}{
		{"lines", []string{"one\ntwo\n", "\n"}, []string{"stdout: one\n", "stdout: two\n", "stdout: \n"}},
		{"in pieces", []string{"o", "ne", "\ntw", "o\n"}, []string{"stdout: one\n", "stdout: two\n"}},
		{"no line feed at the end", []string{"one\ntwo"}, []string{"stdout: one\n", "stdout: two"}},
		{"both streams", []string{"one\n", "!two\n", "th", "!four\n", "ree\n"}, []string{"stdout: one\n", "stderr: two\n", "stderr: four\n", "stdout: three\n"}},
		{"CRLF", []string{"one\r\n", "two\r", "\n"}, []string{"stdout: one\r\n", "stdout: two\r\n"}},
		{"progress bar, then a line feed", []string{"1%\r2%\r", "3%\n"}, []string{"stdout: 1%\r2%\r3%\n"}},
		{"progress bar at the end", []string{"1%\r2%\r3%"}, []string{"stdout: 1%\r2%\r", "stdout: 3%"}},
		{"binary", []string{"\x00\xff\x1b[31m\n\x80"}, []string{"stdout: \x00\xff\x1b[31m\n", "stdout: \x80"}},
		{"the longest record", []string{long, "\n"}, []string{"stdout: " + long + "\n"}},
		{"too long by a byte", []string{long, "x\n"}, []string{"stdout: " + long, "stdout: x\n"}},
		{"too long, in one write", []string{long + long + "xy\n"}, []string{"stdout: " + long, "stdout: " + long, "stdout: xy\n"}},
		{"too long, with a carriage return", []string{"1%\r" + long, "2%\n"}, []string{"stdout: 1%\r", "stdout: " + long, "stdout: 2%\n"}},
		{"nothing", []string{""}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := create(t, open(t, outlog.Options{}), "c", outlog.Limits{})
			for _, text := range test.writes {
				stream := rdev.Stdout
				if rest, ok := strings.CutPrefix(text, "!"); ok {
					stream, text = rdev.Stderr, rest
				}
				if n, err := l.Writer(stream).Write([]byte(text)); n != len(text) || err != nil {
					t.Fatalf("%d of %d bytes: %v", n, len(text), err)
				}
			}
			end(t, l)
			if got := texts(t, l, 0); !slices.Equal(got, test.want) {
				t.Errorf("%.300q, want %.300q", got, test.want)
			}
		})
	}
}

func TestEnd(t *testing.T) {
	s := open(t, outlog.Options{})
	l := create(t, s, "c", outlog.Limits{})
	w := l.Writer(rdev.Stdout)
	w.Write([]byte("one\n"))
	want := rdev.End{Reason: rdev.ReasonOOM, ExitCode: 137, Detail: strings.Repeat("ä\xff", 9999)}
	want.OOM = &rdev.OOM{Kills: 1, VictimComm: strings.Repeat("\x01", 99)}
	if err := l.End(want); err != nil {
		t.Fatal(err)
	}
	if err := l.End(want); !errors.Is(err, outlog.ErrEnded) {
		t.Errorf("a second end: %v", err)
	}
	if _, err := w.Write([]byte("two\n")); !errors.Is(err, outlog.ErrEnded) {
		t.Errorf("a write behind the end: %v", err)
	}
	again, err := s.Log("c")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []*outlog.Log{l, again} {
		pos, err := l.Read(1, make([]byte, outlog.MinBuffer), nil)
		if err != nil || pos.End == nil || pos.Next != 1 || pos.Last != 1 || pos.Gap != 0 {
			t.Fatalf("%+v, %v", pos, err)
		}
		if e := pos.End; e.Reason != want.Reason || e.ExitCode != 137 || e.OOM.Kills != 1 || len(e.Detail) > 1<<10 || !strings.HasSuffix(e.Detail, "…") {
			t.Errorf("%+v", e)
		}
		select {
		case <-l.More(99):
		default:
			t.Error("the end is not announced")
		}
		if _, err := l.Read(2, make([]byte, outlog.MinBuffer), nil); !errors.Is(err, outlog.ErrBeyond) {
			t.Errorf("a cursor behind the last record: %v", err)
		}
	}
	if s := again.State(); s.Lines != 1 || s.Bytes != 4 || s.Last != 1 || s.Dropped != 0 || s.Ended.IsZero() {
		t.Errorf("%+v", s)
	}
	if err := again.End(want); !errors.Is(err, outlog.ErrEnded) {
		t.Errorf("an end for what has one: %v", err)
	}
}

func TestNames(t *testing.T) {
	s := open(t, outlog.Options{})
	for _, id := range []string{"", ".", "..", ".hidden", "a/b", "../a", "a\x00", "ä", strings.Repeat("a", 129)} {
		if _, err := s.Create(id, outlog.Limits{}); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("create %q: %v", id, err)
		}
		if _, err := s.Log(id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open %q: %v", id, err)
		}
	}
	create(t, s, "a", outlog.Limits{})
	if _, err := s.Create("a", outlog.Limits{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second log of a name: %v", err)
	}
	if got := s.Stats(); got.Writing != 1 {
		t.Errorf("%+v", got)
	}
}

// Head and tail of what does not fit are kept, and between them the gap is of the size that the state says.
func TestHeadAndTail(t *testing.T) {
	for name, test := range map[string]struct {
		limits outlog.Limits
		line   string
	}{
		"bytes": {outlog.Limits{Bytes: outlog.MinBytes}, strings.Repeat("y", 99) + "\n"},
		"lines": {outlog.Limits{Lines: 1000}, "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			l := create(t, open(t, outlog.Options{}), "c", test.limits)
			w := l.Writer(rdev.Stdout)
			const lines = 100_000
			for range lines / 1000 {
				w.Write(bytes.Repeat([]byte(test.line), 1000))
			}
			end(t, l)
			parts := read(t, l, 0, outlog.MinBuffer, false)
			if len(parts) != 2 || parts[0].first != 1 || parts[1].next != lines+1 {
				t.Fatalf("%d parts: %+v", len(parts), parts)
			}
			head, tail := parts[0].next-1, parts[1].next-parts[1].first
			t.Logf("of %d lines, %d of the head and %d of the tail are kept", lines, head, tail)
			if s := l.State(); s.Dropped != int64(lines-head-tail) || s.Lines != lines || s.Bytes != int64(lines*len(test.line)) {
				t.Errorf("%+v", s)
			}
			if n := int64(head + tail); test.limits.Lines != 0 && (n > test.limits.Lines || n < test.limits.Lines*3/4) {
				t.Errorf("%d lines are kept, of %d", n, test.limits.Lines)
			}
			// A cursor in the gap, and one in the tail.
			middle := read(t, l, lines/2, outlog.MinBuffer, false)
			if len(middle) != 2 || middle[1].first != parts[1].first {
				t.Errorf("from the middle of the gap: %d parts", len(middle))
			}
			if last := read(t, l, lines-1, outlog.MinBuffer, false); len(last) != 1 || last[0].next != lines+1 {
				t.Error("the last line, from the cursor before it")
			}
		})
	}
}

// Who asks for more bytes gets them for short lines, too.
func TestLinesGrowWithBytes(t *testing.T) {
	const lines = 1_200_000 // above DefaultLines, and 20 MB in the file
	for _, tt := range []struct {
		limits outlog.Limits
		whole  bool
	}{
		{outlog.Limits{}, false},
		{outlog.Limits{Bytes: 4 * outlog.DefaultBytes}, true},
		{outlog.Limits{Bytes: 4 * outlog.DefaultBytes, Lines: outlog.DefaultLines}, false},
	} {
		store := open(t, outlog.Options{})
		l := create(t, store, "c", tt.limits)
		w := l.Writer(rdev.Stdout)
		for range 1000 {
			w.Write(bytes.Repeat([]byte("1234\n"), lines/1000))
		}
		end(t, l)
		if s := l.State(); s.Lines != lines || (s.Dropped == 0) != tt.whole {
			t.Errorf("%+v: %+v", tt.limits, s)
		}
		if n := store.Stats().Truncated; n > 1 || (n == 0) != tt.whole {
			t.Errorf("%+v: %d logs are truncated", tt.limits, n)
		}
	}
}
