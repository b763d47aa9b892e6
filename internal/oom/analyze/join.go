package analyze

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"stella/internal/oom"
	"stella/internal/oom/notice"
	"stella/internal/oom/owner"
)

// This file joins what the kernel tells with what others tell.

// mergeInvoked adds the invocations of one source to those of all, each once.
func (a *Analysis) mergeInvoked(fresh []*finding) {
	known := len(a.invoked)
	for _, f := range fresh {
		i := slices.IndexFunc(a.invoked[:known], func(k *finding) bool {
			return k.source != f.source && k.Invoker == f.Invoker && k.Cgroup == f.Cgroup && sameNode(k.Node, f.Node) &&
				(k.Monotonic != 0 && k.Monotonic == f.Monotonic || (k.Monotonic == 0 || f.Monotonic == 0) && sameTime(k.Time, f.Time))
		})
		if i >= 0 {
			a.invoked[i].source = f.source
			continue
		}
		a.invoked = append(a.invoked, f)
	}
}

// hear adds a notice, unless it is one that was heard: of the same moment to the nanosecond, or from another log.
func (a *Analysis) hear(n *heard) {
	key := n.key()
	for _, k := range a.heard[key] {
		if k.Witness != n.Witness || k.Process.PID != n.Process.PID || !sameContainer(k.Container, n.Container) || k.lineTime != n.lineTime {
			continue
		}
		if !n.lineTime && k.Time.Equal(n.Time) || n.lineTime && k.source != n.source && sameTime(k.Time, n.Time) {
			k.source = n.source
			return
		}
	}
	if len(a.notices) >= maxNotices {
		a.result.Totals.LeftOut++
		return
	}
	a.notices = append(a.notices, n)
	a.heard[key] = append(a.heard[key], n)
}

// key is the same for notices of the same container.
func (n *heard) key() string {
	const short = 20 // digits are all that conmon tells of an ID
	c := n.Container
	return cmp.Or(c.ID[:min(len(c.ID), short)], c.PodUID, c.Unit)
}

// sameContainer compares what a notice and something else say of whom: an ID may be cut (conmon), or there is none.
func sameContainer(a, b oom.Container) bool {
	switch {
	case a.ID != "" || b.ID != "":
		return a.ID != "" && b.ID != "" && (strings.HasPrefix(a.ID, b.ID) || strings.HasPrefix(b.ID, a.ID))
	case a.PodUID != "" || b.PodUID != "":
		return a.PodUID == b.PodUID
	}
	return a.Unit == b.Unit
}

// about reports whether a notice, which is timely, can be about a kill: of the same container, pod, unit or process.
func (n *heard) about(f *finding) bool {
	if !sameNode(n.node, f.Node) {
		return false
	}
	if n.Process.PID != 0 {
		return n.Process.PID == f.Process.PID && n.Process.Comm == f.Process.Comm
	}
	switch {
	case n.Container.ID != "":
		return sameContainer(n.Container, f.whose)
	case n.Container.PodUID != "":
		return n.Container.PodUID == f.whose.PodUID
	}
	return n.Container.Unit != "" && n.Container.Unit == f.whose.Unit
}

// span is when a kill can have been that a notice is about.
func (n *heard) span() (first, last time.Time) {
	switch {
	case n.late:
		return n.started.Add(-near), n.Time.Add(near)
	case n.Witness == oom.WitnessKubelet:
		return n.Time.Add(-slow), n.Time.Add(slow)
	}
	return n.Time.Add(-near), n.Time.Add(near)
}

// timely reports whether a notice can be about a kill of that time. One of the two may have none.
func (n *heard) timely(t time.Time) bool {
	first, last := n.span()
	return n.Time.IsZero() || t.IsZero() || !t.Before(first) && !t.After(last)
}

// join explains the notices by the kills, the surest ways first; what is left becomes weak kills.
func (a *Analysis) join() {
	a.date()
	for _, f := range slices.Concat(a.findings, a.invoked) {
		f.whose = owner.Parse(f.Cgroup).Owner()
	}
	a.rejoin()
	slices.SortStableFunc(a.notices, func(x, y *heard) int { return x.Time.Compare(y.Time) })
	a.setAside()
	a.confirm()
	a.complete()
	a.confirm()
	a.nameless()
	a.siblings()
	a.weak()
	a.unanswered()
}

// rejoin joins an invocation with a kill right behind it that has none: logs are rotated, and cut, in the middle of reports.
func (a *Analysis) rejoin() {
	line := newTimeline(slices.DeleteFunc(slices.Clone(a.findings), func(f *finding) bool { return f.Invoker != "" }))
	a.invoked = slices.DeleteFunc(a.invoked, func(head *finding) bool {
		var best *finding
		for _, f := range between(line.dated, head.Time, head.Time.Add(near), func(f *finding) time.Time { return f.Time }) {
			if f.Invoker == "" && sameNode(f.Node, head.Node) && (best == nil || !head.lists(best) && head.lists(f)) {
				best = f
			}
		}
		if best == nil || head.Time.IsZero() {
			return false
		}
		best.Invoker = head.Invoker
		if best.Cgroup == "" && head.lists(best) {
			best.Cgroup, best.Limit, best.Memory, best.Tasks, best.Header, best.whose = head.Cgroup, head.Limit, head.Memory, head.Tasks, true, head.whose
		}
		return true
	})
}

// lists reports whether a kill's process is in the table of an invocation.
func (f *finding) lists(kill *finding) bool {
	return slices.ContainsFunc(f.Tasks, func(p oom.Process) bool { return p.PID == kill.Process.PID })
}

// setAside takes out what was not the kernel's doing.
func (a *Analysis) setAside() {
	a.notices = slices.DeleteFunc(a.notices, func(n *heard) bool {
		if n.Reason != notice.OOMD {
			return false
		}
		a.result.Others = append(a.result.Others, n.Notice)
		return true
	})
}

// confirm finds the kill that a notice is about: of several, the last that nothing like it confirmed.
func (a *Analysis) confirm() {
	line := newTimeline(a.findings)
	for _, n := range a.notices {
		if n.by != nil {
			continue
		}
		var best *finding
		line.timely(n, func(f *finding) bool {
			if n.about(f) && (best == nil || best.saw(n.Witness) || !f.saw(n.Witness)) {
				best = f
			}
			return true
		})
		if best != nil {
			n.by = best
			best.witness(n.Witness)
		}
	}
}

// complete makes kills of invocations for which no line says who was killed, where a runtime says in which container it was.
func (a *Analysis) complete() {
	var left []*finding
	for _, f := range a.invoked {
		n := a.answer(f)
		if n == nil {
			left = append(left, f)
			continue
		}
		n.by = f
		f.witness(n.Witness)
		f.Time = finer(f.Time, n.Time)
		f.doubt = "the kernel log says that the OOM killer was invoked and has no line \"Killed process\", so which process died is not known"
		if f.Cgroup == "" {
			f.whose = n.Container
			f.doubt += "; that it was in this container follows from the runtime's notice of the same moment"
		}
		a.keep(f)
	}
	a.invoked = left
}

// answer is the notice of an invocation: of its container, or else, where its container is not known, of the same time.
func (a *Analysis) answer(f *finding) *heard {
	for _, n := range a.around(f.Time) {
		if n.by != nil || n.Witness != oom.WitnessRuntime || n.Container.ID == "" {
			continue
		}
		if n.source != f.source && !sameNode(n.node, f.Node) { // in one source the name may be another: names get blotted out
			continue
		}
		if f.Cgroup == "" || sameContainer(f.whose, n.Container) {
			return n
		}
	}
	return nil
}

// around are the notices near a time.
func (a *Analysis) around(t time.Time) []*heard {
	if t.IsZero() {
		return nil
	}
	return between(a.notices, t.Add(-near), t.Add(near), func(n *heard) time.Time { return n.Time })
}

func (a *Analysis) keep(f *finding) {
	if len(a.findings) >= MaxKills {
		a.result.Totals.LeftOut++
		return
	}
	a.findings = append(a.findings, f)
}

// nameless gives a kill without a cgroup the container of the notices near it, if that is one alone.
func (a *Analysis) nameless() {
	for _, f := range a.findings {
		if f.Cgroup != "" || f.whose.ID != "" || f.Time.IsZero() || f.Limit.Scope == oom.ScopeNode {
			continue
		}
		beside := a.beside(f)
		switch len(beside) {
		case 0:
			continue
		case 1:
			f.whose = beside[0]
			f.doubt = "the kernel logged no header for this kill; its container is the only one of which the runtime had a notice at that time"
		default:
			f.doubt = fmt.Sprintf("the kernel logged no header for this kill; at that time the runtime had notices of %d containers, of which it may be any", len(beside))
		}
		f.witness(oom.WitnessRuntime)
	}
}

// beside are the containers of the notices near a kill that are about no other kill. All those notices are explained by it: they
// are no proof of more kills than the kernel logged. A pod's sandbox is in no list of pods, and had nobody killed.
func (a *Analysis) beside(f *finding) (all []oom.Container) {
	known := func(c oom.Container) bool { return a.pods.containers[c.ID] != nil }
	for _, n := range a.around(f.Time) {
		if n.Witness != oom.WitnessRuntime || !sameNode(n.node, f.Node) || n.by != nil && n.by.Cgroup != "" {
			continue
		}
		n.by = f
		if !slices.ContainsFunc(all, func(c oom.Container) bool { return sameContainer(c, n.Container) }) {
			all = append(all, n.Container)
		}
	}
	if slices.ContainsFunc(all, known) {
		all = slices.DeleteFunc(all, func(c oom.Container) bool { return !known(c) })
	}
	return all
}

// siblings explains notices of containers beside the victim's: containerd tells of an OOM of a pod, or of any cgroup above
// it, for every container below that, its sandbox first of all.
func (a *Analysis) siblings() {
	line := newTimeline(slices.DeleteFunc(slices.Clone(a.findings), func(f *finding) bool {
		scope := f.scope()
		return scope != oom.ScopePod && scope != oom.ScopeParent
	}))
	for _, n := range a.notices {
		if n.by != nil || n.Witness != oom.WitnessRuntime || n.Container.ID == "" {
			continue
		}
		c, known := a.pods.containers[n.Container.ID]
		line.timely(n, func(f *finding) bool {
			if sameNode(n.node, f.Node) && (!known || c.PodUID == f.whose.PodUID || f.scope() == oom.ScopeParent) {
				n.by = f
			}
			return n.by == nil
		})
	}
}

// weak makes kills of the notices that nothing explains: one of all that are about the same container and moment.
func (a *Analysis) weak() {
	made := map[string][]*finding{}
	for _, n := range a.notices {
		if n.by != nil {
			continue
		}
		key := n.key()
		if i := slices.IndexFunc(made[key], func(f *finding) bool { return !f.saw(n.Witness) && n.timely(f.Time) && n.about(f) }); i >= 0 {
			made[key][i].witness(n.Witness)
			continue
		}
		f := &finding{
			Report: oom.Report{Time: n.Time, Node: cmp.Or(n.node, n.Container.Node), Process: n.Process, Cgroup: n.Cgroup, Limit: oom.Limit{Scope: oom.ScopeUnknown}},
			whose:  n.Container, witnesses: []oom.Witness{n.Witness}, weak: true, doubt: "no kernel log that was read has this kill",
		}
		if n.Witness == oom.WitnessKubelet {
			f.Limit.Scope = oom.ScopeNode
		}
		made[key] = append(made[key], f)
		a.keep(f)
	}
}

// unanswered makes kills of invocations that nothing else tells of.
func (a *Analysis) unanswered() {
	for _, f := range a.invoked {
		f.weak = true
		f.doubt = "the kernel log says that the OOM killer was invoked, and not whether it killed, or whom: it has no line \"Killed process\""
		a.keep(f)
	}
}
