package cluster_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// kernelLog collects, from its start on, the lines of the kernel log that tell of
// OOM kills in cgroups. The log is the whole machine's, so a test asks for its own
// pod's. It is an oracle for tests, not the product's reader.
type kernelLog struct {
	sync.Mutex
	lines []string
}

// maxKernelLines bounds what is kept: some hundred kills with all their lines.
const maxKernelLines = 4096

func followKernelLog(t *testing.T) *kernelLog {
	t.Helper()
	f, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, 2); err != nil { // only what comes
		t.Fatal(err)
	}
	log := &kernelLog{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		log.read(f)
	}()
	t.Cleanup(func() {
		f.Close()
		<-done
	})
	return log
}

func (l *kernelLog) read(f *os.File) {
	buf := make([]byte, 8192) // the most that the kernel gives for one record
	for {
		n, err := f.Read(buf)
		if errors.Is(err, unix.EPIPE) {
			continue // overrun: the reader goes on with the oldest record
		}
		if err != nil {
			return
		}
		line, _, _ := strings.Cut(string(buf[:n]), "\n")
		if !strings.Contains(line, "invoked oom-killer:") && !strings.Contains(line, "oom-kill:") && !strings.Contains(line, groupMark) && !killedLine.MatchString(line) {
			continue
		}
		l.Lock()
		if len(l.lines) < maxKernelLines {
			l.lines = append(l.lines, line)
		}
		l.Unlock()
	}
}

// about returns the lines that name a pod, with a marker in them.
func (l *kernelLog) about(uid, marker string) []string {
	l.Lock()
	defer l.Unlock()
	var found []string
	for _, line := range l.lines {
		if strings.Contains(line, "/pod"+uid) && strings.Contains(line, marker) {
			found = append(found, line)
		}
	}
	return slices.Clone(found)
}

// groupMark is in the line that names the cgroup of which all processes are about to be killed.
const groupMark = "memory.oom.group"

// killedLine is the line of one process that is killed, whatever its cgroup.
var killedLine = regexp.MustCompile(`Killed process ([0-9]+) \(`)

// groupVictims are the pids that group kills in a pod took, sorted. The line before the mark is the process that was
// chosen, those behind it the others, and often that one again; the kernel does nothing between them that it tells of.
func (l *kernelLog) groupVictims(uid string) []int {
	l.Lock()
	defer l.Unlock()
	last, inside := 0, false
	victims := map[int]bool{}
	for _, line := range l.lines {
		if m := killedLine.FindStringSubmatch(line); m != nil {
			last, _ = strconv.Atoi(m[1])
		} else {
			inside = strings.Contains(line, groupMark) && strings.Contains(line, "/pod"+uid)
		}
		if inside {
			victims[last] = true
		}
	}
	return slices.Sorted(maps.Keys(victims))
}

// wantKills fails unless exactly n victims of a pod are in the log.
func (l *kernelLog) wantKills(uid string, n int) error {
	if lines := l.about(uid, "oom-kill:"); len(lines) != n {
		return fmt.Errorf("the kernel log has %d kills in the pod, want %d:\n%s", len(lines), n, strings.Join(lines, "\n"))
	}
	return nil
}
