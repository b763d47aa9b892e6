package outlog

import (
	"math"
	"time"

	"stella/internal/rdev"
)

// add puts a record into the batch. The caller holds w.mu.
func (w *writer) add(name rdev.Stream, end string, data []byte) {
	if !w.takes(recordHeader + len(data)) {
		w.flush()
		w.begin()
	}
	w.total.last++
	w.batch = appendRecord(w.batch, w.total.last, name, w.now-w.head.time, end, data)
	w.count++
	w.total.bytes += int64(len(data) + len(end))
	w.total.open = end != "\n"
	if end == "\n" {
		w.total.lines++
	}
	if len(w.batch) >= batchBytes {
		w.flush()
	}
}

// takes says whether the block has room for a record of size bytes.
func (w *writer) takes(size int) bool {
	y, lines := w.log.layout, w.total.lines
	if w.head.number < y.Head {
		if lines >= y.HeadLines {
			return false
		}
	} else if lines-w.head.lines >= y.stepLines() {
		return false
	}
	return w.begun && w.used+int64(len(w.batch)+size) <= blockSize && w.now-w.head.time <= math.MaxUint32
}

// begin begins a block: the next of the head, or of the ring.
func (w *writer) begin() {
	y, number := w.log.layout, w.head.number
	switch {
	case w.head.first == 0 || w.fresh:
		// The first, or one that could not be written.
	case number+1 < y.Head && w.total.lines < y.HeadLines:
		number++
	case number < y.Head:
		number = y.Head
	default:
		number++
	}
	if number == y.Head {
		w.total.headLast = w.total.last
	}
	t := &w.total
	w.head = header{number: number, first: t.last + 1, lines: t.lines, bytes: t.bytes, lost: t.lost, headLast: t.headLast, time: w.now}
	w.batch = w.head.append(w.batch[:0])
	w.begun, w.fresh, w.used = true, true, 0
}

// flush writes the batch to the file. What cannot be written is lost, and what comes next begins a block,
// whose header says the number that it goes on with.
func (w *writer) flush() {
	if w.count == 0 {
		return
	}
	if w.fresh {
		w.log.giveUp(w.head)
	}
	at, n := w.log.at(w.head.number)+w.used, len(w.batch)
	_, err := w.file.WriteAt(w.batch, at)
	if err != nil {
		var lost int64
		n, lost = w.whole(w.written(at))
		w.total.lost += lost
		w.log.store.stats.lost.Add(lost)
		w.begun = false
	}
	if n > 0 {
		w.fresh = false
		w.used += int64(n)
	}
	w.batch, w.count, w.waiting = w.batch[:0], 0, true
	w.log.publish(w, n > 0, err)
}

// written is how much of the batch is in the file, where writing it failed. os.File.WriteAt does not
// say so when the disk becomes full.
func (w *writer) written(at int64) int {
	buf := w.log.store.buffers.Get().(*[]byte)
	defer w.log.store.buffers.Put(buf)
	n, _ := w.file.ReadAt((*buf)[:min(len(*buf), len(w.batch))], at)
	for i, b := range (*buf)[:n] {
		if b != w.batch[i] {
			return i
		}
	}
	return n
}

// whole is how many of the first n bytes of the batch are whole records, with the header of the block if that is
// among them, and how many records are not.
func (w *writer) whole(n int) (size int, rest int64) {
	at, rest := 0, w.count
	if w.fresh {
		at = blockHeader
	}
	for at+recordHeader <= n && at+recordSize(w.batch[at:]) <= n {
		at += recordSize(w.batch[at:])
		size, rest = at, rest-1
	}
	return size, rest
}

// giveUp takes away the blocks of the ring that have to go for the one that begins now.
func (l *Log) giveUp(h header) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.number < l.Head {
		return
	}
	k := &l.kept
	whole := k.oldest <= l.Head
	k.oldest = max(k.oldest, l.Head)
	if h.number >= l.Head+l.Ring {
		k.oldest = max(k.oldest, h.number-l.Ring+1)
	}
	for k.ring(l.layout) && k.oldest < k.newest && h.lines+l.stepLines()-l.block(k.oldest).lines > l.RingLines {
		k.oldest++
	}
	if whole && k.oldest > l.Head {
		l.store.stats.truncated.Add(1)
	}
}

// publish shows readers what is in the file, without waking them.
func (l *Log) publish(w *writer, more bool, err error) {
	l.mu.Lock()
	k := &l.kept
	k.totals = w.total
	if more {
		slot := l.slot(w.head.number)
		if k.blocks == nil {
			k.blocks = make([]block, l.Head+l.Ring)
		}
		k.blocks[slot] = block{first: w.head.first, lines: w.head.lines, time: w.head.time}
		k.newest, k.used = w.head.number, w.used
		if w.head.number < l.Head {
			k.heads = w.head.number + 1
		}
	}
	before := l.failure
	l.failure = ""
	if err != nil {
		l.failure = err.Error()
	}
	l.mu.Unlock()
	switch log := l.store.log; {
	case err != nil && before == "":
		log.Error("cannot write the command's output: it is lost, the command goes on", "command", l.id, "error", err)
	case err == nil && before != "":
		log.Info("the command's output can be written again", "command", l.id, "lost_records", w.total.lost)
	}
}

// settle writes and announces what is there, if that was not done within the last [Batch], and sets the timer for
// what is to be done later. The caller holds w.mu.
func (w *writer) settle(now time.Time) {
	if (w.waiting || w.count > 0) && !now.Before(w.next) {
		w.flush()
		w.log.mu.Lock()
		w.log.announce()
		w.log.mu.Unlock()
		w.waiting, w.next = false, now.Add(Batch)
	}
	var due time.Time
	if w.waiting || w.count > 0 {
		due = w.next
	}
	for i := range w.lines {
		if since := w.lines[i].since; !since.IsZero() && (due.IsZero() || since.Add(PartialWait).Before(due)) {
			due = since.Add(PartialWait)
		}
	}
	if !due.IsZero() && (w.armed.IsZero() || due.Before(w.armed)) {
		w.armed = due
		w.timer.Reset(due.Sub(now))
	}
}

// tick does what was left for later.
func (w *writer) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = time.Time{}
	if w.done {
		return
	}
	now := time.Now()
	w.now = max(w.now, now.UnixMilli())
	for i, name := range streams {
		l := &w.lines[i]
		if l.since.IsZero() || now.Before(l.since.Add(PartialWait)) {
			continue
		}
		if l.cut(w.piece(name, l.data)); len(l.data) > 0 {
			l.since = now
		}
	}
	w.settle(now)
}

// streams are in the order of writer.lines.
var streams = [2]rdev.Stream{rdev.Stdout, rdev.Stderr}

// finish writes all that there is, and takes no more.
func (w *writer) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return
	}
	w.done = true
	w.timer.Stop()
	for i, name := range streams {
		for l := &w.lines[i]; len(l.data) > 0; {
			l.cut(w.piece(name, l.data))
		}
	}
	w.flush()
	w.batch, w.lines = nil, [2]line{}
	w.log.store.files.release(w.file)
}
