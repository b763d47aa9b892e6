package ledger

import (
	"time"

	"stella/internal/oom"
	"stella/internal/oom/ledger/join"
)

// The clock of the kernel log is never set, and CLOCK_MONOTONIC, which notes have, is slewed by 500
// millionths at most (adjtimex(2)): so far two stamps of one moment can be apart.
const (
	noteSlack = time.Second
	noteSlew  = 2000
)

// note is what the kernel noted of the process that a line tells of.
func (l *Ledger) note(r *oom.Report) join.Seen {
	v, ok := l.o.Victim(r.Process.PID)
	if !ok || v.Cgroup == "" || v.Process.Comm != r.Process.Comm || (v.Monotonic-r.Monotonic).Abs() > noteSlack+r.Monotonic/noteSlew {
		return join.Seen{} // nothing, or another process that had this pid
	}
	return join.Seen{Cgroup: v.Cgroup, Process: v.Process, Limit: v.Limit, Noted: true}
}

// unnamed are the notes of processes that are in no kill; nil where the kernel notes nothing.
func (l *Ledger) unnamed() []oom.Victim {
	noted := l.o.Victims()
	if noted == nil {
		return nil
	}
	all := make([]oom.Victim, 0, len(noted))
	for _, v := range noted {
		if !l.named.has(v.Process.PID, v.Time) {
			all = append(all, v)
		}
	}
	return all
}

// maxNamed bounds the victims that are remembered, at some 60 bytes each: twice as many as the kernel has notes.
const maxNamed = 4096

// named are the processes of the newest kills of this boot.
type named struct {
	at    map[int]time.Time // by pid
	order []int             // the oldest first
}

func (n *named) add(e *join.Entry) {
	pid := e.Kill.Process.PID
	if pid == 0 {
		return
	}
	if n.at == nil {
		n.at = make(map[int]time.Time)
	}
	if _, known := n.at[pid]; !known {
		if len(n.order) == maxNamed {
			for _, old := range n.order[:maxNamed/4] {
				delete(n.at, old)
			}
			n.order = append(n.order[:0], n.order[maxNamed/4:]...)
		}
		n.order = append(n.order, pid)
	}
	n.at[pid] = e.Kill.Time
}

// samePID is within what time a pid is taken for the same process. The kernel gives one out again
// only when it has gone through all others.
const samePID = time.Minute

func (n *named) has(pid int, at time.Time) bool {
	t, ok := n.at[pid]
	return ok && t.Sub(at).Abs() < samePID
}
