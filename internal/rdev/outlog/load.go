package outlog

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"stella/internal/rdev"
)

// version is of the file's form.
const version = 1

// load opens a log that is not written by this process.
func (s *Store) load(id string) (*Log, error) {
	f, err := s.files.open(id)
	if err != nil {
		return nil, err
	}
	defer s.files.release(f)
	var m meta
	if err := readPage(f, 0, endAt, &m); err != nil {
		return nil, fmt.Errorf("the file's first page: %w", err)
	}
	if m.Version != version || !m.valid() {
		return nil, fmt.Errorf("the file has the form %d, this program knows %d", m.Version, version)
	}
	l := &Log{id: id, store: s, layout: m.layout}
	newest, err := l.loadBlocks(f)
	if err != nil {
		return nil, err
	}
	ended, err := l.loadEnd(f)
	if err == nil && !ended && newest.first != 0 {
		err = l.recover(newest)
	}
	l.announced = l.kept.last
	return l, err
}

// loadEnd also says whether there is an end.
func (l *Log) loadEnd(f io.ReaderAt) (bool, error) {
	var p endPage
	switch err := readPage(f, endAt, endSize, &p); {
	case errors.Is(err, errNoPage):
		return false, nil
	case err != nil:
		return false, err
	}
	k := &l.kept
	l.end, l.ended = &p.End, p.Time
	k.last, k.lines, k.bytes, k.lost, k.open = p.Last, p.Lines, p.Bytes, p.Lost, p.Open
	k.oldest, k.used = p.Oldest, p.Used
	return true, nil
}

// loadBlocks reads the headers of all blocks, and returns the newest one.
func (l *Log) loadBlocks(f io.ReaderAt) (header, error) {
	var newest header
	k := &l.kept
	page := make([]byte, blockHeader)
	k.blocks = make([]block, l.Head+l.Ring)
	numbers := make([]uint64, l.Head+l.Ring) // of the blocks, and one more; 0 is none
	for slot := uint64(0); slot < l.Head+l.Ring; slot++ {
		n, err := f.ReadAt(page, blocksAt+int64(slot)*blockSize)
		if err != nil && err != io.EOF {
			return header{}, err
		}
		if n == 0 {
			break // the file ends before it
		}
		h, ok := parseHeader(page[:n])
		if !ok || l.slot(h.number) != slot {
			continue
		}
		k.blocks[slot] = block{first: h.first, lines: h.lines, time: h.time}
		numbers[slot] = h.number + 1
		if h.number < l.Head {
			k.heads = h.number + 1
		}
		if newest.first == 0 || h.number > newest.number {
			newest = h
		}
	}
	if newest.first == 0 {
		k.blocks = nil
		return newest, nil
	}
	k.newest = newest.number
	k.headLast = newest.headLast
	if newest.number >= l.Head {
		k.oldest = l.Head
		if newest.number >= l.Head+l.Ring {
			k.oldest = newest.number - l.Ring + 1
		}
	}
	l.mend(numbers)
	return newest, nil
}

// mend lets blocks that are damaged, after a power cut, or were about to be overwritten, begin where the next one
// does, so that they are passed over.
func (l *Log) mend(numbers []uint64) {
	k := &l.kept
	pass := func(from, end uint64) {
		for n := end; n > from; n-- {
			if numbers[l.slot(n-1)] != n {
				*l.block(n - 1) = *l.block(n)
			}
		}
	}
	if k.heads > 0 {
		pass(0, k.heads-1)
	}
	if k.ring(l.layout) {
		pass(k.oldest, k.newest)
	}
}

// recover finds the last whole record of a log that has no end.
func (l *Log) recover(newest header) error {
	l.giveUp(newest) // what the limit of lines took, which only the end says
	k := &l.kept
	k.used = blockSize
	k.lines, k.bytes, k.lost = newest.lines, newest.bytes, newest.lost
	buf := l.store.buffers.Get().(*[]byte)
	defer l.store.buffers.Put(buf)
	p := place{seq: newest.first, block: newest.number, offset: blockHeader}
	_, err := l.tell(&p, newest.first, *buf, func(r Record) bool {
		k.bytes += int64(len(r.Data) + len(r.End))
		if k.open = r.End != "\n"; !k.open {
			k.lines++
		}
		return true
	})
	k.last, k.used = p.seq-1, p.offset
	return err
}

// What is kept of the texts in an end, in bytes: each may take six times as much in its page.
const (
	maxDetail = 1 << 10
	maxName   = 32
)

// cutEnd is an end that fits its page.
func cutEnd(e rdev.End) rdev.End {
	e.Reason, e.Signal, e.Detail = cutText(e.Reason, maxName), cutText(e.Signal, maxName), cutText(e.Detail, maxDetail)
	if e.OOM != nil {
		oom := *e.OOM
		oom.VictimComm = cutText(oom.VictimComm, maxName)
		e.OOM = &oom
	}
	return e
}

func cutText[T ~string](text T, size int) T {
	s := strings.ToValidUTF8(string(text), "?")
	if len(s) <= size {
		return T(s)
	}
	n := size - len("…")
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return T(s[:n] + "…")
}
