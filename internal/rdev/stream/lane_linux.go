package stream

import (
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	// perLane is how many subscribers a lane has before another is opened, for at most half of the processors:
	// what writes the log, and all else, needs some too.
	perLane = 512
	// chunk is after how many visits a lane looks whether there is more by now.
	chunk = 64
	// aheadShare is the part of the pages which a feed keeps that a lane may begin during one walk: those who are last then still find theirs.
	aheadShare = 4
)

// lanes are a feed's, opened as they are needed.
type lanes struct {
	mu   sync.Mutex
	list []*lane
}

// lane is a goroutine that serves those who rest.
type lane struct {
	feed *feed
	kick chan struct{}
	mu   sync.Mutex
	new  []*direct // to be taken in

	// The goroutine's own:
	subs    []*direct
	attempt *attempt
	head    uint64 // up to which all who rest were sent everything
}

// join gives a subscriber to a lane, which serves it from its place on.
func (f *feed) join(d *direct) {
	f.lanes.mu.Lock()
	if n := len(f.lanes.list); n == 0 || 2*n < runtime.GOMAXPROCS(0) && f.hub.subscribers(f) > n*perLane {
		l := &lane{feed: f, kick: make(chan struct{}, 1), attempt: newAttempt(), head: d.place.cursor}
		f.lanes.list = append(f.lanes.list, l)
		f.hub.running.Go(l.run)
	}
	l := f.lanes.list[d.id%uint64(len(f.lanes.list))]
	f.lanes.mu.Unlock()
	l.mu.Lock()
	l.new = append(l.new, d)
	l.mu.Unlock()
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// run serves those who rest until the feed has no subscribers.
func (l *lane) run() {
	tick := time.NewTicker(look)
	defer tick.Stop()
	var woken time.Time
	for {
		known := len(l.subs)
		l.takeIn()
		head, full := l.feed.extend(true)
		if head != l.head {
			l.head, known = head, 0
		}
		l.walk(known)
		var wait <-chan time.Time
		select {
		case <-l.feed.more(l.head):
			if !full {
				wait = time.After(pace - time.Since(woken))
			}
		case <-l.kick:
		case <-tick.C:
			l.lookAtAll()
		case <-l.feed.done:
			return
		}
		if wait == nil {
			continue
		}
		select {
		case <-wait:
			woken = time.Now()
		case <-l.feed.done:
			return
		}
	}
}

func (l *lane) takeIn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subs = append(l.subs, l.new...)
	l.new = nil
}

// walk visits those who rest, from one on, and forgets who does not rest any more.
func (l *lane) walk(from int) {
	fresh := l.feed.hub.share() / aheadShare
	rest := l.subs[:from]
	for i, d := range l.subs[from:] {
		if i%chunk == chunk-1 {
			runtime.Gosched() // to what writes the log, and to other lanes
			before := l.feed.begun()
			l.feed.extend(fresh > 0) // those who come later get that too
			fresh -= l.feed.begun() - before
		}
		if l.visit(d) {
			rest = append(rest, d)
		}
	}
	l.keep(rest)
}

// keep makes rest, which is at the beginning of subs, all of it.
func (l *lane) keep(rest []*direct) {
	clear(l.subs[len(rest):])
	l.subs = rest
	if cap(rest) > 2*perLane && len(rest) < cap(rest)/4 {
		l.subs = slices.Clone(rest)
	}
}

// visit sends a subscriber what there is for it, and reports whether it still rests.
func (l *lane) visit(d *direct) bool {
	for !d.ended() {
		p, s := l.feed.page(d.place.cursor)
		switch s {
		case caughtUp:
			return true
		case finished:
			d.end(ReasonEnd)
			return false
		case behind:
			d.chase("")
			return false
		case broken:
			d.end(ReasonFailed)
			return false
		}
		data, ok := p.rest(d.place)
		if !ok {
			d.end(ReasonLagged)
			return false
		}
		n, err := l.attempt.write(d.raw, data)
		if err != nil {
			d.end(lost(err))
			return false
		}
		d.took(&p, n)
		if n < len(data) {
			d.hub.stats.lagged.Add(1)
			d.chase("")
			return false
		}
	}
	return false
}

// lookAtAll sends heartbeats, and ends whose time is over. Where there was nothing new for as long, memory is given back.
func (l *lane) lookAtAll() {
	now := time.Now()
	rest := l.subs[:0]
	for _, d := range l.subs {
		if l.lookAt(d, now) {
			rest = append(rest, d)
		}
	}
	l.keep(rest)
	l.feed.forget()
}

func (l *lane) lookAt(d *direct, now time.Time) bool {
	switch {
	case d.ended():
		return false
	case now.After(d.expires):
		d.end(ReasonAge)
		return false
	case now.Sub(d.wrote) < d.hub.o.Heartbeat-look:
		return true
	}
	n, err := l.attempt.write(d.raw, []byte(beat))
	switch {
	case err != nil:
		d.end(lost(err))
		return false
	case n < len(beat):
		d.chase(beat[n:])
		return false
	}
	d.wrote = now
	return true
}
