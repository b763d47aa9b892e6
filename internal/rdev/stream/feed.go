package stream

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"stella/internal/rdev/outlog"
)

// scratch is what a page is made with: memory that grows with each page anew would be garbage of five times its size.
type scratch struct {
	buf []byte // at least outlog's longest record with its header
	page
}

var scratches = sync.Pool{New: func() any { return &scratch{buf: make([]byte, outlog.MinBuffer)} }}

// feed is one command's log with all its subscribers.
type feed struct {
	hub  *Hub
	log  Source
	done chan struct{} // closed when it has no more subscribers
	// count is how many it has, under the hub's mutex.
	count int
	lanes lanes
	// chasing is how many of them do not rest.
	chasing atomic.Int64

	mu     sync.Mutex
	head   uint64 // the cursor behind what was encoded of the newest records
	final  bool   // the end is among that
	grows  *page  // the page at whose end head is; nil where there was nothing new for a while
	pages  []*page
	err    error     // of the log; there is nothing more of it then
	begins int       // how many pages were begun at the head
	fed    time.Time // when something was last encoded there

	cold sync.Mutex // held while one of those who chase reads the log
}

func newFeed(h *Hub, log Source, head uint64) *feed {
	return &feed{hub: h, log: log, head: head, done: make(chan struct{})}
}

// extend encodes what is new in the log, if there is anything: at most to the end of a page, and
// none but the page that grows where not fresh. It returns where the log's head is now, and whether the page is full.
func (f *feed) extend(fresh bool) (head uint64, full bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.final || f.err != nil || !fresh && (f.grows == nil || f.grows.full()) {
		return f.head, false
	}
	select {
	case <-f.log.More(f.head):
	default:
		return f.head, false
	}
	if f.grows == nil || f.grows.full() {
		f.keep(f.grows)
		next := &page{after: f.head}
		if f.grows != nil { // the command prints fast, and will fill this one too
			next.data = make([]byte, 0, pageSize+pageSize/8)
			next.marks = make([]mark, 0, len(f.grows.marks)+len(f.grows.marks)/8)
		}
		f.grows = next
		f.begins++
	}
	if f.err = f.read(f.grows); f.err != nil {
		f.hub.o.Log.Error("cannot read the output of a command: its streams end", "err", f.err)
	}
	f.head, f.final = f.grows.last(), f.grows.final
	f.fed = time.Now()
	return f.head, f.grows.full()
}

// begun is how many pages extend began.
func (f *feed) begun() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.begins
}

// more is closed when there is more than up to a cursor; it is nil where nothing will be encoded any more.
func (f *feed) more(than uint64) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.head > than:
		return closed
	case f.final || f.err != nil:
		return nil
	}
	return f.log.More(than)
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// read fills a page.
func (f *feed) read(p *page) error {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	return p.fill(f.log, s.buf)
}

// piece reads the page behind a cursor, which nobody adds to.
func (f *feed) piece(cursor uint64) (*page, error) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.page = page{after: cursor, data: s.data[:0], marks: s.marks[:0]}
	err := s.fill(f.log, s.buf)
	return &page{after: cursor, data: bytes.Clone(s.data), marks: slices.Clone(s.marks), final: s.final}, err
}

// keep adds a page in the place of the oldest, of those that are more than the feed's share.
func (f *feed) keep(p *page) {
	if p == nil {
		return
	}
	f.pages = append(f.pages, p)
	if more := len(f.pages) - f.hub.share(); more > 0 {
		f.pages = slices.Delete(f.pages, 0, more)
	}
}

// forget drops the pages when there was nothing new for a while, and nobody is behind.
func (f *feed) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.fed) >= look && f.chasing.Load() == 0 {
		f.grows, f.pages = nil, nil
	}
}

// state is what a feed has for a cursor.
type state int

const (
	ready    state = iota // a page
	caughtUp              // nothing that was not sent
	finished              // nothing, and there will be nothing
	behind                // what only the log has
	broken                // nothing, as the log cannot be read
)

// page returns the page with what is behind a cursor, if it is in memory.
func (f *feed) page(cursor uint64) (page, state) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case cursor >= f.head && f.err != nil:
		return page{}, broken
	case cursor >= f.head && f.final:
		return page{}, finished
	case cursor >= f.head:
		return page{}, caughtUp
	case f.grows.has(cursor):
		return *f.grows, ready
	}
	for _, p := range slices.Backward(f.pages) {
		if p.has(cursor) {
			return *p, ready
		}
	}
	return page{}, behind
}

// fetch is page, and reads the log where it has to.
func (f *feed) fetch(cursor uint64) (page, state) {
	if p, s := f.page(cursor); s != behind {
		return p, s
	}
	f.cold.Lock()
	defer f.cold.Unlock()
	if p, s := f.page(cursor); s != behind {
		return p, s // somebody else has just read it
	}
	p, err := f.piece(cursor)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.err = err
		f.hub.o.Log.Error("cannot read the output of a command: its streams end", "err", err)
		return page{}, broken
	}
	f.keep(p)
	return *p, ready
}
