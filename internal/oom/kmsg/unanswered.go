package kmsg

import "stella/internal/oom"

// unanswered is what a header tells without a kill: who asked for memory, when, and whose limit that hit.
func (h *header) unanswered(page int64) oom.Report {
	r := oom.Report{
		Monotonic: h.first.monotonic, Time: h.first.wall, Node: string(h.host),
		Process: oom.Process{UID: -1}, Limit: oom.Limit{Scope: oom.ScopeUnknown},
	}
	h.report(&r, &killed{process: r.Process}, page)
	return r
}
