package worker

import (
	"os"
	"strconv"
	"syscall"
	"testing"
)

// A worker, with all its threads, lets stellad go first.
func TestPriority(t *testing.T) {
	p, _ := begin(t, "serve", testLimit)
	threads, err := os.ReadDir("/proc/" + strconv.Itoa(p.PID()) + "/task")
	if err != nil || len(threads) < 2 {
		t.Fatalf("%d threads, %v; want several", len(threads), err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		// The system call answers 20 less the niceness (getpriority(2)).
		if got, err := syscall.Getpriority(syscall.PRIO_PROCESS, id); err != nil || 20-got != niceness {
			t.Errorf("thread %d has the niceness %d, %v; want %d", id, 20-got, err, niceness)
		}
	}
}
