package kmsg

import "bytes"

// context takes in a line of a header, if it is one.
func (r *Reports) context(l *Line, text []byte) {
	if invoker, ok := parseInvoker(text); ok { // whose name may begin with a blank
		h := r.free(l)
		h.open(l, r.lines)
		h.invoker = append(h.invoker[:0], invoker...)
		r.last.whole = false
		return
	}
	text = space(text) // dmesg and journalctl indent the second line of a record
	s := stageOf(text)
	if s == stageNone {
		if h := r.section(l, text); h != nil && h.more(text) {
			h.at, h.line = l.moment(), r.lines
		}
		return
	}
	h := r.ofPart(l, s, text)
	if h == nil {
		if !s.begins() {
			return
		}
		h = r.free(l)
		h.open(l, r.lines)
	}
	h.start(s, text)
	h.at, h.line = l.moment(), r.lines
}

// begins reports whether a part is taken for the beginning where the lines before it are missing. The others
// are in other messages of the kernel as well.
func (s stage) begins() bool {
	switch s {
	case stageTaskIn, stageMemory, stageStats, stageTable, stageConstraint, stageChosen:
		return true
	case stageNone, stageInvoked, stageRunning, stageSwap, stageKernel, stageNode:
	}
	return false
}

// free returns a header that is free for a line that begins one. A thread writes one report at a time, so
// that of the same caller is given up; if there is no other, so is the oldest.
func (r *Reports) free(l *Line) *header {
	oldest := &r.headers[0]
	var free *header
	for i := range r.headers {
		h := &r.headers[i]
		if h.stage != stageNone && len(l.Caller) > 0 && bytes.Equal(h.caller, l.Caller) {
			r.giveUp(h)
		}
		if h.stage == stageNone {
			free = h
		}
		if h.opened < oldest.opened {
			oldest = h
		}
	}
	if free != nil {
		return free
	}
	r.giveUp(oldest)
	return oldest
}

// mine reports whether a line can be of the header: both of the same caller, as far as that is known.
func (h *header) mine(l *Line) bool {
	return h.stage != stageNone && (len(l.Caller) == 0 || len(h.caller) == 0 || bytes.Equal(l.Caller, h.caller))
}

// section is the header whose current part a line goes on that does not say what it is: the one
// that had a line last, unless it is a row with the invoker of another.
func (r *Reports) section(l *Line, text []byte) *header {
	pid := rowPID(text)
	var best *header
	for i := range r.headers {
		h := &r.headers[i]
		if !h.mine(l) || h.stage != stageStats && h.stage != stageNode && h.stage != stageTable && h.stage != stageConstraint {
			continue
		}
		if pid != 0 && h.stage == stageTable && h.running == pid {
			return h
		}
		if best == nil || h.line > best.line {
			best = h
		}
	}
	return best
}

// ofPart is the header that a part belongs to: that with the caller; else that with the process
// which the line names; else, of those that wait for this part, the first. Nil is none.
func (r *Reports) ofPart(l *Line, s stage, text []byte) *header {
	pid, comm := named(s, text)
	var best *header
	for i := range r.headers {
		h := &r.headers[i]
		if !h.mine(l) || h.stage > s || h.stage == s && s != stageStats {
			continue
		}
		if s == stageRunning && len(h.invoker) > 0 && !bytes.HasPrefix(comm, space(h.invoker)) {
			continue
		}
		switch {
		case pid != 0 && h.running == pid:
			return h
		case best != nil && best.table.has(pid):
		case best == nil || h.table.has(pid) || h.before(best, l):
			best = h
		}
	}
	return best
}

// named is the process that a part names.
func named(s stage, text []byte) (pid int, comm []byte) {
	switch s {
	case stageRunning:
		pid, comm, _ = parseRunning(text)
		comm = space(comm)
	case stageConstraint:
		pid = parseConstraint(text, nil, nil).pid
	case stageChosen:
		pid, _, _ = parseChosen(text)
	case stageNone, stageInvoked, stageTaskIn, stageMemory, stageSwap, stageKernel, stageStats, stageNode, stageTable:
	}
	return pid, comm
}

// before reports whether a line belongs rather to h than to o: the one that does not wait in vain, then
// the one that has come further, then the older one.
func (h *header) before(o *header, l *Line) bool {
	if a, b := h.isFresh(l), o.isFresh(l); a != b {
		return a
	}
	if h.stage != o.stage {
		return h.stage > o.stage
	}
	return h.opened < o.opened
}

func (h *header) isFresh(l *Line) bool {
	since, ok := l.since(&h.at)
	return !ok || since <= fresh
}

// ofKill is the header of a kill, or nil. named says that the header names the process.
func (r *Reports) ofKill(l *Line, k *killed) (best *header, named bool) {
	pid := k.process.PID
	for i := range r.headers {
		h := &r.headers[i]
		if !h.mine(l) {
			continue
		}
		if pid != 0 && (h.task == pid || h.chosen == pid) {
			return h, true
		}
		// Until 5.0 the kernel may kill a child of the process that it named before.
		child := k.cause == causeUnknown && h.chosen != 0
		if pid != 0 && !child && (h.task != 0 || h.chosen != 0) {
			continue
		}
		if best == nil || h.before(best, l) {
			best = h
		}
	}
	return best, false
}
