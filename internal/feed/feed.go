// Package feed gives what is added to those who follow it, from a ring of the newest: whoever adds waits for nobody, and who is slow misses some.
//
// Words: what is added is counted from 1. A cursor is a tag, which tells one count from another, such as that of an earlier process, and a number: who has it goes on behind it.
package feed

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// Feed is a ring of the newest. Its methods but [Feed.Follow] are called with the lock held that Follow is given.
type Feed[T any] struct {
	size int
	ring []T // the oldest first
	last uint64
	more chan struct{} // closed when there is more; nil where nobody waits
}

// New makes a feed that has the newest size at hand.
func New[T any](size int) Feed[T] { return Feed[T]{size: size} }

// Last is the number of the newest, 0 for none.
func (f *Feed[T]) Last() uint64 { return f.last }

// Before is the number behind which the oldest at hand is.
func (f *Feed[T]) Before() uint64 { return f.last - uint64(len(f.ring)) }

// Seek says which number was the last; those at hand are of use only if they end there.
func (f *Feed[T]) Seek(last uint64) {
	if last != f.last {
		f.ring, f.last = nil, last
	}
}

// Add adds one, and wakes those who follow.
func (f *Feed[T]) Add(v T) {
	if len(f.ring) == f.size {
		var none T
		f.ring[0] = none
		f.ring = f.ring[1:] // append makes another one now and then, and copies seldom
	}
	f.ring = append(f.ring, v)
	f.last++
	if f.more != nil {
		close(f.more)
		f.more = nil
	}
}

// after is the first at hand behind a number, and its number. Where there is none yet, what is returned in its place is closed when there is.
func (f *Feed[T]) after(n uint64) (v T, number uint64, wait <-chan struct{}) {
	if n >= f.last || len(f.ring) == 0 {
		if f.more == nil {
			f.more = make(chan struct{})
		}
		return v, n, f.more
	}
	before := f.Before()
	number = max(n, before) + 1
	return f.ring[number-before-1], number, nil
}

// Follow calls fn with each that is added behind a number, in order, and with how many were missed before it, until ctx ends or fn fails, and returns why. It holds lock to
// look, and not while it calls fn.
func (f *Feed[T]) Follow(ctx context.Context, lock sync.Locker, at uint64, fn func(number, missed uint64, v T) error) error {
	for {
		lock.Lock()
		v, number, wait := f.after(at)
		lock.Unlock()
		if wait != nil {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-wait:
				continue
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(number, number-at-1, v); err != nil {
			return err
		}
		at = number
	}
}

// Cursor makes a cursor.
func Cursor(tag string, number uint64) string { return tag + "-" + strconv.FormatUint(number, 10) }

// CheckCursor finds out whether a text may be a cursor, before somebody follows from there.
func CheckCursor(text string) error {
	_, _, err := ParseCursor(text)
	return err
}

// ParseCursor reads a cursor; the empty one is no tag and 0.
func ParseCursor(text string) (tag string, number uint64, err error) {
	if text == "" {
		return "", 0, nil
	}
	tag, digits, ok := strings.Cut(text, "-")
	if number, err = strconv.ParseUint(digits, 10, 64); !ok || err != nil {
		return "", 0, fmt.Errorf("%.100q is no cursor", text)
	}
	return tag, number, nil
}
