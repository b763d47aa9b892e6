package files

import (
	"context"
	"fmt"

	"stella/internal/feed"
	"stella/internal/incident"
)

// maxFollowed bounds the events that are at hand for those who follow, at some KiB each.
const maxFollowed = 64

// Follow calls fn with each event as it is appended, without its data, until ctx ends or fn fails, and returns why. The cursor that comes with an event goes on behind it;
// the empty one is now, and one of an earlier run, or of long ago, begins with the oldest event at hand. Who appends waits for nobody.
func (s *Store) Follow(ctx context.Context, after string, fn func(cursor string, e incident.Event) error) error {
	s.mu.Lock()
	at, err := s.cursor(after)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.events.Follow(ctx, &s.mu, at, func(number, _ uint64, e incident.Event) error {
		return fn(feed.Cursor(s.tag, number), e)
	})
}

// cursor is the number of the event that a cursor stands for.
func (s *Store) cursor(text string) (uint64, error) {
	tag, n, err := feed.ParseCursor(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("follow incidents: %w", err)
	case text == "":
		return s.events.Last(), nil
	case tag != s.tag || n > s.events.Last():
		return s.events.Before(), nil
	}
	return n, nil
}
