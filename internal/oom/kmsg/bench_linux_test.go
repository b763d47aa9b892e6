package kmsg_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"stella/internal/oom"
	"stella/internal/oom/corpus"
	"stella/internal/oom/kmsg"
)

// again reads the same bytes n times.
type again struct {
	text []byte
	n    int
	r    bytes.Reader
}

func (a *again) Read(p []byte) (int, error) {
	for a.r.Len() == 0 {
		if a.n == 0 {
			return 0, io.EOF
		}
		a.n--
		a.r.Reset(a.text)
	}
	return a.r.Read(p)
}

// BenchmarkFiles reads a kernel log of 1 GiB.
func BenchmarkFiles(b *testing.B) {
	var log bytes.Buffer
	kills, err := corpus.Long(&log, 1<<20)
	if err != nil {
		b.Fatal(err)
	}
	text := log.Bytes()
	for _, o := range []struct {
		name    string
		options kmsg.FileOptions
	}{
		{"kernel", kmsg.FileOptions{}},
		{"and others", kmsg.FileOptions{Other: func(kmsg.Line) {}, OtherWords: []string{"TaskOOM", "SystemOOM", "OOM", "oom", " due to memory "}}},
		{"all lines", kmsg.FileOptions{Other: func(kmsg.Line) {}}},
	} {
		b.Run(o.name, func(b *testing.B) {
			const times = 1024
			b.SetBytes(int64(len(text) * times))
			b.ReportAllocs()
			begin := processorTime(b)
			for b.Loop() {
				found := 0
				_, err := kmsg.Files(b.Context(), &again{text: text, n: times}, o.options, func(oom.Report) error { found++; return nil })
				if err != nil || found != kills*times {
					b.Fatalf("%d kills, want %d: %v", found, kills*times, err)
				}
			}
			used := processorTime(b) - begin
			b.ReportMetric(float64(len(text)*times*b.N)/1e6/used.Seconds(), "MB/core-second")
			b.ReportMetric(float64(resident(b))/(1<<20), "MiB-RSS")
		})
	}
}

// processorTime is what this process used of the processors: others use them too.
func processorTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func resident(tb testing.TB) int64 {
	var total, pages int64
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		tb.Fatal(err)
	}
	fmt.Sscan(string(text), &total, &pages)
	return pages * int64(os.Getpagesize())
}
