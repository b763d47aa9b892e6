package ledger

import (
	"context"
	"fmt"

	"stella/internal/feed"
	"stella/internal/oom"
)

// maxEvents bounds the versions that are at hand for those who follow, at up to 5 KiB each with tasks: a second of
// a storm. A reader that is later than that is told how many it missed.
const maxEvents = 256

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
	return l.events.Follow(ctx, &l.mu, at, func(number, missed uint64, e oom.KillEvent) error {
		e.Missed = int64(missed)
		return fn(l.at(number), e)
	})
}

// cursor is the number of the version that a cursor stands for.
func (l *Ledger) cursor(text string) (uint64, error) {
	tag, n, err := feed.ParseCursor(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("follow OOM kills: %w", err)
	case text == "":
		return l.events.Last(), nil
	case tag != l.store.tag || n > l.events.Last():
		return l.events.Before(), nil
	}
	return n, nil
}
