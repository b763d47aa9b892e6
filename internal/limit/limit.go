// Package limit bounds what callers can ask of a server: how often ([Rates]), and how much at
// the same time ([Slots]).
//
// A caller is a name. What is kept for callers is bounded in number, too, so that
// names which somebody makes up cost nothing: those that were not seen for longest are
// forgotten, and begin anew.
package limit

import (
	"container/list"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxCallers is how many callers are remembered: some hundred bytes each.
const maxCallers = 4096

// Recent remembers a bounded number of keys, those that were used last. It may be used by several goroutines.
type Recent[K comparable, V any] struct {
	most  int
	mu    sync.Mutex
	byKey map[K]*list.Element
	order *list.List // of entry, the one used last first
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

// NewRecent remembers so many keys.
func NewRecent[K comparable, V any](most int) *Recent[K, V] {
	return &Recent[K, V]{most: most, byKey: map[K]*list.Element{}, order: list.New()}
}

// Has reports whether key is remembered, and counts as a use of it.
func (r *Recent[K, V]) Has(key K) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.byKey[key]
	if ok {
		r.order.MoveToFront(e)
	}
	return ok
}

// Get returns the value of key, which is made where it is not remembered.
func (r *Recent[K, V]) Get(key K, create func() V) V {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.byKey[key]; ok {
		r.order.MoveToFront(e)
		return e.Value.(entry[K, V]).value
	}
	for r.order.Len() >= r.most {
		last := r.order.Back()
		delete(r.byKey, r.order.Remove(last).(entry[K, V]).key)
	}
	e := entry[K, V]{key, create()}
	r.byKey[key] = r.order.PushFront(e)
	return e.value
}

// Rates gives each caller a token bucket. It may be used by several goroutines.
type Rates struct {
	perSecond float64
	burst     int
	buckets   *Recent[string, *rate.Limiter]
}

// NewRates allows each caller so many a second on average, and burst at once.
func NewRates(perSecond float64, burst int) *Rates {
	return &Rates{perSecond, burst, NewRecent[string, *rate.Limiter](maxCallers)}
}

func (r *Rates) bucket(caller string) *rate.Limiter {
	return r.buckets.Get(caller, func() *rate.Limiter { return rate.NewLimiter(rate.Limit(r.perSecond), r.burst) })
}

// Take takes one of the caller's tokens, and reports false where there was none.
func (r *Rates) Take(caller string) bool { return r.bucket(caller).Allow() }

// Empty reports whether the caller has no token left, without taking one.
func (r *Rates) Empty(caller string) bool { return r.bucket(caller).TokensAt(time.Now()) < 1 }

// Slots bounds how many things are done at the same time, for all callers together
// and for each. It may be used by several goroutines.
type Slots struct {
	total, each int
	mu          sync.Mutex
	taken       int
	by          map[string]int // of callers that have at least one: no more than total
}

// NewSlots allows total, and each of them to one caller.
func NewSlots(total, each int) *Slots {
	return &Slots{total: total, each: each, by: map[string]int{}}
}

// Take takes a slot, and returns what gives it back; call that once. It reports
// false where none is free.
func (s *Slots) Take(caller string) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= s.total || s.by[caller] >= s.each {
		return nil, false
	}
	s.taken++
	s.by[caller]++
	return func() { s.release(caller) }, true
}

func (s *Slots) release(caller string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.by[caller]--; s.by[caller] == 0 {
		delete(s.by, caller)
	}
}
