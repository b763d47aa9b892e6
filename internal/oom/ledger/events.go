package ledger

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"stella/internal/oom"
	"stella/internal/oom/ledger/join"
)

// maxEvents bounds the versions that are at hand for those who follow, at up to 5 KiB each with tasks: a second of
// a storm. A reader that is later than that is told how many it missed.
const maxEvents = 256

// events are the newest versions of kills.
type events struct {
	ring []oom.KillEvent // the oldest first
	last uint64          // number of the newest; versions are counted from 1
	more chan struct{}   // closed when there is more
}

// next is the number of the next version.
func (v *events) next() uint64 { return v.last + 1 }

// seek says which version was the last; those at hand are of use only if they end there.
func (v *events) seek(last uint64) {
	if last != v.last {
		v.ring, v.last = nil, last
	}
}

// add adds a version, and wakes those who follow.
func (v *events) add(e *join.Entry) {
	if len(v.ring) == maxEvents {
		v.ring[0] = oom.KillEvent{}
		v.ring = v.ring[1:]
	}
	v.ring = append(v.ring, oom.KillEvent{Kill: e.Kill, Updated: !e.New})
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

// after is the first version behind a number, and its number; not ok if there is none yet.
func (v *events) after(n uint64) (e oom.KillEvent, number uint64, ok bool) {
	if n >= v.last {
		return e, n, false
	}
	oldest := v.last - uint64(len(v.ring)) + 1
	number = max(n+1, oldest)
	if number > v.last {
		return e, n, false
	}
	e = v.ring[number-oldest]
	e.Missed = int64(number - n - 1)
	return e, number, true
}

// Follow calls fn with each version of a kill behind a cursor, in order, until ctx ends or fn fails, and returns
// why. The empty cursor is now. The cursor that comes with a version goes on behind it, also
// after a restart; one that is not known here begins with the oldest version at hand, so that some may
// come again. A reader that is too slow is told how many it missed, and goes on with what is at hand.
func (l *Ledger) Follow(ctx context.Context, after string, fn func(cursor string, e oom.KillEvent) error) error {
	l.mu.Lock()
	at, err := l.cursor(after)
	l.mu.Unlock()
	if err != nil {
		return err
	}
	for {
		l.mu.Lock()
		e, number, ok := l.events.after(at)
		tag := l.store.tag
		var more <-chan struct{}
		if !ok {
			more = l.events.wait()
		}
		l.mu.Unlock()
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
		if err := fn(tag+"-"+strconv.FormatUint(number, 10), e); err != nil {
			return err
		}
		at = number
	}
}

// cursor is the number of the version that a cursor stands for.
func (l *Ledger) cursor(text string) (uint64, error) {
	tag, n, err := parseCursor(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("follow OOM kills: %w", err)
	case text == "":
		return l.events.last, nil
	case tag != l.store.tag || n > l.events.last:
		return l.events.last - uint64(len(l.events.ring)), nil
	}
	return n, nil
}

// CheckCursor finds out whether a text may be a cursor, of any ledger, before [Ledger.Follow] is called with it.
func CheckCursor(text string) error {
	_, _, err := parseCursor(text)
	return err
}

func parseCursor(text string) (tag string, n uint64, err error) {
	if text == "" {
		return "", 0, nil
	}
	tag, digits, ok := strings.Cut(text, "-")
	if n, err = strconv.ParseUint(digits, 10, 64); !ok || err != nil {
		return "", 0, fmt.Errorf("%.100q is no cursor of a ledger", text)
	}
	return tag, n, nil
}
