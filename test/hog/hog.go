//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// forever is how long a mode waits that has nothing left to do.
const forever = time.Duration(math.MaxInt64)

// settings are the flags that every mode has.
type settings struct {
	name       string
	ignoreTerm bool
	print      time.Duration // 0: never
}

// hog is this process while it runs a mode. It is one goroutine: signals, time
// and children are handled where a mode waits.
type hog struct {
	settings
	out    io.Writer
	newest string // the newest line

	end    chan os.Signal   // SIGTERM and SIGINT
	ended  chan os.Signal   // SIGCHLD
	repeat <-chan time.Time // nil: never

	children map[int]int // number by pid; at most mostChildren
}

// toldToEnd is the error of whatever waited when SIGTERM or SIGINT came.
type toldToEnd struct{ os.Signal }

// Error names the signal.
func (e toldToEnd) Error() string { return e.String() }

// newHog takes over the signals. As PID 1 of a container a process gets none
// that it has no handler for.
func newHog(s settings, out io.Writer) (*hog, error) {
	h := &hog{
		settings: s, out: out, children: map[int]int{},
		end:   make(chan os.Signal, 1),
		ended: make(chan os.Signal, 1), // one is enough: reap takes all that have ended
	}
	signal.Notify(h.end, syscall.SIGTERM, syscall.SIGINT)
	signal.Notify(h.ended, syscall.SIGCHLD)
	if s.print > 0 {
		h.repeat = time.Tick(s.print)
	}
	if s.name != defaultName { // the kernel has taken defaultName from the file already
		if err := os.WriteFile("/proc/self/comm", []byte(s.name), 0); err != nil {
			return nil, fmt.Errorf("take the name %s: %w", s.name, err)
		}
	}
	return h, nil
}

// say prints a line.
func (h *hog) say(format string, args ...any) {
	h.newest = h.name + ": " + fmt.Sprintf(format, args...) + "\n"
	io.WriteString(h.out, h.newest)
}

// wait lets time pass. Its error is toldToEnd, or a failure to collect children.
func (h *hog) wait(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		if up, err := h.next(timer.C); up || err != nil {
			return err
		}
	}
}

// waitForChildren waits until all children have ended. Its errors are those of wait.
func (h *hog) waitForChildren() error {
	for len(h.children) > 0 {
		if _, err := h.next(nil); err != nil {
			return err
		}
	}
	return nil
}

// next waits for one thing to happen, and says whether it was the time that is up.
func (h *hog) next(timeout <-chan time.Time) (up bool, err error) {
	select {
	case <-timeout:
		return true, nil
	case <-h.repeat:
		io.WriteString(h.out, h.newest)
	case <-h.ended:
		return false, h.reap()
	case s := <-h.end:
		if s != syscall.SIGTERM || !h.ignoreTerm {
			return false, toldToEnd{s}
		}
		h.say("ignores %v", s)
	}
	return false, nil
}

// reap collects all children that have ended. PID 1 also gets those whose
// parents ended before them: orphans.
func (h *hog) reap() error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.ECHILD || err == nil && pid == 0:
			return nil // there are none, or all run
		case err != nil:
			return fmt.Errorf("wait for children: %w", err)
		}
		if number, ours := h.children[pid]; ours {
			delete(h.children, pid)
			h.say("child %d ended: %s", number, ending(status))
		} else {
			h.say("orphan %d ended: %s", pid, ending(status))
		}
	}
}

func ending(status syscall.WaitStatus) string {
	if status.Signaled() {
		return fmt.Sprintf("signal: %v", status.Signal())
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}
