package counters

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"stella/internal/cgroup"
	"stella/internal/oom"
	"stella/internal/oom/tree"
	"stella/internal/testkit"
)

// groups makes so many real cgroups and a Counters that knows them.
func groups(tb testing.TB, n int) *Counters {
	tb.Helper()
	testkit.Need(tb, testkit.MemoryCgroup)
	support, err := cgroup.Probe()
	if err != nil {
		tb.Fatal(err)
	}
	whole, err := tree.Find("/proc", "/sys/fs/cgroup")
	if err != nil {
		tb.Fatal(err)
	}
	c, err := New(Options{Hierarchy: whole})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.close(nil) })
	for i := range n {
		dir := filepath.Join(support.Parent, fmt.Sprintf("stella-cost-%d-%d", os.Getpid(), i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				tb.Error(err)
			}
		})
		rel, err := filepath.Rel(whole.Mount, dir)
		if err != nil {
			tb.Fatal(err)
		}
		cg, err := whole.Lookup(filepath.Join(whole.Root, rel))
		if err != nil {
			tb.Fatal(err)
		}
		c.Add(cg)
	}
	c.emitAll(func(oom.Rise) {})
	return c
}

// turn does what watch does each half second; with a round if it is owed.
func (c *Counters) turn(now time.Time, rounds int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tick(now)
	c.round.owed = rounds
	for c.goRound(now) {
	}
	c.lookClosely(now, now)
	c.answer(now)
}

func TestPollingAllocatesNothing(t *testing.T) {
	c := groups(t, 50)
	now := time.Now()
	c.turn(now, 1)
	c.emitAll(func(oom.Rise) {})
	if n := testing.AllocsPerRun(20, func() { c.turn(now, 1) }); n >= 1 { // a kill of others would be told
		t.Errorf("a tick with a round allocates %v times", n)
	}
}

// What half a second costs with 500 cgroups: on a quiet machine, and when kills happen all the time.
func BenchmarkTick(b *testing.B) {
	c := groups(b, 500)
	for name, rounds := range map[string]int{"quiet": 0, "storm": 1} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			now := time.Now()
			for b.Loop() {
				c.turn(now, rounds)
			}
		})
	}
}
