package ledger

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/oom"
)

// What is counted of each cgroup is what a read of all kills would count, also after a restart.
func TestCounts(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	l := open(t, dir, options(c))
	for i := range 30 {
		c.pass(settleEvery)
		l.Report(report(c, uint64(i+1), fmt.Sprintf("/pod/c%d", i%4)))
	}
	l.Notice(oom.Notice{Witness: oom.WitnessStatus, Time: c.t, Container: oom.Container{Pod: "p", Name: "n"}}) // of no cgroup
	settled(c, l)
	check := func(l *Ledger) {
		t.Helper()
		want := map[string]Count{}
		for _, k := range l.Kills(oom.Filter{}) {
			if k.Cgroup != "" {
				want[k.Cgroup] = Count{Kills: want[k.Cgroup].Kills + k.Count, Last: k.Time}
			}
		}
		if len(want) != 4 {
			t.Fatalf("kills in %d cgroups, want 4", len(want))
		}
		if diff := cmp.Diff(want, l.Counts()); diff != "" {
			t.Error(diff)
		}
	}
	check(l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	check(open(t, dir, options(c)))
}

// The counts cost no read of the journal, which Kills does.
func BenchmarkCounts(b *testing.B) {
	c := newClock()
	l := open(b, b.TempDir(), options(c))
	for i := range 20_000 {
		l.Report(report(c, uint64(i+1), fmt.Sprintf("/pod/c%d", i%500)))
		if c.pass(settleEvery); i%8 == 0 {
			l.settle()
		}
	}
	settled(c, l)
	b.Run("counts", func(b *testing.B) {
		for b.Loop() {
			l.Counts()
		}
	})
	b.Run("kills", func(b *testing.B) {
		for b.Loop() {
			l.Kills(oom.Filter{})
		}
	})
}
