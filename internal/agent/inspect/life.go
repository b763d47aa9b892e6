package inspect

import (
	"context"
	"fmt"
	"io"
	"time"

	"stella/internal/oom"
)

// marks are the reasons for a heap profile in the order in which they come, with the share of the limit in percent. The first is enough for a fix before the kill,
// the last has the most of what leaks.
var marks = []struct {
	reason  string
	percent int64
}{{"baseline", 0}, {"80%", 80}, {"95%", 95}}

// life is how far one process of a target has come.
type life struct {
	name  string
	since time.Time
	taken int // how many of marks need no profile any more
}

// look compares the working sets of all targets with their limits, and takes the heap profiles that are due, one at a time.
func (i *Inspector) look(ctx context.Context) {
	for _, w := range i.targets() {
		if ctx.Err() != nil {
			return
		}
		if w.Pprof == "" || !w.pprof.ready() {
			continue
		}
		s, ok := i.o.Newest(w.Cgroup)
		if !ok {
			continue
		}
		i.liven(w)
		if mark := w.life.due(&s, time.Now(), i.o.Every); mark > 0 {
			i.take(ctx, w, &s, mark)
		}
	}
}

// liven finds out whether the first process is another one. Of one that the agent asked before it was started again, the profiles are there.
func (i *Inspector) liven(w *watch) {
	pid, alive, ok := i.o.Main(w.Cgroup)
	name := fmt.Sprintf("%s/%d", i.o.Boot, pid)
	if !ok || !alive || name == w.life.name {
		return
	}
	w.life = life{name: name, since: time.Now()}
	for _, h := range i.heaps.of(w.Cgroup) {
		for n, m := range marks {
			if h.Life == name && h.Reason == m.reason {
				w.life.taken = max(w.life.taken, n+1)
			}
		}
	}
}

// due is how many of the marks have been passed where a profile is due; 0 is that none is.
func (l *life) due(s *oom.Sample, now time.Time, every time.Duration) int {
	if l.name == "" {
		return 0
	}
	passed := 0
	if now.Sub(l.since) >= every {
		passed = 1 // the baseline: what a program makes when it starts is no leak
	}
	for n, m := range marks {
		if m.percent > 0 && s.Limit > 0 && s.WorkingSet/m.percent >= s.Limit/100 {
			passed = n + 1
		}
	}
	if passed <= l.taken {
		return 0
	}
	return passed
}

// take takes one.
func (i *Inspector) take(ctx context.Context, w *watch, s *oom.Sample, mark int) {
	h := oom.Heap{
		Time: time.Now().UTC(), Cgroup: w.Cgroup, Container: w.container, Life: w.life.name, Reason: marks[mark-1].reason, WorkingSet: s.WorkingSet, Limit: s.Limit,
	}
	err := i.heaps.add(&h, func(to io.Writer) error { return i.fetch.heap(ctx, w.Pprof, to) })
	if ctx.Err() != nil {
		return
	}
	i.counts.heaps(err)
	w.pprof.tell(i.o.Log, "pprof", w, err)
	if err != nil {
		return
	}
	w.life.taken = mark
	i.o.Log.Info("heap profile taken", "id", h.ID, "reason", h.Reason, "cgroup", h.Cgroup, "container", nameOf(w), "working_set", h.WorkingSet, "limit", h.Limit,
		"bytes", h.Bytes, "took", time.Since(h.Time).Round(time.Millisecond))
}
