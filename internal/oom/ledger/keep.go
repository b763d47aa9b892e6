package ledger

import (
	"time"

	"stella/internal/oom"
	"stella/internal/oom/ledger/join"
)

// commit keeps what the joiner decided: in one record, so all of it or nothing.
func (l *Ledger) commit() {
	if l.join.Decided() {
		l.write(l.join.Take())
	}
}

// flush keeps what is not kept yet: what counters told, how far the log was read, and what could not be written before.
func (l *Ledger) flush() {
	if b := l.join.Take(); !b.Empty() {
		l.write(b)
	}
	if l.store.fault != nil {
		if err := l.store.catchUp(l.begin); err != nil {
			l.store.fault = err
			return
		}
		l.log.Info("the ledger of OOM kills is on disk again")
	}
	at := l.join.Known()
	if at <= l.noted {
		return
	}
	r := record{Number: l.store.next(), First: l.events.Last() + 1, State: l.join.Brief()}
	if err := l.store.journal.Note(r.encode()); err != nil {
		l.failed(err)
		return
	}
	l.noted = at
}

// write keeps a batch, and tells it to those who follow.
func (l *Ledger) write(b join.Batch) {
	r := record{Number: l.store.next(), First: l.events.Last() + 1, State: b.State, Kills: b.Entries}
	if l.store.untold {
		r.Tag = l.store.tag
	}
	var kills int64
	var first uint64
	for i := range b.Entries {
		e := &b.Entries[i]
		kills += e.More
		if e.New && first == 0 {
			first = e.N
		}
	}
	wasWell := l.store.fault == nil
	if err := l.store.put(r.encode(), first, kills); err == nil {
		l.store.untold, l.noted = false, b.Position
	} else if wasWell {
		l.failed(err)
	}
	l.store.kills += kills
	for i := range b.Entries {
		l.totals.apply(&b.Entries[i])
		l.owned.remember(&b.Entries[i])
		l.named.add(&b.Entries[i])
		l.events.Add(oom.KillEvent{Kill: b.Entries[i].Kill, Updated: !b.Entries[i].New})
	}
	if l.store.fault == nil && l.store.full() {
		if err := l.begin(); err != nil {
			l.log.Warn("the journal of OOM kills cannot go on in a new file; it goes on in the old one", "why", err)
		}
	}
}

// failed notes that the journal cannot be written.
func (l *Ledger) failed(err error) {
	l.store.fault = err
	l.log.Error("the ledger of OOM kills is kept in memory only", "why", err)
}

// begin goes on in a new segment, with what is pending, and removes old ones if all take too much.
func (l *Ledger) begin(pending ...[]byte) error {
	size := l.store.segment
	if err := l.store.drop(size, func(begin) bool { return false }); err != nil {
		return err
	}
	l.totals.fit(int(size / 4))
	r := record{Number: l.store.next(), First: l.events.Last() + 1, State: l.join.State(int(size / 4)), Tag: l.store.tag}
	waiting, first := l.store.waits(r.Next)
	r.Checkpoint = &checkpoint{
		Time: l.o.Now(), First: first, Before: l.store.kills - waiting, Kills: l.store.kills, Dropped: l.store.dropped, Totals: l.totals,
	}
	if err := l.store.journal.Begin(r.encode(), pending...); err != nil {
		return err
	}
	l.store.began(l.store.journal.Last(), r.Checkpoint)
	l.store.untold, l.store.unsaved, l.noted = false, true, l.join.Known()
	return nil
}

// prune removes the segments that are too old. The clock may be wrong for a moment: they have to be so twice.
func (l *Ledger) prune() {
	l.mu.Lock()
	defer l.mu.Unlock()
	begins := l.store.begins
	if len(begins) == 0 || l.store.fault != nil {
		return
	}
	now := l.o.Now()
	if last := begins[len(begins)-1]; last.kills < l.store.kills && now.Sub(last.time) > l.o.MaxAge/8 {
		// A segment goes as a whole: so that it is not much, none has the kills of a long time.
		if err := l.begin(); err != nil {
			l.log.Warn("old OOM kills are kept longer", "why", err)
		}
	}
	aged := l.store.aged
	l.store.aged = 0
	for i, b := range l.store.begins[1:] {
		if b.time.Before(now.Add(-l.o.MaxAge)) {
			l.store.aged = l.store.begins[i].segment
		}
	}
	aged = min(aged, l.store.aged)
	if err := l.store.drop(0, func(b begin) bool { return b.segment <= aged }); err != nil {
		l.log.Warn("old OOM kills are kept longer", "why", err)
	}
}

// held is how many kills can be read, gone how many were dropped, and oldest when the segments that are left begin.
func (l *Ledger) held() int64 { return l.store.kills - l.gone() }

func (l *Ledger) gone() int64 {
	if len(l.store.begins) == 0 {
		return l.store.dropped
	}
	oldest := &l.store.begins[0]
	return oldest.kills + l.store.dropped - oldest.dropped
}

// oldest is when the segments that are left begin.
func (l *Ledger) oldest() time.Time {
	if len(l.store.begins) == 0 {
		return time.Time{}
	}
	return l.store.begins[0].time
}
