package files

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"stella/internal/incident"
)

// maxFollowed bounds the events that are at hand for those who follow, at some KiB each.
const maxFollowed = 64

// events are what was appended last, for those who follow.
type events struct {
	tag  string // of this run: their numbers begin again with the next one
	last uint64
	ring []incident.Event // the oldest first, without data
	more chan struct{}    // closed when there is more; nil where nobody waits
}

func (v *events) add(e incident.Event) {
	e.Data = nil
	if len(v.ring) == maxFollowed {
		v.ring = slices.Delete(v.ring, 0, 1)
	}
	v.ring = append(v.ring, e)
	v.last++
	if v.more != nil {
		close(v.more)
		v.more = nil
	}
}

// wait returns what is closed when there is more.
func (v *events) wait() <-chan struct{} {
	if v.more == nil {
		v.more = make(chan struct{})
	}
	return v.more
}

// after is the first event at hand behind a number, and its number; not ok if there is none yet.
func (v *events) after(n uint64) (e incident.Event, number uint64, ok bool) {
	if n >= v.last {
		return e, n, false
	}
	number = max(n+1, v.last-uint64(len(v.ring))+1)
	return v.ring[len(v.ring)-1-int(v.last-number)], number, true
}

// Follow calls fn with each event as it is appended, without its data, until ctx ends or fn fails, and returns why. The cursor that comes with an event goes on behind it;
// the empty one is now, and one of an earlier run, or of long ago, begins with the oldest event at hand. Who appends waits for nobody.
func (s *Store) Follow(ctx context.Context, after string, fn func(cursor string, e incident.Event) error) error {
	at, err := s.cursor(after)
	if err != nil {
		return err
	}
	for {
		s.mu.Lock()
		e, number, ok := s.events.after(at)
		var more <-chan struct{}
		if !ok {
			more = s.events.wait()
		}
		s.mu.Unlock()
		if !ok {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-more:
				continue
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(s.events.tag+"-"+strconv.FormatUint(number, 10), e); err != nil {
			return err
		}
		at = number
	}
}

// cursor is the number of the event that a cursor stands for.
func (s *Store) cursor(text string) (uint64, error) {
	if err := CheckCursor(text); err != nil {
		return 0, fmt.Errorf("follow incidents: %w", err)
	}
	tag, digits, _ := strings.Cut(text, "-")
	n, _ := strconv.ParseUint(digits, 10, 64)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case text == "":
		return s.events.last, nil
	case tag != s.events.tag || n > s.events.last:
		return 0, nil
	}
	return n, nil
}

// CheckCursor finds out whether a text may be a cursor of a store, before [Store.Follow] is called with it.
func CheckCursor(text string) error {
	_, digits, ok := strings.Cut(text, "-")
	if _, err := strconv.ParseUint(digits, 10, 64); text != "" && (!ok || err != nil) {
		return fmt.Errorf("%.100q is no cursor of incidents", text)
	}
	return nil
}
