package stream

import (
	"cmp"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Options of a hub. What is zero is a default.
type Options struct {
	// Total, PerKey and PerCommand are how many connections there may be: 16,384, 4,096, and 12,288.
	Total, PerKey, PerCommand int
	// MaxAge, Heartbeat and WriteTimeout are the constants of these names.
	MaxAge, Heartbeat, WriteTimeout time.Duration
	// Log is told of each connection. It must be set.
	Log *slog.Logger
}

// Hub has all subscribers of all logs. Its methods may be called at the same time.
type Hub struct {
	o     Options
	stats stats
	watch *watcher

	mu      sync.Mutex
	closed  bool
	serial  uint64
	total   int // connections, also those that are not open yet
	conns   map[uint64]ender
	keys    map[string]int
	feeds   map[string]*feed
	running sync.WaitGroup // goroutines of the hub's own
	served  sync.WaitGroup // connections
}

// ender is a connection that can be ended from outside.
type ender interface {
	// end ends the connection, unless it was; the first reason counts. It does not wait for that.
	end(Reason)
	subscriber() Subscriber
}

// New makes a hub, to be closed.
func New(o Options) (*Hub, error) {
	o.Total = cmp.Or(o.Total, 16384)
	o.PerKey = cmp.Or(o.PerKey, 4096)
	o.PerCommand = cmp.Or(o.PerCommand, 12288)
	o.MaxAge = cmp.Or(o.MaxAge, MaxAge)
	o.Heartbeat = cmp.Or(o.Heartbeat, Heartbeat)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, WriteTimeout)
	h := &Hub{o: o, conns: map[uint64]ender{}, keys: map[string]int{}, feeds: map[string]*feed{}}
	var err error
	if h.watch, err = newWatcher(); err != nil {
		return nil, fmt.Errorf("serve streams of events: %w", err)
	}
	h.running.Go(func() {
		if err := h.watch.run(h.left); err != nil {
			o.Log.Error("cannot watch connections any more: that clients leave is noticed only by writing", "err", err)
		}
	})
	return h, nil
}

// Close ends all connections, and waits until they are closed; there are none afterwards.
func (h *Hub) Close() error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.endWhere(func(Subscriber) bool { return true })
	h.served.Wait()
	err := h.watch.close()
	h.running.Wait()
	return err
}

// EndKey ends the connections of a key, which was revoked.
func (h *Hub) EndKey(key string) {
	h.endWhere(func(s Subscriber) bool { return s.Key == key })
}

func (h *Hub) endWhere(is func(Subscriber) bool) {
	h.mu.Lock()
	var found []ender
	for _, c := range h.conns {
		if is(c.subscriber()) {
			found = append(found, c)
		}
	}
	h.mu.Unlock()
	for _, c := range found {
		c.end(ReasonClosing)
	}
}

// subscribers is how many a feed has.
func (h *Hub) subscribers(f *feed) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return f.count
}

// share is how many pages a feed may keep.
func (h *Hub) share() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return min(maxPages, allPages/max(1, len(h.feeds)))
}

// left ends a connection whose client is gone.
func (h *Hub) left(id uint64) {
	h.mu.Lock()
	c := h.conns[id]
	h.mu.Unlock()
	if c != nil {
		c.end(ReasonLeft)
	}
}

// connection is what is kept of every subscriber, however it is served.
type connection struct {
	hub     *Hub
	feed    *feed
	id      uint64
	who     Subscriber
	opened  time.Time
	expires time.Time
	lines   atomic.Int64
	reason  atomic.Pointer[Reason]
}

func (c *connection) subscriber() Subscriber { return c.who }

// because notes why the connection ends, and reports whether it is the first to say so.
func (c *connection) because(r Reason) bool { return c.reason.CompareAndSwap(nil, &r) }

// ended reports whether somebody ended it.
func (c *connection) ended() bool { return c.reason.Load() != nil }

// admit counts a subscriber in, or says why not. head is where its log ends.
func (h *Hub) admit(who Subscriber, log Source, head uint64) (*connection, error) {
	now := time.Now()
	age := h.o.MaxAge - h.o.MaxAge/10 + rand.N(h.o.MaxAge/5+1)
	c := &connection{hub: h, who: who, opened: now, expires: now.Add(age)}
	if !who.Until.IsZero() && who.Until.Before(c.expires) {
		c.expires = who.Until
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.feeds[who.Command]
	switch {
	case h.closed:
		return nil, h.refuse(http.StatusServiceUnavailable, "the service is being stopped")
	case h.total >= h.o.Total:
		return nil, h.refuse(http.StatusServiceUnavailable, "the service has %d streams, which is all that it may have", h.total)
	case h.keys[who.Key] >= h.o.PerKey:
		return nil, h.refuse(http.StatusTooManyRequests, "this key has %d streams, which is all that it may have", h.keys[who.Key])
	case f != nil && f.count >= h.o.PerCommand:
		return nil, h.refuse(http.StatusServiceUnavailable, "the command has %d streams, which is all that it may have", f.count)
	}
	if f == nil {
		f = newFeed(h, log, head)
		h.feeds[who.Command] = f
	}
	f.count++
	h.total++
	h.keys[who.Key]++
	h.serial++
	c.id, c.feed = h.serial, f
	h.served.Add(1)
	return c, nil
}

// open makes a connection known, which can be ended from now on.
func (h *Hub) open(c *connection, e ender) {
	h.stats.opened.Add(1)
	h.o.Log.Info("SSE connection opened", "id", c.id, "key", c.who.Key, "command", c.who.Command)
	h.mu.Lock()
	h.conns[c.id] = e
	closed := h.closed
	h.mu.Unlock()
	if closed {
		e.end(ReasonClosing)
	}
}

// release counts a connection out, which was closed, or never opened.
func (h *Hub) release(c *connection) {
	defer h.served.Done()
	if r := c.reason.Load(); r != nil {
		h.stats.close(*r)
		h.o.Log.Info("SSE connection closed", "id", c.id, "key", c.who.Key, "command", c.who.Command,
			"reason", *r, "duration", time.Since(c.opened).Round(time.Millisecond), "lines", c.lines.Load())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c.id)
	h.total--
	if h.keys[c.who.Key]--; h.keys[c.who.Key] == 0 {
		delete(h.keys, c.who.Key)
	}
	if c.feed.count--; c.feed.count == 0 {
		delete(h.feeds, c.who.Command)
		close(c.feed.done)
	}
}
