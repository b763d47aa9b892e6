package kmsg

import "bytes"

// stage is how far a header has come. The kernel writes its parts in this order, but not all of them in
// each version.
type stage int

const (
	stageNone    stage = iota
	stageInvoked       // "invoked oom-killer"
	stageRunning       // "CPU: … Comm: …"
	stageTaskIn
	stageMemory
	stageSwap
	stageKernel
	stageStats
	stageNode // "Mem-Info:"; no header has both
	stageTable
	stageConstraint
	stageChosen // "Kill process P (c) score …"
)

// header is a report that has no kill yet. It is used again, with its buffers, which have at most
// 40 KiB: two paths and their line, the rows of the table, the pids.
type header struct {
	stage   stage
	opened  int    // the number of its first line
	line    int    // and of its last
	at      moment // of its last line
	first   moment // of its first line
	host    []byte // that logged it
	caller  []byte
	invoker []byte
	running int // pid of the invoker

	memory, swap, kernel gauge
	memsw                bool // swap is "memory+swap" (v1)
	stats                stats
	node                 node
	table                table

	taskIn        bool
	victim, limit []byte // of "Task in"
	chosen        int    // pid of "Kill process"
	cause         cause
	constraint    []byte // the line "oom-kill:"
	task          int    // its pid
}

func (h *header) open(l *Line, line int) {
	*h = header{
		stage: stageInvoked, opened: line, line: line, at: l.moment(), first: l.moment(), host: append(h.host[:0], l.Node[:min(len(l.Node), maxHost)]...),
		caller:  append(h.caller[:0], l.Caller[:min(len(l.Caller), maxCaller)]...),
		invoker: h.invoker[:0], stats: h.stats, table: h.table, victim: h.victim[:0], limit: h.limit[:0], constraint: h.constraint[:0],
	}
	h.stats.reset()
	h.table.reset()
}

const (
	// maxCaller bounds the id of who logged a line ("T4194304").
	maxCaller = 16
	// maxHost bounds the name of a host (RFC 1035).
	maxHost = 255
)

// stageOf says what part of a header begins with a line; stageNone is none.
func stageOf(text []byte) stage {
	if len(text) == 0 {
		return stageNone
	}
	switch text[0] {
	case 'm':
		if hasPrefix(text, "memory: usage ") {
			return stageMemory
		}
		if hasPrefix(text, "memory+swap: usage ") {
			return stageSwap
		}
	case 's':
		if hasPrefix(text, "swap: usage ") {
			return stageSwap
		}
	case 'k':
		if hasPrefix(text, "kmem: usage ") {
			return stageKernel
		}
	case 'o':
		if hasPrefix(text, "oom-kill:constraint=") {
			return stageConstraint
		}
	case 'M':
		switch {
		case hasPrefix(text, "Memory cgroup stats for "):
			return stageStats
		case hasPrefix(text, "Mem-Info:"):
			return stageNode
		case hasPrefix(text, "Memory cgroup out of memory: Kill process "):
			return stageChosen
		}
	case 'O':
		if c, rest := cutCause(text); c == causeNode && hasPrefix(rest, "Kill process ") {
			return stageChosen
		}
	case 'T':
		if hasPrefix(text, "Task in ") {
			return stageTaskIn
		}
	case 'C', 'P':
		if _, _, ok := parseRunning(text); ok {
			return stageRunning
		}
	case '[':
		if rest := space(text[1:]); hasPrefix(rest, "pid") && hasPrefix(space(rest[3:]), "]") {
			return stageTable
		}
	}
	return stageNone
}

// start takes in the first line of a part.
func (h *header) start(s stage, text []byte) {
	switch s {
	case stageRunning:
		h.running, _, _ = parseRunning(text)
	case stageTaskIn:
		victim, limit, ok := parseTaskIn(text)
		if !ok {
			return
		}
		h.taskIn = true
		h.victim = append(h.victim[:0], victim[:min(len(victim), maxPath)]...)
		h.limit = append(h.limit[:0], limit[:min(len(limit), maxPath)]...)
	case stageMemory:
		h.memory.parse(text)
	case stageSwap:
		h.swap.parse(text)
		h.memsw = text[0] == 'm'
	case stageKernel:
		h.kernel.parse(text)
	case stageStats:
		h.stats.head(text)
	case stageTable:
		h.table.head(text)
	case stageConstraint:
		h.constraint = append(h.constraint[:0], text[:min(len(text), maxConstraint)]...)
		h.task = parseConstraint(h.constraint, nil, nil).pid
	case stageChosen:
		h.chosen, h.cause, _ = parseChosen(text)
	case stageNone, stageInvoked, stageNode:
	}
	h.stage = s
}

// more takes in a line that belongs to the part where the header is, and reports whether it does.
func (h *header) more(text []byte) bool {
	switch h.stage {
	case stageStats:
		if index(text, "#012") >= 0 { // a line break, as rsyslog writes it
			ok := false
			for part := range bytes.SplitSeq(text, []byte("#012")) {
				ok = h.stats.line(part) || ok
			}
			return ok
		}
		return h.stats.line(text)
	case stageNode:
		return h.node.line(text)
	case stageTable:
		return h.table.row(text)
	case stageConstraint:
		return h.rest(text)
	}
	return false
}

// rest takes in a piece of the line "oom-kill:" that came as a line of its own.
func (h *header) rest(text []byte) bool {
	if h.task != 0 || len(h.constraint)+len(text) > maxConstraint {
		return false
	}
	piece := hasSuffix(h.constraint, "=") && hasPrefix(text, "/")
	for _, key := range []string{",cpuset=", ",mems_allowed=", ",oom_memcg=", ",global_oom", ",task_memcg=", ",task="} {
		piece = piece || hasPrefix(text, key)
	}
	if !piece {
		return false
	}
	h.constraint = append(h.constraint, text...)
	h.task = parseConstraint(h.constraint, nil, nil).pid
	return true
}
