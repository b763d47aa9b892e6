package outlog_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
)

func woken(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// The first line after a pause does not wait, those behind it come together, and all who wait share one channel.
func TestWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := create(t, open(t, outlog.Options{}), "c", outlog.Limits{})
		w := l.Writer(rdev.Stdout)
		first := l.More(0)
		if woken(first) || l.More(0) != first {
			t.Fatal("woken for nothing, or with a channel of its own")
		}
		w.Write([]byte("one\n"))
		if !woken(first) || !woken(l.More(0)) || woken(l.More(1)) {
			t.Fatal("the first line waits")
		}
		w.Write([]byte("two\n"))
		w.Write([]byte("three\n"))
		second := l.More(1)
		if woken(second) {
			t.Fatal("woken twice at once")
		}
		time.Sleep(outlog.Batch)
		synctest.Wait()
		if !woken(second) || len(texts(t, l, 0)) != 3 {
			t.Error("the second and the third line are not there in time")
		}
		end := l.More(3)
		if err := l.End(rdev.End{}); err != nil || !woken(end) {
			t.Error("the end waits", err)
		}
	})
}

// However fast a command writes, readers are woken at most every 20 ms, and are told everything.
func TestWakesAreRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := create(t, open(t, outlog.Options{}), "c", outlog.Limits{})
		line := []byte(strings.Repeat("x", 99) + "\n")
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 1000 {
				for range 20 {
					l.Writer(rdev.Stdout).Write(line)
				}
				time.Sleep(time.Millisecond)
			}
			if err := l.End(rdev.End{}); err != nil {
				t.Error(err)
			}
		}()
		wakes, lines, buf := 0, 0, make([]byte, outlog.MinBuffer)
		for at := (outlog.Position{}); at.End == nil; {
			<-l.More(at.Next)
			wakes++
			for again := true; again; again = at.Next < at.Last {
				var err error
				if at, err = l.Read(at.Next, buf, func(outlog.Record) bool { lines++; return true }); err != nil {
					t.Fatal(err)
				}
			}
		}
		<-done
		if wakes < 45 || wakes > 52 || lines != 20_000 {
			t.Errorf("%d wakes in a second, for %d lines", wakes, lines)
		}
	})
}

// What is not finished is shown soon, but not piece by piece, and nothing of it is lost or told twice.
func TestUnfinished(t *testing.T) {
	tests := []struct {
		name  string
		text  func(i int) string
		every time.Duration
		most  int // records in a second
		line  string
	}{
		{"a prompt", func(i int) string { return [...]string{"password: ", ""}[min(i, 1)] }, time.Second, 1, "password: "},
		{"dots", func(int) string { return "." }, 10 * time.Millisecond, 21, "....."},
		{"a progress bar", func(i int) string { return fmt.Sprintf("%04d\r", i) }, time.Millisecond, 21, "0000\r"},
		{"a progress bar of DOS", func(i int) string { return fmt.Sprintf("%04d\n\r", i) }, 100 * time.Millisecond, 21, "0000\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := create(t, open(t, outlog.Options{}), "c", outlog.Limits{})
				w := l.Writer(rdev.Stdout)
				var written strings.Builder
				for i := range int(time.Second / test.every) {
					text := test.text(i)
					written.WriteString(text)
					w.Write([]byte(text))
					if i == 0 {
						time.Sleep(outlog.PartialWait + outlog.Batch)
						synctest.Wait()
						if got := texts(t, l, 0); len(got) == 0 || !strings.HasPrefix(test.line, strings.TrimPrefix(got[0], "stdout: ")) {
							t.Errorf("soon after the first write there is %q", got)
						}
					}
					time.Sleep(test.every)
				}
				end(t, l)
				p := read(t, l, 0, outlog.MinBuffer, true)[0]
				if string(p.streams[rdev.Stdout]) != written.String() {
					t.Errorf("%q was written, %q is read", written.String(), p.streams[rdev.Stdout])
				}
				if len(p.records) > test.most {
					t.Errorf("%d records; want at most %d", len(p.records), test.most)
				}
			})
		})
	}
}
