package outlog

import (
	"fmt"
	"io"
	"sort"
)

// place is where a record is, or would be, in the file.
type place struct {
	seq    uint64 // of the record; 0 is no place
	block  uint64
	offset int64 // in the block
}

// resumes is how many places are remembered where a reader stopped, which is where it will go on: 6 KiB for
// a log that is being read. A cursor that is not among them is looked for in its block.
const resumes = 256

// Read tells fn the records behind the cursor after, in order, until fn returns false, or buf or the block is at
// its end: that Position.Next is less than Position.Last says that there is more. buf is of at least [MinBuffer] bytes.
// A cursor that is behind the last record is [ErrBeyond]; fs.ErrNotExist says that the log was removed.
//
// A record's data is valid only in fn, which may take its time: no lock is held.
func (l *Log) Read(after uint64, buf []byte, fn func(Record) bool) (Position, error) {
	if len(buf) < MinBuffer {
		return Position{}, fmt.Errorf("read the log of %s: a buffer of %d bytes; it must have %d", l.id, len(buf), MinBuffer)
	}
	for cursor := after; ; {
		p, found, err := l.find(cursor)
		if err != nil {
			return Position{}, fmt.Errorf("read the log of %s behind record %d: %w", l.id, after, err)
		}
		if !found {
			return l.position(p.seq-1, p.seq-1-after), nil
		}
		first, err := l.tell(&p, cursor+1, buf, fn)
		if err != nil {
			return Position{}, fmt.Errorf("read the log of %s: %w", l.id, err)
		}
		if first != 0 {
			l.remember(p)
			return l.position(p.seq-1, first-1-after), nil
		}
		cursor = l.behind(p.block, cursor)
	}
}

// position is where a reader is who was told all up to next, or that it is not there.
func (l *Log) position(next, gap uint64) Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	pos := Position{Next: next, Gap: gap, Last: l.kept.last}
	if next == l.kept.last {
		pos.End = l.end
	}
	return pos
}

// find says where to look for the record behind a cursor, or for the first that is kept behind it. Not found
// says that nothing is kept behind it; then p is behind the last record.
func (l *Log) find(cursor uint64) (p place, found bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := &l.kept
	switch {
	case cursor > k.last:
		return place{}, false, fmt.Errorf("%w: the last is %d", ErrBeyond, k.last)
	case cursor == k.last || k.blocks == nil:
		return place{seq: k.last + 1}, false, nil
	}
	want := cursor + 1
	if l.resume != nil {
		p := l.resume[want%resumes]
		// Where a block was at its end, the record is in the next one.
		if next, ok := l.next(p.block); p.seq == want && l.has(p.block) && !(ok && l.block(next).first <= want) {
			return p, true, nil
		}
	}
	number := l.search(k.ring(l.layout) && (want > k.headLast || k.heads == 0), func(b *block) bool { return b.first <= want })
	return place{seq: l.block(number).first, block: number, offset: blockHeader}, true, nil
}

// search is the last block of the ring, or of the head, that is before what is looked for, or the first one if none
// is. The caller holds mu.
func (l *Log) search(ring bool, before func(*block) bool) uint64 {
	from, n := uint64(0), l.kept.heads
	if ring {
		from, n = l.kept.oldest, l.kept.newest-l.kept.oldest+1
	}
	i := sort.Search(int(n), func(i int) bool { return !before(l.block(from + uint64(i))) })
	return from + uint64(max(i-1, 0))
}

// tell reads from p on, to the end of buf or of the block, and tells fn the records from want on. It returns the number of
// the first that was told, 0 for none, and moves p behind the last that was seen.
func (l *Log) tell(p *place, want uint64, buf []byte, fn func(Record) bool) (first uint64, err error) {
	for {
		from := p.offset
		b, base, err := l.load(p, buf)
		if err != nil {
			return 0, err
		}
		for len(b) >= recordHeader {
			size := recordSize(b)
			if size == 0 || size > len(b) {
				break
			}
			var r Record
			if p.seq >= want {
				var whole bool
				if r, whole = parseRecord(b[:size], p.seq, base); !whole {
					break
				}
			}
			p.seq, p.offset, b = p.seq+1, p.offset+int64(size), b[size:]
			if r.Seq == 0 {
				continue
			}
			if first == 0 {
				first = r.Seq
			}
			if !fn(r) {
				break
			}
		}
		if first != 0 || p.offset == from {
			return first, nil
		}
	}
}

// load reads what is at p into buf, and returns it with the block's time; nothing, where the block has no more or is
// not kept any more. A block can be overwritten while it is read: then what is in buf does not have the checksums
// of the records that are looked for.
func (l *Log) load(p *place, buf []byte) ([]byte, int64, error) {
	l.mu.Lock()
	end, base := int64(0), int64(0)
	if l.has(p.block) {
		end, base = blockSize, l.block(p.block).time
		if p.block == l.kept.newest {
			end = l.kept.used
		}
	}
	l.mu.Unlock()
	if p.offset >= end {
		return nil, 0, nil
	}
	f, err := l.store.files.open(l.id)
	if err != nil {
		return nil, 0, err
	}
	defer l.store.files.release(f)
	n, err := f.ReadAt(buf[:min(int64(len(buf)), end-p.offset)], l.at(p.block)+p.offset)
	if err == io.EOF {
		err = nil // the last block of the file
	}
	return buf[:n], base, err
}

// remember keeps a place for the reader that comes back to it.
func (l *Log) remember(p place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.resume == nil {
		l.resume = make([]place, resumes)
	}
	l.resume[p.seq%resumes] = p
}

// next is the block that is read after the given one, if there is one. The caller holds mu.
func (l *Log) next(number uint64) (uint64, bool) {
	next := number + 1
	if next >= l.kept.heads {
		next = max(next, l.kept.oldest)
	}
	return next, l.has(next)
}

// behind is the cursor to go on from where a block has nothing more behind the given one.
func (l *Log) behind(number, cursor uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if next, ok := l.next(number); ok {
		return max(cursor, l.block(next).first-1)
	}
	return l.kept.last
}

// Tail is the cursor behind which are the last lines lines, or as many as the tail has; a line that is
// not finished is one of them.
func (l *Log) Tail(lines int64) (after uint64, err error) {
	if lines <= 0 {
		return l.lastSeq(), nil
	}
	p, line, end := l.findLine(lines)
	if line < end {
		buf := l.store.buffers.Get().(*[]byte)
		defer l.store.buffers.Put(buf)
		_, err = l.tell(&p, p.seq, *buf, func(r Record) bool {
			if r.End == "\n" {
				line++
			}
			return line < end
		})
	}
	if err != nil {
		return 0, fmt.Errorf("look for the last %d lines of the log of %s: %w", lines, l.id, err)
	}
	return p.seq - 1, nil
}

func (l *Log) lastSeq() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept.last
}

// findLine is the block in which the line ends that is before the last lines lines, how many lines end before that block,
// and the number of that line: 0 where all from the place on is wanted.
func (l *Log) findLine(lines int64) (p place, line, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := &l.kept
	end = k.lines - lines
	if k.open {
		end++
	}
	start := place{seq: 1}
	ring := k.ring(l.layout)
	if ring {
		if oldest := l.block(k.oldest); oldest.first-1 > k.headLast || k.heads == 0 {
			start.seq = oldest.first
			if end <= oldest.lines {
				return start, 0, 0
			}
		} else if end <= oldest.lines {
			ring = false
		}
	}
	if end <= 0 || len(k.blocks) == 0 {
		return start, 0, 0
	}
	number := l.search(ring, func(b *block) bool { return b.lines < end })
	b := l.block(number)
	return place{seq: b.first, block: number, offset: blockHeader}, b.lines, end
}
