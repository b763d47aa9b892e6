package kmsg

import (
	"bytes"

	"stella/internal/oom"
)

// last is the kill before. Where the kernel kills a whole group (memory.oom.group), the lines of its other members follow
// that of the process that was chosen, without headers, and among them that process once more.
type last struct {
	report oom.Report // without tasks
	cause  cause
	caller []byte
	at     moment
	whole  bool // the kernel said that it kills the whole group
	path   string
}

func (a *last) forget() { *a = last{caller: a.caller[:0]} }

// set keeps a kill that is no member's.
func (a *last) set(l *Line, k *killed, report *oom.Report) {
	caller := append(a.caller[:0], l.Caller[:min(len(l.Caller), maxCaller)]...)
	*a = last{report: *report, cause: k.cause, caller: caller, at: l.moment()}
	a.report.Tasks, a.report.TasksLeftOut = nil, 0
}

// follows reports whether a line can be of the same killing.
func (a *last) follows(l *Line) bool {
	if a.report.Process.PID == 0 || len(l.Caller) > 0 && len(a.caller) > 0 && !bytes.Equal(l.Caller, a.caller) {
		return false
	}
	gap, ok := l.since(&a.at)
	return !ok || gap >= -groupGap && gap <= groupGap
}

// group takes in that the process is killed with all of its group.
func (a *last) group(l *Line, path []byte) (oom.Report, bool) {
	if !a.follows(l) {
		return oom.Report{}, false
	}
	a.whole, a.at, a.path = true, l.moment(), string(path[:min(len(path), maxPath)])
	report := a.report
	report.Group = report.Process.PID
	if report.Cgroup == "" {
		report.Cgroup = a.path
	}
	return report, true
}

// member reports whether a kill without a header is one of the group's.
func (a *last) member(l *Line, k *killed) bool {
	return a.whole && k.cause == a.cause && a.follows(l)
}

// join gives a member what is known of its group. Which cgroup below the group's it was in is not known, but
// for the process that was chosen.
func (a *last) join(l *Line, report *oom.Report) {
	chosen := &a.report
	report.Group, report.Cgroup = chosen.Process.PID, a.path
	report.Limit, report.Invoker, report.Memory, report.Header = chosen.Limit, chosen.Invoker, chosen.Memory, chosen.Header
	if report.Process.PID == chosen.Process.PID {
		report.Repeated = 1
		if chosen.Cgroup != "" {
			report.Cgroup = chosen.Cgroup
		}
	}
	a.at = l.moment()
}
