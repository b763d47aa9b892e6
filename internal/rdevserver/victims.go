package rdevserver

import (
	"context"
	"log/slog"
	"path"
	"strings"
	"sync"
	"time"

	"stella/internal/limit"
	"stella/internal/oom"
	"stella/internal/oom/kmsg"
)

const (
	// maxVictims is how many cgroups are remembered: a command asks at its end, so as many as end at the same time would do.
	maxVictims = 256
	// victimWait is how long the kernel's line about a kill is waited for, which comes before the process is gone as a rule.
	victimWait = 200 * time.Millisecond
)

// victims knows whom the kernel killed in the cgroups of commands, as its log says it.
type victims struct {
	group string // is in the names of these cgroups
	log   *slog.Logger

	notes *limit.Recent[string, *note]
	mu    sync.Mutex // of the notes
	deaf  bool       // the log cannot be read
}

// note is about one cgroup.
type note struct {
	known chan struct{} // closed when the others are set
	pid   int
	comm  string
}

func newVictims(group string, log *slog.Logger) *victims {
	return &victims{group: group, log: log, notes: limit.NewRecent[string, *note](maxVictims)}
}

func (v *victims) note(name string) *note {
	return v.notes.Get(name, func() *note { return &note{known: make(chan struct{})} })
}

// run reads the kernel log until ctx ends. Without it, victims are not named, and nothing else is missing.
func (v *victims) run(ctx context.Context) error {
	err := kmsg.Follow(ctx, kmsg.Options{}, v.report, func(oom.Lost) {}, func(uint64) {})
	if err != nil {
		v.mu.Lock()
		v.deaf = true
		v.mu.Unlock()
		v.log.Info("the kernel log cannot be read, so children that are killed for want of memory are not named", "error", err)
	}
	return nil
}

// report takes down a kill in one of our cgroups, or below it.
func (v *victims) report(r oom.Report) {
	for name := range strings.SplitSeq(r.Cgroup, "/") {
		if !strings.Contains(name, v.group) {
			continue
		}
		n := v.note(name)
		v.mu.Lock()
		first := n.pid == 0
		n.pid, n.comm = r.Process.PID, r.Process.Comm
		v.mu.Unlock()
		if first {
			close(n.known)
		}
		return
	}
}

// last is for run.Options.
func (v *victims) last(dir string) (pid int, comm string, known bool) {
	v.mu.Lock()
	deaf := v.deaf
	v.mu.Unlock()
	if deaf {
		return 0, "", false
	}
	n := v.note(path.Base(dir))
	select {
	case <-n.known:
	case <-time.After(victimWait):
		return 0, "", false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return n.pid, n.comm, true
}
