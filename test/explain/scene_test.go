package explain

import (
	"fmt"
	"slices"
	"time"

	"stella/internal/explain"
	"stella/internal/oom"
)

// scene is a workload of which the cause is known. Times are those of the recording.
type scene struct {
	cause   explain.Cause
	variant int
	length  time.Duration
	// limit is that of the container's own cgroup in bytes; 0 is none.
	limit int64
	// outer is the limit of a cgroup around it, of which scope says what it stands for: a pod, or the node. 0 is that there is none.
	outer int64
	scope oom.Scope
	// script is of the container, and beside of what else is in the outer cgroup; nil is nothing.
	script, beside script
	// tcp has the kernel count what TCP buffers, as it does on a node with cgroup v2.
	tcp bool
	// linear is that memory grows with one slope from the start of each life to its kill, but for noise and saw teeth.
	linear bool
}

func (s *scene) name() string { return fmt.Sprintf("%s-%02d", s.cause, s.variant) }

// script says what there is to be at a moment. It is asked in the order of time, and may remember.
type script func(moment) wants

// moment is a time of a scene.
type moment struct {
	// at is since the scene began, life since the first process was started, worker since then or since a worker was killed last, and number how
	// many lives there were before.
	at, life, worker time.Duration
	number           int
}

// wants is what there is to be, in bytes.
type wants struct {
	anon, tmpfs, shared, locked, pipes, tables int64
	// connections are so many, with unread bytes in each.
	connections, unread int64
	workers             []int64
	// reads is how much more is read of files.
	reads int64
	jobs  []job
	// gauges are what the application says of itself.
	gauges map[string]float64
	// exit ends the first process with that code, and killed with SIGKILL, which is not the OOM killer's.
	exit   int
	killed bool
}

// job is a child that holds bytes for a time of the recording.
type job struct {
	bytes int64
	stays time.Duration
}

// orders are what act is to be told where last is what it was told before.
func (w *wants) orders(last *wants) (lines []string) {
	for _, kind := range []struct {
		name      string
		now, then int64
	}{
		{"anon", w.anon, last.anon}, {"tmpfs", w.tmpfs, last.tmpfs}, {"shared", w.shared, last.shared},
		{"locked", w.locked, last.locked}, {"pipes", w.pipes, last.pipes}, {"tables", w.tables, last.tables},
	} {
		if kind.now != kind.then {
			lines = append(lines, fmt.Sprint(kind.name, " ", max(kind.now, 0)))
		}
	}
	if w.connections != last.connections {
		lines = append(lines, fmt.Sprint("connections ", w.connections, " ", w.unread))
	}
	for i, n := range w.workers {
		if i >= len(last.workers) || !slices.Equal(w.workers, last.workers) {
			lines = append(lines, fmt.Sprint("worker ", i, " ", max(n, 0)))
		}
	}
	if w.reads > 0 {
		lines = append(lines, fmt.Sprint("read ", w.reads))
	}
	for _, j := range w.jobs {
		lines = append(lines, fmt.Sprint("job ", max(j.bytes, 0), " ", j.stays/stretch))
	}
	if w.exit != 0 {
		lines = append(lines, fmt.Sprint("exit ", w.exit))
	}
	return lines
}
