package outlog_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
)

// texts that commands of the fuzz test print, again and again.
var printed = [][]byte{
	[]byte("a line\n"),
	[]byte("\n"),
	[]byte("10%\r"),
	[]byte("DOS\r\n"),
	[]byte("no end "),
	[]byte("\x00\xff\x1b[1m\n\r\n\r"),
	append(bytes.Repeat([]byte("long "), 9000), '\n'),
	bytes.Repeat([]byte{'x', '\r'}, 3000),
}

// play prints what a script says: each of its steps is four bytes, of which the first says to what stream and whether
// there is a pause after it, the second what, and the others how many bytes. The written bytes are returned by stream.
func play(script []byte, logs ...*outlog.Log) map[rdev.Stream][]byte {
	written := map[rdev.Stream][]byte{}
	for ; len(script) >= 4; script = script[4:] {
		stream := rdev.Stdout
		if script[0]&1 != 0 {
			stream = rdev.Stderr
		}
		text := printed[int(script[1])%len(printed)]
		n := min(int(script[2])<<8|int(script[3]), 1000*len(text)) // many records are slow
		data := bytes.Repeat(text, n/len(text)+1)[:n]
		for _, l := range logs {
			l.Writer(stream).Write(data)
		}
		written[stream] = append(written[stream], data...)
		if script[0]&4 != 0 {
			time.Sleep(time.Duration(script[0]) * time.Millisecond)
		}
	}
	return written
}

// script is a long one, from a seed.
func script(seed uint64, steps int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var s []byte
	for range steps {
		s = append(s, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()))
	}
	return s
}

// What is read, from any cursor, with any buffer, from a log of any limits, are the records that a log without limits has, but for
// the gap between head and tail; and those of that log are the bytes that were written.
func FuzzLog(f *testing.F) {
	f.Add(uint32(0), uint16(0), uint32(0), []byte("\x00\x00\x00\x10"))
	for seed := range uint64(20) {
		f.Add(uint32(seed*20_000), uint16(seed*50), uint32(seed*70_000), script(seed, int(seed*2)))
	}
	f.Fuzz(func(t *testing.T, size uint32, lines uint16, cut uint32, script []byte) {
		if len(script) > 4*50 {
			return // 3 MB
		}
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			s := openIn(t, dir, outlog.Options{})
			limits := outlog.Limits{Bytes: int64(size), Lines: int64(lines)}
			all := create(t, s, "all", outlog.Limits{Bytes: 256 << 20, Lines: 1 << 40})
			some := create(t, s, "some", limits)
			written := play(script, all, some)
			torn := tear(t, s, filepath.Join(dir, "some.log"), int64(cut))
			end(t, all)
			end(t, some)

			whole := read(t, all, 0, outlog.MinBuffer, true)
			if len(whole) != 1 {
				t.Fatalf("%d parts of a log that fits", len(whole))
			}
			for stream, want := range written {
				if got := whole[0].streams[stream]; !bytes.Equal(got, want) {
					t.Fatalf("%s: %d bytes were written, %d others are read", stream, len(want), len(got))
				}
			}
			records := whole[0].records
			last := uint64(len(records))
			if again, err := s.Log("some"); err != nil {
				t.Fatal(err)
			} else {
				check(t, again, records, last, limits, int(cut%outlog.MaxRecord))
			}
			check(t, some, records, last, limits, int(cut%3))
			// Of the torn log not all is there, but what is, is right.
			for _, p := range read(t, torn, 0, outlog.MinBuffer, true) {
				same(t, p, records)
			}
			if err := torn.End(rdev.End{Reason: rdev.ReasonLost}); err != nil {
				t.Fatal(err)
			}
		})
	})
}

// tear copies a log's file as it is now, without the last bytes, and opens the copy.
func tear(t *testing.T, s *outlog.Store, file string, cut int64) *outlog.Log {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data = data[:max(4096, int64(len(data))-cut)]
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "torn.log"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := s.Log("torn")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// same compares the records of a part with those that it should have.
func same(t *testing.T, p part, all []outlog.Record) {
	t.Helper()
	for _, r := range p.records {
		if r.Seq > uint64(len(all)) {
			t.Fatalf("there is no record %d", r.Seq)
		}
		if want := all[r.Seq-1]; r.Stream != want.Stream || r.End != want.End || !r.Time.Equal(want.Time) || !bytes.Equal(r.Data, want.Data) {
			t.Fatalf("record %d is not what was written", r.Seq)
		}
	}
}

// check reads a log that may have dropped what is between head and tail.
func check(t *testing.T, l *outlog.Log, all []outlog.Record, last uint64, limits outlog.Limits, more int) {
	t.Helper()
	parts := read(t, l, 0, outlog.MinBuffer+more, true)
	if len(parts) > 2 || parts[0].first != 1 || parts[len(parts)-1].next != last+1 {
		t.Fatalf("%d parts, from %d to %d; want head and tail of %d records", len(parts), parts[0].first, parts[len(parts)-1].next-1, last)
	}
	lines := 0
	for _, p := range parts {
		same(t, p, all)
		for _, r := range p.records {
			if r.End == "\n" {
				lines++
			}
		}
	}
	if most := max(limits.Lines, outlog.MinLines); limits.Lines != 0 && int64(lines) > most {
		t.Fatalf("%d lines are kept, of %d", lines, most)
	}
	tail := parts[len(parts)-1]
	var dropped uint64
	if len(parts) == 2 {
		dropped = tail.first - parts[0].next
	}
	if s := l.State(); s.Last != last || uint64(s.Dropped) != dropped || s.Lost != 0 {
		t.Fatalf("%+v; %d were dropped", s, dropped)
	}
	for _, after := range []uint64{1, last / 3, last / 2, tail.first - 1, tail.first, last - 1, last} {
		if after > last {
			continue
		}
		for i, p := range read(t, l, after, outlog.MinBuffer+more, true) {
			same(t, p, all)
			want := max(after+1, parts[0].first)
			if after+1 >= parts[0].next || i == 1 {
				want = max(after+1, tail.first)
			}
			if len(p.records) > 0 && p.records[0].Seq != want {
				t.Fatalf("behind %d, part %d begins at %d, want %d", after, i, p.records[0].Seq, want)
			}
		}
	}
	for _, n := range []int{0, 1, 2, 7, 100, 1 << 40} {
		checkTail(t, l, tail, n)
	}
}

// checkTail compares with counting the lines of the tail backwards.
func checkTail(t *testing.T, l *outlog.Log, tail part, n int) {
	t.Helper()
	after, err := l.Tail(int64(n))
	if err != nil {
		t.Fatal(err)
	}
	want, lines := tail.next-1, 0
	for i := len(tail.records) - 1; i >= 0 && n > 0; i-- {
		if r := tail.records[i]; r.End == "\n" || i == len(tail.records)-1 {
			if lines++; lines > n {
				break
			}
		}
		want--
	}
	if after != want {
		t.Fatalf("the last %d lines are behind %d, want %d", n, after, want)
	}
}
