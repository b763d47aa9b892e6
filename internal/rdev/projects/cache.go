package projects

import (
	"context"
	"errors"
	"sync"
	"time"
	"unsafe"

	"stella/internal/rdev"
)

// listing is what was found by one look.
type listing struct {
	projects []rdev.Project
	bytes    int64
	err      error
}

// errFull ends a look that found enough.
var errFull = errors.New("the listing is full")

// add takes a project, or says that there is no room.
func (l *listing) add(p rdev.Project) error {
	size := int64(unsafe.Sizeof(p)) + int64(len(p.Name)+len(p.Kind)+len(p.Directory)+len(p.Namespace)+len(p.PodName)+len(p.Container)+len(p.Reason))
	if len(l.projects) == MaxProjects || l.bytes+size > MaxBytes {
		return errFull
	}
	l.projects = append(l.projects, p)
	l.bytes += size
	return nil
}

// look is one that is under way. Its listing is there when done is closed.
type look struct {
	done    chan struct{}
	listing *listing
	cancel  context.CancelFunc
}

// finder finds projects, and gives each to add until that has an error, which it returns.
type finder func(ctx context.Context, add func(rdev.Project) error) error

// cache keeps a listing for a while. At most one look is under way.
type cache struct {
	ttl  time.Duration
	find finder

	mu             sync.Mutex
	kept           *listing
	forget         *time.Timer
	current        *look // nil while nobody looks
	closed         bool
	looks, answers int64
	running        sync.WaitGroup
}

// errClosed is what callers get after the end.
var errClosed = errors.New("projects are no longer looked for")

// get gives what is kept, or looks. What it gives is shared: it is not to be changed.
func (c *cache) get(ctx context.Context) ([]rdev.Project, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, errClosed
	}
	if l := c.kept; l != nil {
		c.answers++
		c.mu.Unlock()
		return l.projects, l.err
	}
	if c.current == nil {
		c.begin()
	}
	current := c.current
	c.mu.Unlock()
	select {
	case <-current.done:
		return current.listing.projects, current.listing.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// begin looks for whoever asks, so that one who goes away spoils it for nobody. mu is held.
func (c *cache) begin() {
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	current := &look{done: make(chan struct{}), listing: new(listing), cancel: cancel}
	c.current = current
	c.looks++
	c.running.Go(func() {
		defer cancel()
		current.listing.err = c.find(ctx, current.listing.add)
		c.keep(current)
	})
}

// keep keeps what a look found until its time is over.
func (c *cache) keep(done *look) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ttl := done.listing, c.ttl
	switch {
	case errors.Is(l.err, errFull):
		l.err = ErrTooMany
	case l.err != nil:
		ttl = min(ttl, failureTTL)
	}
	c.current = nil
	close(done.done)
	if c.closed {
		return
	}
	c.kept = l
	c.forget = time.AfterFunc(ttl, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.kept == l {
			c.kept = nil
		}
	})
}

// close ends a look that is under way, and forgets.
func (c *cache) close() {
	c.mu.Lock()
	c.closed, c.kept = true, nil
	if c.current != nil {
		c.current.cancel()
	}
	if c.forget != nil {
		c.forget.Stop()
	}
	c.mu.Unlock()
	c.running.Wait()
}
