package service

import (
	"cmp"
	"slices"
)

// waiting is a queued command, as the queue knows it.
type waiting struct {
	id, caller, project string
	memory              int64
}

// queue has what waits, in the order in which it may start: callers take turns, then the projects of a caller, and in a
// project the oldest is first. The service's lock guards it.
//
// Turns are taken by passes, as in stride scheduling (Waldspurger and Weihl, 1995) with equal shares: who has the
// lowest pass is next, and goes behind all others. So does who comes anew: nobody saves up turns, or gets more of them by
// coming again and again.
type queue struct {
	callers turns[*turns[*line]]
	ids     map[string]waiting
	placed  map[string]int // what places found, until something changes
}

// line are the commands of one caller in one project, by ID.
type line struct{ waits []waiting }

// turns are those that take turns.
type turns[T any] struct {
	now     uint64 // the pass of the last turn
	members map[string]*member[T]
}

type member[T any] struct {
	name  string
	pass  uint64
	since string // the ID of what it came with, to begin with the oldest among equals
	has   T
}

func newTurns[T any]() turns[T] { return turns[T]{members: map[string]*member[T]{}} }

// join returns the member of that name, which is made where it is not there.
func (t *turns[T]) join(name, since string, has func() T) *member[T] {
	m := t.members[name]
	if m == nil {
		m = &member[T]{name: name, pass: t.now + 1, since: since, has: has()}
		t.members[name] = m
	}
	return m
}

// order are the members, the next first.
func (t *turns[T]) order() []*member[T] {
	all := make([]*member[T], 0, len(t.members))
	for _, m := range t.members {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *member[T]) int {
		return cmp.Or(cmp.Compare(a.pass, b.pass), cmp.Compare(a.since, b.since), cmp.Compare(a.name, b.name))
	})
	return all
}

// took books a turn of m.
func (t *turns[T]) took(m *member[T]) {
	t.now = max(t.now, m.pass)
	m.pass = t.now + 1
}

// nth is the pass at which m would have its turn after so many others of its own.
func (t *turns[T]) nth(m *member[T], own int) uint64 {
	if own == 0 {
		return m.pass
	}
	return max(m.pass, t.now) + uint64(own)
}

func newQueue() *queue {
	return &queue{callers: newTurns[*turns[*line]](), ids: map[string]waiting{}}
}

func (q *queue) len() int { return len(q.ids) }

// of is how many commands of a caller wait.
func (q *queue) of(caller string) (n int) {
	if m := q.callers.members[caller]; m != nil {
		for _, p := range m.has.members {
			n += len(p.has.waits)
		}
	}
	return n
}

// add puts a command in its place.
func (q *queue) add(w waiting) {
	caller := q.callers.join(w.caller, w.id, func() *turns[*line] { t := newTurns[*line](); return &t })
	project := caller.has.join(w.project, w.id, func() *line { return &line{} })
	at, _ := slices.BinarySearchFunc(project.has.waits, w.id, func(o waiting, id string) int { return cmp.Compare(o.id, id) })
	project.has.waits = slices.Insert(project.has.waits, at, w)
	q.ids[w.id], q.placed = w, nil
}

// remove takes a command out, without a turn, and reports whether it was there.
func (q *queue) remove(id string) bool {
	w, ok := q.ids[id]
	if !ok {
		return false
	}
	caller := q.callers.members[w.caller]
	project := caller.has.members[w.project]
	project.has.waits = slices.DeleteFunc(project.has.waits, func(o waiting) bool { return o.id == id })
	if len(project.has.waits) == 0 {
		delete(caller.has.members, w.project)
	}
	if len(caller.has.members) == 0 {
		delete(q.callers.members, w.caller)
	}
	delete(q.ids, id)
	q.placed = nil
	return true
}

// verdict is what may be done with the next command.
type verdict int

const (
	take verdict = iota // it may start
	skip                // not it, but maybe another caller's or project's
	stop                // neither it nor any other
)

// next takes out the first command that may start, and books the turns.
func (q *queue) next(may func(waiting) verdict) (waiting, bool) {
	for _, caller := range q.callers.order() {
		for _, project := range caller.has.order() {
			w := project.has.waits[0]
			switch may(w) {
			case skip:
				continue
			case stop:
				return waiting{}, false
			}
			q.callers.took(caller)
			caller.has.took(project)
			q.remove(w.id)
			return w, true
		}
	}
	return waiting{}, false
}

// places are the commands' places in the order in which they would start one after the other, from 1. The map is not to
// be changed.
func (q *queue) places() map[string]int {
	if q.placed != nil {
		return q.placed
	}
	all := make([]turn, 0, q.len())
	for _, caller := range q.callers.members {
		own := make([]turn, 0, len(caller.has.members))
		for _, project := range caller.has.members {
			for i, w := range project.has.waits {
				own = append(own, turn{caller.has.nth(project, i), project.since, project.name, w.id})
			}
		}
		slices.SortFunc(own, turn.compare)
		for i, t := range own {
			all = append(all, turn{q.callers.nth(caller, i), caller.since, caller.name, t.id})
		}
	}
	slices.SortFunc(all, turn.compare)
	q.placed = make(map[string]int, len(all))
	for i, t := range all {
		q.placed[t.id] = i + 1
	}
	return q.placed
}

// turn is when a command would have its turn, among the turns of its caller or of all.
type turn struct {
	pass        uint64
	since, name string
	id          string
}

func (t turn) compare(o turn) int {
	return cmp.Or(cmp.Compare(t.pass, o.pass), cmp.Compare(t.since, o.since), cmp.Compare(t.name, o.name))
}
