package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"stella/internal/client"
	"stella/internal/explain"
	"stella/internal/heap"
	"stella/internal/oom"
)

// errNoHeap is that there is nothing to draw.
var errNoHeap = errors.New("the agent has no heap profile of it for --flame: it takes those of Go programs that allow it " +
	"(on a pod the annotation stella/pprof: PORT, else stella-agent --inspect), at the beginning and when 80 % and 95 % of the limit are used")

// askApplication adds what the application told about itself in the cgroups of its lives, and draws its heap. To explain, it can be done without: what cannot be had is
// a warning.
func (c *explainCommand) askApplication(ctx context.Context, agent *client.Agent, cgroups []string, in *explain.Input) error {
	for _, cgroup := range cgroups {
		gauges, err := agent.Gauges(ctx, cgroup)
		if err != nil {
			c.app.warn("what the application counts is not looked at: " + err.Error())
			break
		}
		in.AddGauges(gauges)
	}
	before, after, err := c.profiles(ctx, agent, cgroups, in)
	switch {
	case err != nil && c.flame != "":
		return err
	case err != nil:
		c.app.warn("its heap is not looked at: " + err.Error())
	case before != nil:
		in.Heap = growthOf(before, after)
	}
	if c.flame == "" {
		return nil
	}
	if after == nil {
		return errNoHeap
	}
	return writeFile(c.flame, func(w io.Writer) error { return heap.Flame(w, before, after) })
}

// growthOf is how the heap grew, for a report.
func growthOf(before, after *heap.Profile) *explain.Heap {
	g := heap.Diff(before, after)
	out := &explain.Heap{From: g.From, To: g.To, Before: g.Before, After: g.After}
	for _, s := range g.Sites {
		out.Sites = append(out.Sites, explain.HeapSite{Function: s.Function, File: s.File, Line: s.Line, Bytes: s.Bytes, Grown: s.Grown, Share: s.Share})
	}
	return out
}

// profiles are the first and the last heap profile of one life: of the newest that has two, before the kill that was asked for. If none has, after is the newest
// alone; both are nil where there is none.
func (c *explainCommand) profiles(ctx context.Context, agent *client.Agent, cgroups []string, in *explain.Input) (before, after *heap.Profile, err error) {
	var all []oom.Heap
	for _, cgroup := range cgroups {
		heaps, err := agent.Heaps(ctx, cgroup)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, heaps...)
	}
	slices.SortFunc(all, func(a, b oom.Heap) int { return a.Time.Compare(b.Time) })
	until := in.Now
	if c.asked != nil {
		until = c.asked.Time
	}
	first, last := choose(slices.DeleteFunc(all, func(h oom.Heap) bool { return h.Time.After(until) }), in.Now.Add(-time.Duration(c.since)))
	if last == nil {
		return nil, nil, nil
	}
	if after, err = readHeap(ctx, agent, last); err != nil || first == nil {
		return nil, after, err
	}
	before, err = readHeap(ctx, agent, first)
	return before, after, err
}

// choose chooses the first and the last of the newest life that has two, or else the newest of all. They are in order of time. The last is not from before a time; the
// first, at the beginning of a life, can be.
func choose(all []oom.Heap, from time.Time) (first, last *oom.Heap) {
	for i := len(all) - 1; i >= 0 && !all[i].Time.Before(from); i-- {
		begin := slices.IndexFunc(all, func(h oom.Heap) bool { return h.Life == all[i].Life })
		if begin < i {
			return &all[begin], &all[i]
		}
	}
	if len(all) == 0 || all[len(all)-1].Time.Before(from) {
		return nil, nil
	}
	return nil, &all[len(all)-1]
}

// readHeap reads one. The time is the agent's: that of the program is whatever it says.
func readHeap(ctx context.Context, agent *client.Agent, h *oom.Heap) (p *heap.Profile, err error) {
	err = agent.Heap(ctx, h.ID, func(r io.Reader) error {
		p, err = heap.Read(r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("heap profile %s: %w", h.ID, err)
	}
	p.Time = h.Time
	return p, nil
}
