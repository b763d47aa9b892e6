package outlog

import (
	"bytes"
	"io"
	"sync"
	"time"

	"stella/internal/rdev"
)

// batchBytes is how much is collected before it is written without waiting for [Batch]: with it, a
// command at full speed costs some thousand system calls for 100 MB, and a log that is written to at most 200 KiB of memory.
const batchBytes = 64 << 10

// writer writes one log.
type writer struct {
	log  *Log
	file *file

	mu    sync.Mutex // held also while the disk is waited for
	done  bool       // the log has ended
	lines [2]line    // what is not finished, of stdout and stderr
	now   int64      // milliseconds since 1970, never less than before

	// The block that is being filled.
	head  header
	begun bool   // it takes records
	fresh bool   // nothing of it is in the file yet
	used  int64  // bytes of it in the file
	batch []byte // what comes behind them
	count int64  // records in batch
	total totals // with the batch

	next    time.Time // before this, readers are not woken
	waiting bool      // something is in the batch or in the file that readers were not woken for
	timer   *time.Timer
	armed   time.Time // for when the timer is set; zero is not
}

// line is what was written of a line that is not finished.
type line struct {
	data  []byte
	since time.Time // of its first byte
}

// stream is the writer of one stream.
type stream struct {
	w    *writer
	name rdev.Stream
	line *line
}

// Writer takes what a command writes to one of its streams. It is for one goroutine; the writers of both streams can be used at once.
// Write fails with [ErrEnded] after the end, and never else: what cannot be written to the
// disk is lost, which [Log.State] says, and the command goes on.
func (l *Log) Writer(name rdev.Stream) io.Writer {
	s := &stream{w: l.w, name: name}
	if l.w == nil {
		return s // a log of an earlier process, which has had its writers
	}
	s.line = &l.w.lines[0]
	if name == rdev.Stderr {
		s.line = &l.w.lines[1]
	}
	return s
}

// Write implements io.Writer.
func (s *stream) Write(p []byte) (int, error) {
	w := s.w
	if w == nil {
		return 0, ErrEnded
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return 0, ErrEnded
	}
	now := time.Now()
	w.now = max(w.now, now.UnixMilli())
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			break
		}
		s.finish(p[:i])
		p = p[i+1:]
	}
	s.more(p)
	if len(s.line.data) > 0 && s.line.since.IsZero() {
		s.line.since = now
	}
	w.settle(now)
	return n, nil
}

// finish adds the line that ends with p.
func (s *stream) finish(p []byte) {
	if len(s.line.data) == 0 && len(p) <= MaxRecord {
		s.w.add(s.name, "\n", p)
		return
	}
	s.more(p)
	s.w.add(s.name, "\n", s.line.data)
	s.line.data, s.line.since = s.line.data[:0], time.Time{}
}

// more adds p to the line that is not finished, and cuts records off it while it is too long. Where it is cut does
// not depend on how p was cut.
func (s *stream) more(p []byte) {
	l := s.line
	for len(l.data)+len(p) > MaxRecord {
		if len(l.data) == 0 {
			p = p[s.w.piece(s.name, p[:MaxRecord]):]
			continue
		}
		n := MaxRecord - len(l.data)
		l.data, p = append(l.data, p[:n]...), p[n:]
		l.cut(s.w.piece(s.name, l.data))
	}
	l.data = append(l.data, p...)
}

// cut takes n bytes from the beginning of the line.
func (l *line) cut(n int) {
	l.data = l.data[:copy(l.data, l.data[n:])]
	l.since = time.Time{}
}

// piece adds a record of what is there of a line, up to its last carriage return if it has one, and returns how many bytes that were.
func (w *writer) piece(name rdev.Stream, data []byte) int {
	if i := bytes.LastIndexByte(data, '\r'); i >= 0 {
		w.add(name, "\r", data[:i])
		return i + 1
	}
	w.add(name, "", data)
	return len(data)
}
