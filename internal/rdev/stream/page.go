package stream

import (
	"cmp"
	"slices"

	"stella/internal/rdev/outlog"
)

// mark is the end of an event in a page.
type mark struct {
	id    uint64 // the cursor behind the event
	end   int    // the offset behind it
	lines int    // how many records there are up to here in the page
	gap   bool   // it is a gap
}

// page is a piece of a log as events. Bytes and marks are only ever appended, so that who was given what was there can use it
// while more is added.
type page struct {
	after uint64 // the cursor before its first event
	data  []byte
	marks []mark
	final bool // the last event is the end
}

// last is the cursor behind the page.
func (p *page) last() uint64 {
	if len(p.marks) == 0 {
		return p.after
	}
	return p.marks[len(p.marks)-1].id
}

func (p *page) full() bool { return p.final || len(p.data) >= pageSize }

// add marks what was appended as one event, with so many records in it.
func (p *page) add(id uint64, records int, gap bool) {
	p.marks = append(p.marks, mark{id, len(p.data), p.lines(len(p.marks)) + records, gap})
}

// lines is how many records the first i events are.
func (p *page) lines(i int) int {
	if i == 0 {
		return 0
	}
	return p.marks[i-1].lines
}

// fill reads what is behind the page into it, until it is full or has all that there is.
func (p *page) fill(log Source, buf []byte) error {
	for !p.full() {
		before, stopped := p.last(), false
		at, err := log.Read(before, buf, func(r outlog.Record) bool {
			if p.full() {
				stopped = true
				return false
			}
			p.skipTo(r.Seq - 1)
			p.data = appendOutput(p.data, r)
			p.add(r.Seq, 1, false)
			return true
		})
		if err != nil || stopped {
			return err
		}
		p.skipTo(at.Next)
		if at.End != nil && p.last() >= at.Last {
			id := p.last() + 1
			p.data = appendEnd(p.data, id, log.State().Dropped, *at.End)
			p.add(id, 0, false)
			p.final = true
		} else if p.last() == before {
			return nil
		}
	}
	return nil
}

// skipTo tells a gap, where the records up to a cursor were not.
func (p *page) skipTo(to uint64) {
	if from := p.last() + 1; to >= from {
		p.data = appendGap(p.data, from, to)
		p.add(to, 0, true)
	}
}

// find returns where the events behind a cursor begin in a page: at which mark, and at which byte.
func (p *page) find(cursor uint64) (i, offset int, ok bool) {
	if cursor == p.after {
		return 0, 0, true
	}
	i, ok = slices.BinarySearchFunc(p.marks, cursor, func(m mark, id uint64) int { return cmp.Compare(m.id, id) })
	if !ok {
		return 0, 0, false
	}
	return i + 1, p.marks[i].end, true
}

// has reports whether a page has what is behind a cursor.
func (p *page) has(cursor uint64) bool {
	if p == nil || cursor >= p.last() {
		return false
	}
	_, _, ok := p.find(cursor)
	return ok
}

// place is where a subscriber is in a log.
type place struct {
	cursor uint64
	// sent is how many bytes of the event behind the cursor were sent, and torn which event that is.
	sent int
	torn mark
}

// rest returns what a subscriber at a place has not been sent of a page; ok is false where that does not fit together.
func (p *page) rest(at place) (data []byte, ok bool) {
	i, offset, ok := p.find(at.cursor)
	if !ok {
		return nil, false
	}
	if at.sent > 0 && i < len(p.marks) && (p.marks[i].id != at.torn.id || p.marks[i].gap != at.torn.gap) {
		return nil, false
	}
	return p.data[min(offset+at.sent, len(p.data)):], true
}

// advance returns the place after n more bytes of the page, and how many records were completed.
func (p *page) advance(at place, n int) (place, int) {
	i, offset, _ := p.find(at.cursor)
	to := offset + at.sent + n
	// k is the first event that ends behind what was sent.
	k, whole := slices.BinarySearchFunc(p.marks[i:], to, func(m mark, end int) int { return cmp.Compare(m.end, end) })
	k += i
	if whole {
		k++
	}
	next := place{cursor: at.cursor}
	if k > i {
		next.cursor, offset = p.marks[k-1].id, p.marks[k-1].end
	}
	if to > offset {
		next.sent, next.torn = to-offset, p.marks[k]
	}
	return next, p.lines(k) - p.lines(i)
}
