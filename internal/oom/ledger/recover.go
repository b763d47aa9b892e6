package ledger

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"

	"stella/internal/journal"
	"stella/internal/oom"
	"stella/internal/oom/ledger/join"
)

// maxOpen bounds the kills that are held in mind while the journal is read: those that the joiner may want.
const maxOpen = 8192

// recovered is what the journal says.
type recovered struct {
	l       *Ledger
	state   join.State
	cgroups map[string]join.Domain
	unsure  map[uint64]join.Entry // by number: those that are not settled, or may be explained late
	fresh   bool                  // there is nothing
}

// recover reads the journal: of all segments where they begin, and all of the last two. What was
// not settled when the agent ended is in those.
func (l *Ledger) recover() *recovered {
	r := &recovered{l: l, cgroups: make(map[string]join.Domain), unsure: make(map[uint64]join.Entry)}
	l.totals.index()
	segments := l.store.journal.Segments()
	r.fresh = len(segments) == 0
	from := 0
	for i, s := range segments {
		if r.begin(s) {
			from = i
		}
	}
	damaged := 0
	for _, s := range segments[max(from-1, 0):] {
		n, err := l.store.journal.Scan(s, func(record []byte, _ int64) { r.replay(record) })
		damaged += n
		if err != nil {
			l.log.Error("a part of the ledger of OOM kills cannot be read", "file", journal.Path(l.store.dir, s.Number), "why", err)
		}
	}
	if damaged > 0 {
		l.log.Error("parts of the ledger of OOM kills are damaged and left out", "records", damaged)
	}
	if l.o.Boot != r.state.Boot {
		l.store.untold = true
		clear(r.unsure)
	}
	return r
}

// begin notes where a segment begins, and reports whether that is undamaged.
func (r *recovered) begin(s journal.Segment) bool {
	b := begin{segment: s.Number}
	if all := r.l.store.begins; len(all) > 0 {
		b = all[len(all)-1]
		b.segment = s.Number
	}
	var first record
	text, err := r.l.store.journal.First(s)
	ok := err == nil && json.Unmarshal(text, &first) == nil && first.Checkpoint != nil
	if ok {
		r.l.store.began(s.Number, first.Checkpoint)
		return true
	}
	r.l.store.begins = append(r.l.store.begins, b)
	return false
}

// replay takes in a record, in order.
func (r *recovered) replay(text []byte) {
	var rec record
	if json.Unmarshal(text, &rec) != nil {
		r.l.log.Error("a record of the ledger of OOM kills is left out", "record", string(text[:min(len(text), 200)]))
		return
	}
	l := r.l
	if c := rec.Checkpoint; c != nil {
		l.totals = c.Totals
		l.totals.index()
		l.store.kills, l.store.dropped = c.Kills, c.Dropped
		clear(r.cgroups)
	}
	news := rec.Number > l.store.number
	if news {
		r.advance(&rec)
	}
	if rec.Checkpoint != nil {
		l.events.Seek(rec.First - 1)
	}
	for i := range rec.Kills {
		e := &rec.Kills[i]
		if news {
			l.totals.apply(e)
			l.store.kills += e.More
			l.events.Seek(rec.First + uint64(i) - 1)
			l.events.Add(oom.KillEvent{Kill: e.Kill, Updated: !e.New})
		}
		l.owned.remember(e)
		if e.Kill.Boot == l.o.Boot {
			l.named.add(e)
		}
		r.hold(e)
	}
}

// advance takes in how far everything was read.
func (r *recovered) advance(rec *record) {
	l := r.l
	if rec.Boot != r.state.Boot {
		clear(r.cgroups)
		clear(r.unsure)
	}
	r.state, l.store.number = rec.State, rec.Number
	for _, d := range rec.Cgs {
		r.cgroups[d.Path] = d
	}
	if rec.Tag != "" {
		l.store.tag = rec.Tag
	}
}

// hold keeps an entry in mind while something may come to it.
func (r *recovered) hold(e *join.Entry) {
	if e.Settled && !e.Late() || e.Kill.Boot != r.l.o.Boot {
		delete(r.unsure, e.N)
		return
	}
	c := *e
	c.Kill.Tasks, c.New, c.Was = nil, false, nil
	r.unsure[e.N] = c
	if len(r.unsure) > maxOpen {
		numbers := slices.Sorted(maps.Keys(r.unsure))
		for _, n := range numbers[:maxOpen/2] {
			delete(r.unsure, n)
		}
	}
}

// all is the state with all cgroups.
func (r *recovered) all() join.State {
	s := r.state
	s.Cgs = slices.Collect(maps.Values(r.cgroups))
	return s
}

// open are the entries that are not done with, in order.
func (r *recovered) open() []join.Entry {
	return slices.SortedFunc(maps.Values(r.unsure), func(a, b join.Entry) int { return cmp.Compare(a.N, b.N) })
}
