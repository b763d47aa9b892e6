package ledger

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"stella/internal/feed"
	"stella/internal/oom"
)

var errEnough = errors.New("enough")

// follow reads events until one has that pid, and returns them and the last cursor.
func follow(t *testing.T, l *Ledger, after string, pid int) (events []oom.KillEvent, cursor string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := l.Follow(ctx, after, func(at string, e oom.KillEvent) error {
		events, cursor = append(events, e), at
		if e.Kill.Process.PID == pid && !e.Updated {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatalf("followed until %v, %d events", err, len(events))
	}
	return events, cursor
}

func TestFollowTellsOfKillsAndWhatBecomesKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(newClock())
		o.Now = nil // the bubble's
		l := open(t, t.TempDir(), o)
		ctx, cancel := context.WithCancel(t.Context())
		running := make(chan error)
		go func() { running <- l.Run(ctx) }()
		got := make(chan oom.KillEvent, 10)
		go func() {
			running <- l.Follow(ctx, "", func(_ string, e oom.KillEvent) error {
				got <- e
				return nil
			})
		}()
		synctest.Wait()
		c := &clock{time.Now()}
		l.Report(report(c, 1, "/pod/c"))
		if e := <-got; e.Updated || e.Kill.Process.PID != 1001 || len(e.Kill.Tasks) != 2 || e.Missed != 0 {
			t.Errorf("first %+v", e)
		}
		start := time.Now()
		if e := <-got; !e.Updated || e.Kill.Process.PID != 1001 || time.Since(start) > 3*time.Second {
			t.Errorf("then %+v after %s", e, time.Since(start))
		}
		cancel()
		for range 2 {
			if err := <-running; err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
}

// A reader that was away goes on where it was, also over a restart of the agent.
func TestFollowGoesOn(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	l := open(t, dir, options(c))
	l.Report(report(c, 1, "/pod/c"))
	_, cursor := follow(t, l, l.store.tag+"-0", 1001)
	for seq := uint64(2); seq <= 40; seq++ {
		l.Report(report(c, seq, "/pod/c"))
	}
	check := func(l *Ledger) {
		t.Helper()
		events, _ := follow(t, l, cursor, 1040)
		for i, e := range events {
			if e.Kill.Process.PID != 1002+i || e.Missed != 0 {
				t.Fatalf("event %d is %+v", i, e)
			}
		}
	}
	check(l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	check(open(t, dir, options(c)))
}

// A reader that is slow does not hold up the ledger: it is told how many events it missed, and gets the newest.
func TestSlowReader(t *testing.T) {
	c := newClock()
	l := open(t, t.TempDir(), options(c))
	const all = 5 * maxEvents
	l.Report(report(c, 1, "/pod/c"))
	_, cursor := follow(t, l, l.store.tag+"-0", 1001)
	for seq := uint64(2); seq <= all; seq++ {
		l.Report(report(c, seq, "/pod/c")) // nobody reads
	}
	events, _ := follow(t, l, cursor, 1000+all)
	if len(events) != maxEvents || events[0].Missed != all-1-maxEvents || events[0].Kill.Process.PID != 1000+all-maxEvents+1 {
		t.Fatalf("%d events, the first %+v", len(events), events[0])
	}
	for _, e := range events[1:] {
		if e.Missed != 0 {
			t.Errorf("a gap in the middle: %+v", e)
		}
	}
}

func TestCursors(t *testing.T) {
	c := newClock()
	l := open(t, t.TempDir(), options(c))
	for seq := uint64(1); seq <= 3; seq++ {
		l.Report(report(c, seq, "/pod/c"))
	}
	for _, bad := range []string{"x", "1-", "-", "abcd-x", "abcd--1"} {
		if feed.CheckCursor(bad) == nil {
			t.Errorf("%q may be a cursor", bad)
		}
		if err := l.Follow(t.Context(), bad, func(string, oom.KillEvent) error { return errEnough }); err == nil || errors.Is(err, errEnough) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	// Of another ledger, or of what was lost with the power: all that is at hand.
	for _, other := range []string{"zzzz-2", l.store.tag + "-99"} {
		if events, _ := follow(t, l, other, 1003); len(events) != 3 || events[0].Missed != 0 {
			t.Errorf("%q: %+v", other, events)
		}
	}
}
