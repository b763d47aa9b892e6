package oom

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/oom/kmsg"
)

// kernelLog collects, from its start on, the lines of the kernel log that any rule for counting OOM kills looks at. The log is the
// whole machine's: whoever asks leaves out others' kills.
type kernelLog struct {
	mu    sync.Mutex
	lines []logLine
	lost  uint64 // records that were overwritten before they were read
}

// logLine is one of them, at its time of the kernel log's own clock.
type logLine struct {
	at   time.Duration
	text string
}

// maxLogLines bounds what is kept: ten thousand kills, beside those of other tests.
const maxLogLines = 1 << 16

// ofKills are the words of lines that are kept.
var ofKills = []string{"invoked oom-killer:", "Task in ", "oom-kill:", "Killed process ", markWord}

func followKernelLog(t *testing.T) *kernelLog {
	t.Helper()
	f, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, 2); err != nil { // only what comes
		t.Fatal(err)
	}
	l := &kernelLog{}
	var reading sync.WaitGroup
	reading.Go(func() { l.read(f) })
	t.Cleanup(func() {
		f.Close()
		reading.Wait()
	})
	return l
}

func (l *kernelLog) read(f *os.File) {
	buf := make([]byte, 8192) // the most that the kernel gives for one record
	last := uint64(0)
	for {
		n, err := f.Read(buf)
		if errors.Is(err, unix.EPIPE) {
			continue // overrun: the next is the oldest that is left
		}
		if err != nil {
			return
		}
		r, ok := kmsg.ParseRecord(buf[:n])
		if !ok {
			continue
		}
		l.mu.Lock()
		if last != 0 {
			l.lost += r.Seq - last - 1
		}
		last = r.Seq
		if text := string(r.Text); ofKill(text) && len(l.lines) < maxLogLines {
			l.lines = append(l.lines, logLine{r.Monotonic, text})
		}
		l.mu.Unlock()
	}
}

func ofKill(text string) bool {
	for _, word := range ofKills {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// messages are the lines so far.
func (l *kernelLog) messages() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]string, len(l.lines))
	for i, line := range l.lines {
		all[i] = line.text
	}
	return all
}

// killed says when the kernel logged that it kills a process, by pid.
func (l *kernelLog) killed() map[int]time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[int]time.Duration{}
	for _, line := range l.lines {
		_, rest, ok := strings.Cut(line.text, "Killed process ")
		digits, _, _ := strings.Cut(rest, " ")
		if pid, err := strconv.Atoi(digits); ok && err == nil {
			all[pid] = line.at
		}
	}
	return all
}

// markWord begins the lines that this test writes to the kernel log itself.
const markWord = "stella-bench: the time "

// skew is by how much the clock of the kernel log is behind CLOCK_MONOTONIC. They are adjusted differently, and after days apart by
// seconds. A line of one's own, between two looks at the other clock, shows it to within half their distance. One that others'
// lines overwrite before it is read is written again.
func (l *kernelLog) skew(t *testing.T) (skew, within time.Duration) {
	t.Helper()
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 10 {
		before := monotonic()
		mark := fmt.Sprint(markWord, int64(before))
		// Without its end of a line the kernel would wait for the rest, and show it to nobody before the next line.
		if _, err := f.WriteString("<13>" + mark + "\n"); err != nil {
			t.Fatalf("write a line to the kernel log: %v", err)
		}
		after := monotonic()
		for begin := time.Now(); time.Since(begin) < time.Second; time.Sleep(time.Millisecond) {
			if at, ok := l.find(mark); ok {
				return (before+after)/2 - at, (after - before) / 2
			}
		}
	}
	t.Fatal("the kernel log does not show the lines that were written to it")
	return 0, 0
}

func (l *kernelLog) find(text string) (at time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if line.text == text {
			return line.at, true
		}
	}
	return 0, false
}

// monotonic is CLOCK_MONOTONIC.
func monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic("no monotonic clock: " + err.Error()) // clock_gettime(2): every Linux has it
	}
	return time.Duration(t.Nano())
}
