package counters

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"stella/internal/oom"
)

const (
	// maxNoted bounds the processes that are remembered, at some 150 bytes each: those of
	// ten seconds in a storm of a hundred kills a second with two processes to choose from.
	maxNoted = 2048
	// noteFor is how long they are: a line of the kernel log comes within
	// milliseconds, unless this machine is very busy. Pids are used again after that.
	noteFor = time.Minute
	// maxProcesses bounds those of one Rise.
	maxProcesses = 16
)

// noted is a process that was in a cgroup at an alarm.
type noted struct {
	pid     int32
	cgroup  string
	id      uint64 // of the cgroup
	at      time.Time
	process oom.Process
}

// table remembers processes by pid, the oldest are overwritten. It may be used by several goroutines.
type table struct {
	mu    sync.Mutex
	ring  []noted
	next  int
	byPID map[int32]int
}

// note remembers a process, in place of what was known of that pid. One that has given its memory
// back since keeps what it had.
func (t *table) note(n noted) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byPID == nil {
		t.byPID = make(map[int32]int)
	}
	if i, ok := t.byPID[n.pid]; ok {
		if old := &t.ring[i]; n.process.Total == 0 && old.id == n.id && n.at.Sub(old.at) < noteFor {
			n.process = old.process
		}
		t.ring[i] = n
		return
	}
	if len(t.ring) < maxNoted {
		t.ring = append(t.ring, n)
		t.byPID[n.pid] = len(t.ring) - 1
		return
	}
	delete(t.byPID, t.ring[t.next].pid)
	t.ring[t.next], t.byPID[n.pid] = n, t.next
	t.next = (t.next + 1) % maxNoted
}

// lookup returns what is remembered of a pid.
func (t *table) lookup(pid int32, now time.Time) (noted, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, ok := t.byPID[pid]
	if !ok || now.Sub(t.ring[i].at) > noteFor {
		return noted{}, false
	}
	return t.ring[i], true
}

// of returns the processes that were seen in a cgroup since then, the largest first.
func (t *table) of(id uint64, then time.Time) []oom.Process {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []oom.Process
	for i := range t.ring {
		if n := &t.ring[i]; n.id == id && !n.at.Before(then) {
			all = append(all, n.process)
		}
	}
	slices.SortStableFunc(all, func(a, b oom.Process) int { return cmp.Compare(b.Resident(), a.Resident()) })
	return slices.Clip(all[:min(len(all), maxProcesses)])
}
