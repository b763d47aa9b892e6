package outlog_test

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
)

// spent is how many bytes f allocates.
func spent(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// To open, search and read the largest log takes little memory, whether it has its end or not.
func TestOpeningIsCheap(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, outlog.Options{})
	l := create(t, s, "c", outlog.Limits{Bytes: outlog.MaxBytes, Lines: 1 << 40})
	lines := bytes.Repeat([]byte(strings.Repeat("x", 99)+"\n"), 1000)
	for range 320 { // of 100 kB
		l.Writer(rdev.Stdout).Write(lines)
	}
	s.Close()
	look := func() {
		l, err := s.Log("c")
		if err != nil {
			t.Fatal(err)
		}
		after, err := l.Tail(100_000)
		if err != nil || after != 220_000 {
			t.Fatal(after, err)
		}
		if _, err := l.Read(after, make([]byte, outlog.MinBuffer), func(outlog.Record) bool { return true }); err != nil {
			t.Fatal(err)
		}
	}
	s = openIn(t, dir, outlog.Options{}) // as another process does
	if n := spent(look); n > 1<<20 {
		t.Errorf("%d bytes for one without its end", n)
	}
	if l, err := s.Log("c"); err != nil {
		t.Fatal(err)
	} else {
		end(t, l)
	}
	if n := spent(look); n > 1<<20 {
		t.Errorf("%d bytes for one with its end", n)
	} else {
		t.Logf("%d bytes", n)
	}
}

// Nothing is allocated for a record, neither when it is written nor when it is read.
func TestRecordsAreFree(t *testing.T) {
	l := create(t, open(t, outlog.Options{}), "c", outlog.Limits{})
	lines := bytes.Repeat([]byte("a line\n"), 1000)
	w := l.Writer(rdev.Stdout)
	w.Write(lines)
	if n := testing.AllocsPerRun(20, func() { w.Write(lines) }); n > 5 {
		t.Errorf("%v allocations to write 1000 records", n)
	}
	end(t, l)
	buf := make([]byte, outlog.MinBuffer)
	n := testing.AllocsPerRun(20, func() {
		told := 0
		if _, err := l.Read(0, buf, func(outlog.Record) bool { told++; return true }); err != nil || told < 1000 {
			t.Fatal(told, err)
		}
	})
	if n > 5 {
		t.Errorf("%v allocations to read 1000 records", n)
	}
}

// A line of 100 MB takes no more memory than a short one.
func TestEndlessLine(t *testing.T) {
	l := create(t, open(t, outlog.Options{}), "c", outlog.Limits{Bytes: outlog.MinBytes})
	chunk := bytes.Repeat([]byte("x"), 32_000)
	const size = 100_000_000
	n := spent(func() {
		for range size / len(chunk) {
			l.Writer(rdev.Stdout).Write(chunk)
		}
	})
	end(t, l)
	// Where the machine lets this test wait, records are shorter, as what there is of the line is shown meanwhile.
	const records = (size + outlog.MaxRecord - 1) / outlog.MaxRecord
	if s := l.State(); s.Bytes != size || s.Lines != 0 || s.Last < records || s.Last > 2*records || n > 1<<20 {
		t.Errorf("%d bytes of memory; %+v", n, s)
	}
}

func BenchmarkWrite(b *testing.B) {
	l := create(b, open(b, outlog.Options{}), "c", outlog.Limits{})
	chunk := bytes.Repeat([]byte(strings.Repeat("x", 99)+"\n"), 320)
	b.SetBytes(int64(len(chunk)))
	for w := l.Writer(rdev.Stdout); b.Loop(); {
		w.Write(chunk)
	}
}

// With the cursor of the reader before, and with one that has to be looked for.
func BenchmarkRead(b *testing.B) {
	l := create(b, open(b, outlog.Options{}), "c", outlog.Limits{})
	chunk := bytes.Repeat([]byte(strings.Repeat("x", 99)+"\n"), 1000)
	for range 100 {
		l.Writer(rdev.Stdout).Write(chunk)
	}
	end(b, l)
	buf := make([]byte, outlog.MinBuffer)
	b.Run("on", func(b *testing.B) {
		at, records := uint64(0), 0
		for b.Loop() {
			pos, err := l.Read(at, buf, func(outlog.Record) bool { records++; return true })
			if err != nil {
				b.Fatal(err)
			}
			if at = pos.Next; at == pos.Last {
				at = 0
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(records), "ns/record")
	})
	b.Run("anywhere", func(b *testing.B) {
		for i := uint64(0); b.Loop(); i++ {
			if _, err := l.Read(i*7919%90_000, buf, func(outlog.Record) bool { return false }); err != nil {
				b.Fatal(err)
			}
		}
	})
}
