package kmsg_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/oom"
	"stella/internal/oom/corpus"
	"stella/internal/oom/kmsg"
)

func files(t *testing.T, r io.Reader, o kmsg.FileOptions) ([]oom.Report, kmsg.Summary, error) {
	t.Helper()
	var all []oom.Report
	summary, err := kmsg.Files(t.Context(), r, o, func(r oom.Report) error {
		all = append(all, r)
		return nil
	})
	if summary.Reports != int64(len(all)) {
		t.Errorf("%d reports, and the summary says %d", len(all), summary.Reports)
	}
	return all, summary, err
}

// A log is the same log when it comes byte by byte, behind much else, and whoever else listens.
func TestSameLog(t *testing.T) {
	cases, err := corpus.Cases()
	if err != nil {
		t.Fatal(err)
	}
	much := strings.Repeat(strings.Join(corpus.Noise, "\n")+"\n", 2000)
	for _, c := range cases {
		if strings.HasSuffix(c.File, ".gz") {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			location, err := c.Want.Location()
			if err != nil {
				t.Fatal(err)
			}
			o := kmsg.FileOptions{Location: location, Year: c.Want.Year}
			whole, before, err := files(t, bytes.NewReader(c.Log), o)
			if err != nil {
				t.Fatal(err)
			}
			single, after, err := files(t, iotest.OneByteReader(bytes.NewReader(c.Log)), o)
			if diff := cmp.Diff(whole, single); diff != "" || !cmp.Equal(before, after) || err != nil {
				t.Errorf("byte by byte (%v): %s%s", err, diff, cmp.Diff(before, after))
			}
			o.Other = func(kmsg.Line) {}
			if all, _, err := files(t, bytes.NewReader(c.Log), o); err != nil || !cmp.Equal(whole, all) {
				t.Errorf("with all lines: %v, %s", err, cmp.Diff(whole, all))
			}
			if c.Name == "begins-within-a-report" {
				return // here it does not begin with it
			}
			o.Other = nil
			behind, _, err := files(t, io.MultiReader(strings.NewReader(much), bytes.NewReader(c.Log)), o)
			// What has no time of its own has that of the lines before.
			for i := range min(len(behind), len(whole)) {
				if whole[i].Time.IsZero() && whole[i].Monotonic == 0 {
					behind[i].Monotonic = 0
				}
			}
			if diff := cmp.Diff(whole, behind); diff != "" || err != nil {
				t.Errorf("behind much else: %v, %s", err, diff)
			}
		})
	}
}

const killLine = "[    1.000001] Out of memory: Killed process 7 (p) total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB"

func compress(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCompressed(t *testing.T) {
	one := compress(t, killLine+"\n")
	two := compress(t, strings.Replace(killLine, "process 7", "process 8", 1)+"\n")
	got, summary, err := files(t, bytes.NewReader(append(bytes.Clone(one), two...)), kmsg.FileOptions{})
	if err != nil || len(got) != 2 || got[1].Process.PID != 8 || summary.Lines != 2 || summary.Bytes != 2*int64(len(killLine)+1) {
		t.Errorf("two, one behind the other: %v, %+v, %+v", err, got, summary)
	}
	got, _, err = files(t, bytes.NewReader(append(one, two[:len(two)-9]...)), kmsg.FileOptions{})
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(got) != 2 {
		t.Errorf("the end is missing: %v, %+v", err, got)
	}
	if _, _, err = files(t, strings.NewReader("\x1f\x8bnot gzip"), kmsg.FileOptions{}); err == nil {
		t.Error("what is no gzip is read without an error")
	}
}

// zeros is an endless line.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// A line of 1 GiB costs no memory, and nothing of the lines beside it.
func TestEndlessLine(t *testing.T) {
	const size = 1 << 30
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, summary, err := files(t, io.MultiReader(
		strings.NewReader(killLine+"\n"), io.LimitReader(zeros{}, size), strings.NewReader("\n"+strings.Replace(killLine, "process 7", "process 8", 1))), kmsg.FileOptions{})
	runtime.ReadMemStats(&after)
	if err != nil || len(got) != 2 || summary.Cut != 1 || summary.Lines != 3 || summary.Bytes != size+2*int64(len(killLine)+1) {
		t.Errorf("%v, %+v, %+v", err, got, summary)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
		t.Errorf("took %d bytes", grown)
	}
}

// A line that is too long tells what its beginning tells, and nothing of the rest is taken for a line.
func TestLineIsCut(t *testing.T) {
	got, summary, err := files(t, strings.NewReader(killLine+strings.Repeat("x", kmsg.MaxLine-len(killLine))+strings.Replace(killLine, "process 7", "process 8", 1)+"\n"+strings.Repeat("y", kmsg.MaxLine-1)), kmsg.FileOptions{})
	if err != nil || len(got) != 1 || summary.Cut != 1 {
		t.Errorf("%v, %+v, %+v", err, got, summary)
	}
}

func TestFilesStops(t *testing.T) {
	failed := errors.New("full")
	calls := 0
	lines := ""
	for pid := range 200 {
		lines += strings.Replace(killLine, "process 7", fmt.Sprintf("process %d", pid+1), 1) + "\n"
	}
	_, err := kmsg.Files(t.Context(), strings.NewReader(lines), kmsg.FileOptions{}, func(oom.Report) error { calls++; return failed })
	if !errors.Is(err, failed) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := kmsg.Files(ctx, zeros{}, kmsg.FileOptions{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := kmsg.Files(t.Context(), iotest.ErrReader(failed), kmsg.FileOptions{}, nil); !errors.Is(err, failed) {
		t.Errorf("a bad disk: %v", err)
	}
}

// Kills in a log without a year, which begins in one year and ends in the next.
func TestYear(t *testing.T) {
	line := func(date string, pid int) string {
		return fmt.Sprintf("%s host kernel: Out of memory: Killed process %d (p) total-vm:4kB, anon-rss:4kB, file-rss:0kB\n", date, pid)
	}
	log := line("Dec 31 23:59:59", 1) + line("Jan  1 00:00:01", 2) + line("Dec 31 23:59:58", 3) + line("Jan  1 00:00:02", 4)
	seoul := time.FixedZone("", 9*3600)
	got, summary, err := files(t, strings.NewReader(log), kmsg.FileOptions{Year: 2023, Location: seoul})
	if err != nil || len(got) != 4 {
		t.Fatalf("%v, %+v", err, got)
	}
	for i, want := range []string{"2023-12-31T23:59:59+09:00", "2024-01-01T00:00:01+09:00", "2023-12-31T23:59:58+09:00", "2024-01-01T00:00:02+09:00"} {
		if at := got[i].Time.Format(time.RFC3339); at != want || got[i].Node != "host" {
			t.Errorf("kill %d at %s, want %s", i, at, want)
		}
	}
	if !summary.First.Equal(got[0].Time) || !summary.Last.Equal(got[3].Time) {
		t.Errorf("%+v", summary)
	}
	written := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	got, _, err = files(t, strings.NewReader(log), kmsg.FileOptions{Written: written})
	if err != nil || got[0].Time.Year() != 2025 || got[1].Time.Year() != 2026 {
		t.Errorf("not later than %v: %v, %+v", written, err, got)
	}
}

// Lines of programs, for whoever asked for them.
func TestOther(t *testing.T) {
	log := "Mar 15 09:22:41 node containerd[9]: TaskOOM event 1\nMar 15 09:22:41 node kernel: eth0: TaskOOM\nMar 15 09:22:42 node kubelet: hello\ntime=x msg=\"TaskOOM event 2\"\n" +
		`{"_TRANSPORT":"stdout","SYSLOG_IDENTIFIER":"containerd","_HOSTNAME":"n","MESSAGE":"TaskOOM \"event\" \u00e9\ud83d\ude00 3"}` + "\n"
	log += strings.Repeat("Mar 15 09:22:43 node kubelet: hello\n", 3000) + "Mar 15 09:22:44 node containerd: TaskOOM event 4\n"
	var got []string
	o := kmsg.FileOptions{OtherWords: []string{"TaskOOM"}, Other: func(l kmsg.Line) { got = append(got, fmt.Sprintf("%s %s: %s", l.Node, l.Tag, l.Text)) }}
	if _, _, err := files(t, strings.NewReader(log), o); err != nil {
		t.Fatal(err)
	}
	want := []string{"node containerd: TaskOOM event 1", ` : time=x msg="TaskOOM event 2"`, `n containerd: TaskOOM "event" é😀 3`, "node containerd: TaskOOM event 4"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	o.OtherWords, got = nil, nil
	if _, _, err := files(t, strings.NewReader(log), o); err != nil || len(got) != 3005 {
		t.Errorf("all lines are %d: %v", len(got), err)
	}
}

// The same kill in two forms, one behind the other, as some syslog daemons keep it, is one kill; a pid that comes again later is another.
func TestAgain(t *testing.T) {
	later := strings.Replace(killLine, "    1.000001", "    9.000001", 1)
	boot := "[    0.000000] Linux version 6.1.0\n"
	got, _, err := files(t, strings.NewReader(killLine+"\n"+killLine+"\n"+later+"\n"+boot+killLine+"\n"), kmsg.FileOptions{})
	if err != nil || len(got) != 3 || got[0].Repeated != 1 || got[1].Repeated != 0 || got[2].Repeated != 0 {
		t.Errorf("%v, %+v", err, got)
	}
}

// Any bytes, with any boundaries between what is read.
func FuzzFiles(f *testing.F) {
	cases, err := corpus.Cases()
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		f.Add(c.Log)
	}
	f.Add([]byte(`{"MESSAGE":[75,"x"],"_TRANSPORT":"kernel","a":["b\"]",1],"c":null}`))
	f.Fuzz(func(t *testing.T, log []byte) {
		o := kmsg.FileOptions{Written: time.Unix(1e9, 0), Other: func(kmsg.Line) {}, Unanswered: func(oom.Report) {}}
		whole, before, err := files(t, bytes.NewReader(log), o)
		if !bytes.HasPrefix(log, []byte("\x1f\x8b")) {
			lines := int64(bytes.Count(log, []byte("\n")))
			if err != nil || before.Bytes != int64(len(log)) || before.Lines < lines || before.Lines > lines+1 {
				t.Fatalf("%v, %+v", err, before)
			}
		}
		halves, after, err2 := files(t, iotest.HalfReader(bytes.NewReader(log)), o)
		if (err == nil) != (err2 == nil) || err == nil && (!cmp.Equal(whole, halves) || !cmp.Equal(before, after)) {
			t.Fatalf("in pieces: %v, %v, %s%s", err, err2, cmp.Diff(whole, halves), cmp.Diff(before, after))
		}
	})
}
