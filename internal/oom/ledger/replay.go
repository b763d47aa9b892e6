package ledger

import (
	"encoding/json"
	"fmt"
	"slices"

	"stella/internal/feed"
	"stella/internal/journal"
	"stella/internal/oom"
)

// unsynced is more versions than a ledger writes between two syncs. After a loss of power so many of the newest may be gone, and others have their numbers.
const unsynced = 4096

// Newest is the cursor of the newest version; those behind it are still to come.
func (l *Ledger) Newest() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at(l.events.Last())
}

// at is the cursor of a version.
func (l *Ledger) at(number uint64) string { return feed.Cursor(l.store.tag, number) }

// Replay calls fn with each version of a kill behind a cursor, in order, as [Ledger.Follow] does, but with those that only the journal has, and not with those to come. It
// returns the cursor to follow from, and the error of fn. The empty cursor is before all; one of before a loss of power begins some earlier, so that some
// come again. A version that was dropped since is left out.
func (l *Ledger) Replay(after string, fn func(cursor string, e oom.KillEvent) error) (cursor string, err error) {
	tag, n, err := feed.ParseCursor(after)
	if err != nil {
		return "", fmt.Errorf("replay OOM kills: %w", err)
	}
	l.mu.Lock()
	last := l.events.Last()
	if n = min(n, last); tag != l.store.tag {
		n -= min(n, unsynced)
	}
	segments, pending, end := l.store.journal.Segments(), slices.Clone(l.store.pending), l.at(last)
	l.mu.Unlock()
	if n == last {
		return end, nil
	}
	tell := func(record []byte, _ int64) {
		if err == nil {
			err = l.tell(record, n, last, fn)
		}
	}
	for from := l.holding(n, segments); from < len(segments) && err == nil; from++ {
		if _, failed := l.store.journal.Scan(segments[from], tell); failed != nil {
			l.log.Error("a part of the ledger of OOM kills cannot be read", "segment", segments[from].Number, "why", failed)
		}
	}
	for i := range pending {
		tell(pending[i].record, 0)
	}
	return end, err
}

// holding is the index of the segment that has the first version behind a number.
func (l *Ledger) holding(n uint64, segments []journal.Segment) int {
	for i := len(segments) - 1; i > 0; i-- {
		text, err := l.store.journal.First(segments[i])
		var first record
		if err == nil && json.Unmarshal(text, &first) == nil && first.Checkpoint != nil && first.First <= n+1 {
			return i
		}
	}
	return 0
}

// tell calls fn with the versions of a record that are behind a number, up to the last.
func (l *Ledger) tell(text []byte, n, last uint64, fn func(string, oom.KillEvent) error) error {
	var r record
	if json.Unmarshal(text, &r) != nil || r.First+uint64(len(r.Kills)) <= n+1 {
		return nil
	}
	for i := range r.Kills {
		number := r.First + uint64(i)
		if number <= n || number > last {
			continue
		}
		e := &r.Kills[i]
		if err := fn(l.at(number), oom.KillEvent{Kill: e.Kill, Updated: !e.New}); err != nil {
			return err
		}
	}
	return nil
}
