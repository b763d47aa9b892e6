package kmsg

import "stella/internal/oom"

// report joins the header with the kill.
func (h *header) report(r *oom.Report, k *killed, page int64) {
	r.Header = true
	r.Invoker = name(h.invoker)
	if page == 0 {
		var ok bool
		if page, ok = h.table.pageSize(r.Process); !ok {
			page = defaultPage
		}
	}
	if row, ok := h.table.find(r.Process.PID); ok {
		if r.Process.UID < 0 {
			r.Process.UID = row.uid
		}
		if r.Process.ScoreAdj == 0 {
			r.Process.ScoreAdj = row.adj
		}
		if r.Process.PageTables == 0 {
			r.Process.PageTables = row.process(page).PageTables
		}
	}
	r.Tasks, r.TasksLeftOut = h.table.processes(r.Process, page)

	c := h.decide(k)
	if len(c.victim) > 0 {
		r.Cgroup = string(c.victim)
	}
	if r.Process.UID < 0 && c.pid == r.Process.PID {
		r.Process.UID = c.uid
	}
	switch c.scope {
	case oom.ScopeCgroup:
		r.Memory = h.stats.memory(h.kernel, h.swapUsed())
		r.Limit = h.fired()
		r.Limit.Scope, r.Limit.Cgroup = c.scope, string(c.limit)
	case oom.ScopeNode:
		r.Memory = h.node.memory(page)
		r.Limit = h.node.limit(page)
	case oom.ScopeCpuset: // the figures are of the whole machine
		r.Limit.Scope = c.scope
	default:
		r.Limit.Scope = oom.ScopeUnknown
	}
}

// defaultPage is the size of a page on most machines, in bytes.
const defaultPage = 4096

// decide is whose limit fired and whose cgroup the victim's is, from the best line that the header has.
func (h *header) decide(k *killed) constraint {
	c := constraint{scope: oom.ScopeUnknown, uid: -1}
	if len(h.constraint) > 0 {
		c = parseConstraint(h.constraint, k, h.stats.path)
	}
	if h.taskIn && c.scope == oom.ScopeUnknown {
		c.scope, c.limit, c.victim = oom.ScopeCgroup, h.limit, h.victim
	}
	if c.scope == oom.ScopeUnknown {
		why := k.cause
		if why == causeUnknown {
			why = h.cause
		}
		switch {
		case h.memory.told || len(h.stats.path) > 0 || why == causeCgroup:
			c.scope = oom.ScopeCgroup
		case why == causeNode:
			c.scope = oom.ScopeNode
		}
	}
	if c.scope == oom.ScopeCgroup && len(c.limit) == 0 {
		c.limit = h.stats.path
	}
	return c
}

// fired is the limit that fired: that of memory, or (v1) that of memory and swap together.
func (h *header) fired() oom.Limit {
	g := h.memory
	if h.memsw && h.swap.full() && (!g.full() || g.failures == 0) {
		g = h.swap
	}
	if g.limit >= unlimited {
		g.limit = 0
	}
	return oom.Limit{Bytes: g.limit, Usage: g.usage, Failures: g.failures}
}

// swapUsed is the use of swap. On v1 "memory+swap" does not tell it: the statistics do.
func (h *header) swapUsed() gauge {
	if h.memsw {
		return gauge{}
	}
	return h.swap
}
