package kmsg

import (
	"bytes"

	"stella/internal/oom"
)

// maxComm bounds the name of a process, in bytes. The kernel's has 15; a syslog daemon
// may write each of them as four.
const maxComm = 64

// killed is a line "Killed process".
type killed struct {
	process oom.Process // without a name
	comm    []byte
	cause   cause
}

// cause is what the kernel writes before "Killed process", or before "Kill process" (until 5.0).
type cause int

const (
	causeUnknown cause = iota // until 5.0 the line before has it
	causeCgroup               // "Memory cgroup out of memory"
	causeNode                 // "Out of memory", "Out of memory (oom_kill_allocating_task)"
)

// cutCause takes the cause off the front of a line.
func cutCause(text []byte) (cause, []byte) {
	if rest, ok := cutPrefix(text, "Memory cgroup out of memory: "); ok {
		return causeCgroup, rest
	}
	rest, ok := cutPrefix(text, "Out of memory")
	if !ok {
		return causeUnknown, text
	}
	rest, _ = cutPrefix(rest, " (oom_kill_allocating_task)")
	if rest, ok = cutPrefix(rest, ": "); ok {
		return causeNode, rest
	}
	return causeUnknown, text
}

// parseKilled reads a line "Killed process", in the words of Linux 2.6.18 to 6.18 (see docs/oom-formats.md):
//
//	Killed process N, UID U, (COMM).
//	Killed process N, UID U, (COMM) total-vm:…
//	Killed process N (COMM)[, UID U,] total-vm:…kB, anon-rss:…kB, file-rss:…kB[, shmem-rss:…kB[, UID:U pgtables:…kB oom_score_adj:N]]
//
// A line that was cut tells of a kill all the same, if it has the process.
func parseKilled(text []byte) (killed, bool) {
	var k killed
	k.cause, text = cutCause(text)
	text, ok := cutPrefix(text, "Killed process ")
	if !ok {
		return killed{}, false
	}
	pid, text, ok := number(text)
	if !ok || pid <= 0 || pid > maxPID {
		return killed{}, false
	}
	k.process = oom.Process{PID: int(pid), UID: -1}
	if rest, ok := cutPrefix(text, ", UID "); ok {
		if k.process.UID, text, ok = uid(rest); !ok {
			return killed{}, false
		}
		text, _ = cutPrefix(text, ",")
	}
	text, ok = cutPrefix(text, " (")
	if !ok {
		// Cut behind the number, which may have lost digits, or no such line.
		return killed{}, false
	}
	var sizes []byte
	k.comm, sizes = k.cutComm(text)
	k.comm = k.comm[:min(len(k.comm), maxComm)]
	k.sizes(sizes)
	return k, true
}

// maxPID bounds a process id (PID_MAX_LIMIT is 4 Mi).
const maxPID = 1 << 30

// cutComm divides what follows the parenthesis into the name and the sizes. The name may look like
// sizes, so the last place where those can begin is where they do.
func (k *killed) cutComm(text []byte) (comm, sizes []byte) {
	if hasSuffix(text, ").") { // the oldest kernels tell no sizes
		return text[:len(text)-len(").")], nil
	}
	i := max(bytes.LastIndex(text, []byte(" total-vm:")), bytes.LastIndex(text, []byte(" vsz:")))
	if i < 0 {
		// The line was cut.
		if j := bytes.LastIndexByte(text, ')'); j >= 0 {
			return text[:j], nil
		}
		return text, nil
	}
	comm, sizes = text[:i], text[i:]
	if comm, ok := bytes.CutSuffix(comm, []byte(")")); ok {
		return comm, sizes
	}
	if j := bytes.LastIndex(comm, []byte("), UID ")); j >= 0 { // late EL7
		if id, rest, ok := uid(comm[j+len("), UID "):]); ok && string(rest) == "," {
			k.process.UID = id
			return comm[:j], sizes
		}
	}
	return comm, sizes
}

// uid reads a user id.
func uid(b []byte) (int, []byte, bool) {
	n, rest, ok := number(b)
	if !ok || n > 1<<32-1 {
		return -1, rest, false
	}
	return int(n), rest, true
}

func (k *killed) sizes(b []byte) {
	var ok bool
	if k.process.Total, ok = kilobytes(b, " total-vm:"); !ok {
		k.process.Total, _ = kilobytes(b, " vsz:")
	}
	k.process.Anon, _ = kilobytes(b, " anon-rss:")
	k.process.File, _ = kilobytes(b, " file-rss:")
	k.process.Shmem, _ = kilobytes(b, " shmem-rss:")
	k.process.PageTables, _ = kilobytes(b, " pgtables:")
	if rest, ok := after(b, " UID:"); ok {
		if id, rest, ok := uid(rest); ok && hasPrefix(rest, " ") {
			k.process.UID = id
		}
	}
	if rest, ok := after(b, " oom_score_adj:"); ok {
		if n, _, ok := integer(rest); ok && n >= -1000 && n <= 1000 {
			k.process.ScoreAdj = int(n)
		}
	}
}

// parseChosen reads "Kill process P (COMM) score S or sacrifice child", which until 5.0 came before the line
// "Killed process". That may name a child of P.
func parseChosen(text []byte) (pid int, c cause, ok bool) {
	c, text = cutCause(text)
	text, ok = cutPrefix(text, "Kill process ")
	if c == causeUnknown || !ok {
		return 0, c, false
	}
	n, rest, ok := number(text)
	return int(n), c, ok && n <= maxPID && hasPrefix(rest, " (")
}

// parseSpared reads the lines that end a report without a kill. The pid is 0 where the line has none.
func parseSpared(text []byte) (pid int, ok bool) {
	_, rest := cutCause(text)
	if rest, ok := cutPrefix(rest, "OOM victim "); ok { // "is already exiting. Skip killing the task"
		n, _, ok := number(rest)
		return int(min(n, maxPID)), ok
	}
	return 0, hasPrefix(text, "Out of memory and no killable process") || // "…es..."
		hasPrefix(text, "Memory cgroup out of memory and no killable process") ||
		hasPrefix(text, "Kernel panic - not syncing: ")
}
