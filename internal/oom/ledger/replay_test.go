package ledger

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"stella/internal/oom"
)

// From any place on, a replay has each version once and in order, over segments and restarts; then come those that are followed.
func TestReplay(t *testing.T) {
	c := newClock()
	o := options(c)
	o.MaxBytes = 8 << 20 // so that there are segments, and none is dropped
	dir := t.TempDir()
	l := open(t, dir, o)
	if l.Newest() != l.store.tag+"-0" {
		t.Errorf("at first %q", l.Newest())
	}
	const kills = 1500
	var want []string // versions, in order
	var cursors []string
	note := func(cursor string, e oom.KillEvent) error {
		want, cursors = append(want, fmt.Sprint(e.Kill.ID, e.Updated)), append(cursors, cursor)
		return nil
	}
	for seq := uint64(1); seq <= kills; seq++ {
		l.Report(report(c, seq, "/pod/c"))
		c.pass(100 * time.Millisecond)
		if seq%50 == 0 {
			l.settle()
			at := ""
			if len(cursors) > 0 {
				at = cursors[len(cursors)-1]
			}
			if _, err := l.Replay(at, note); err != nil {
				t.Fatal(err)
			}
		}
		if seq == kills/2 {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = open(t, dir, o)
		}
	}
	if n := len(l.store.journal.Segments()); n < 3 || len(want) < 2*kills-100 {
		t.Fatalf("%d segments, %d versions: this test shows too little", n, len(want))
	}
	for _, i := range []int{0, 1, len(want) / 3, len(want) - maxEvents - 7, len(want) - 2} {
		var got []string
		end, err := l.Replay(cursors[i], func(_ string, e oom.KillEvent) error {
			got = append(got, fmt.Sprint(e.Kill.ID, e.Updated))
			return nil
		})
		if err != nil || end != l.Newest() || !slices.Equal(got, want[i+1:]) {
			t.Errorf("from %d: %d versions until %q, want %d: %v", i, len(got), end, len(want)-i-1, err)
		}
	}
	if end, err := l.Replay(l.Newest(), nil); err != nil || end != l.Newest() {
		t.Errorf("%q %v", end, err)
	}
	if _, err := l.Replay(cursors[3], func(string, oom.KillEvent) error { return errEnough }); !errors.Is(err, errEnough) {
		t.Errorf("%v", err)
	}
	if _, err := l.Replay("x", nil); err == nil {
		t.Error("a cursor that is none")
	}
	// After a loss of power some of the newest come again.
	n := 0
	if _, err := l.Replay("else-"+cursors[len(cursors)-1][tagLen+1:], func(string, oom.KillEvent) error { n++; return nil }); err != nil || n != min(len(want), unsynced) {
		t.Errorf("%d versions: %v", n, err)
	}
}
