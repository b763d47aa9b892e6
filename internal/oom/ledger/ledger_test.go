package ledger

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/oom"
)

// clock is a clock that a test sets.
type clock struct{ t time.Time }

func (c *clock) now() time.Time       { return c.t }
func (c *clock) pass(d time.Duration) { c.t = c.t.Add(d) }

func newClock() *clock { return &clock{time.Date(2026, 11, 21, 3, 33, 0, 0, time.UTC)} }

func options(c *clock) Options {
	return Options{
		Boot: "boot", Node: "n1", Log: slog.New(slog.DiscardHandler), Now: c.now, Scope: scope,
		Owner: func(cgroup string) oom.Container {
			return oom.Container{Name: cgroup[strings.LastIndexByte(cgroup, '/')+1:]}
		},
	}
}

// open opens a ledger and closes it at the end, unless the test did.
func open(t testing.TB, dir string, o Options) *Ledger {
	t.Helper()
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.store.journal.Close() })
	return l
}

// report is a line of the log with a header.
func report(c *clock, seq uint64, cgroup string) oom.Report {
	return oom.Report{
		Seq: seq, Time: c.t, Header: true, Cgroup: cgroup, Invoker: "hog",
		Process: oom.Process{PID: int(1000 + seq), Comm: "hog", Anon: 64 << 20},
		Limit:   oom.Limit{Scope: oom.ScopeCgroup, Cgroup: cgroup, Bytes: 64 << 20},
		Tasks:   []oom.Process{{PID: int(1000 + seq), Comm: "hog", Anon: 64 << 20}, {PID: 1, Comm: "main"}},
	}
}

// settled lets a ledger decide all.
func settled(c *clock, l *Ledger) {
	for range 40 {
		c.pass(settleEvery)
		l.settle()
	}
	l.sync()
}

func TestKillIsReadableAtOnce(t *testing.T) {
	c := newClock()
	o := options(c)
	o.Main = func(string) (int, bool, bool) { return 7, true, true }
	dir := t.TempDir()
	l := open(t, dir, o)
	l.Report(report(c, 9, "/pod/c"))
	all := l.Kills(oom.Filter{})
	if len(all) != 1 || all[0].Cgroup != "/pod/c" || all[0].Confidence != oom.Certain || all[0].Limit.Scope != oom.ScopeContainer ||
		all[0].Tasks != nil || all[0].Container.Node != "n1" || all[0].MainSurvived != nil {
		t.Fatalf("got %+v", all)
	}
	settled(c, l)
	k, ok := l.Kill(all[0].ID)
	if !ok || len(k.Tasks) != 2 || k.MainSurvived == nil || !*k.MainSurvived {
		t.Errorf("got %v, %+v", ok, k)
	}
	for _, id := range []string{"", "x", all[0].ID + "0", "0000" + all[0].ID[4:], "zz"} {
		if k, ok := l.Kill(id); ok {
			t.Errorf("%q is %+v", id, k)
		}
	}
	if l.After() != 9 {
		t.Errorf("the log is read up to %d", l.After())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, o)
	again, ok := l.Kill(all[0].ID)
	if diff := cmp.Diff(k, again); diff != "" || !ok || l.After() != 9 {
		t.Errorf("after a restart, read up to %d:\n%s", l.After(), diff)
	}
	l.Report(report(c, 9, "/pod/c")) // the ring has it still
	if n := len(l.Kills(oom.Filter{})); n != 1 {
		t.Errorf("%d kills after it was read again", n)
	}
}

func TestFilter(t *testing.T) {
	c := newClock()
	o := options(c)
	o.Owner = func(cgroup string) oom.Container {
		name := strings.TrimPrefix(cgroup, "/")
		return oom.Container{Name: name, Pod: "p-" + name, Namespace: "n-" + name, Workload: "Deployment/w-" + name}
	}
	l := open(t, t.TempDir(), o)
	for i := range 30 {
		l.Report(report(c, uint64(i+1), "/"+string(rune('a'+i%3))))
		c.pass(time.Second)
		l.settle()
	}
	start := newClock().t
	for _, test := range []struct {
		f    oom.Filter
		want int
	}{
		{oom.Filter{}, 30},
		{oom.Filter{Namespace: "n-a"}, 10},
		{oom.Filter{Pod: "p-b"}, 10},
		{oom.Filter{Pod: "p-b", Container: "b"}, 10},
		{oom.Filter{Pod: "p-b", Container: "a"}, 0},
		{oom.Filter{Workload: "w-c"}, 10},
		{oom.Filter{Workload: "deployment/w-c"}, 10},
		{oom.Filter{Workload: "StatefulSet/w-c"}, 0},
		{oom.Filter{Since: start.Add(25 * time.Second)}, 5},
		{oom.Filter{Limit: 4}, 4},
	} {
		got := l.Kills(test.f)
		if len(got) != test.want {
			t.Errorf("%+v: %d kills, want %d", test.f, len(got), test.want)
		}
		for i := 1; i < len(got); i++ {
			if got[i].Time.Before(got[i-1].Time) {
				t.Errorf("%+v: the oldest is not the first", test.f)
			}
		}
		if test.want > 0 && test.f.Limit > 0 && got[test.want-1].Process.PID != 1030 {
			t.Errorf("the limit left the newest out: %+v", got)
		}
	}
}

// More kills than may be kept: the oldest go, they are counted, and nothing of them comes back.
func TestDropsTheOldest(t *testing.T) {
	c := newClock()
	o := options(c)
	o.MaxBytes = MinBytes
	dir := t.TempDir()
	l := open(t, dir, o)
	const kills = 3000
	for i := range kills {
		l.Report(report(c, uint64(i+1), fmt.Sprintf("/pod%d/c", i%50)))
		c.pass(100 * time.Millisecond)
		if i%5 == 0 {
			l.settle()
		}
	}
	settled(c, l)
	check := func(l *Ledger) {
		t.Helper()
		s := l.Status()
		all := l.Kills(oom.Filter{})
		if s.Bytes > MinBytes || s.Dropped == 0 || s.Dropped+s.Kills != kills || int64(len(all)) != s.Kills || s.Kills < 200 {
			t.Fatalf("%+v, and %d kills", s, len(all))
		}
		for i, k := range all {
			if want := 1000 + kills - len(all) + i + 1; k.Process.PID != want {
				t.Fatalf("the kill %d of %d is pid %d, want %d", i, len(all), k.Process.PID, want)
			}
		}
		if _, ok := l.Kill(l.id(1)); ok {
			t.Error("a kill that was dropped is there")
		}
		if k, ok := l.Kill(all[0].ID); !ok || len(k.Tasks) != 2 {
			t.Errorf("the oldest kill: %v %+v", ok, k)
		}
		var counted int64
		l.Totals(func(_ oom.Container, _ string, n int64) { counted += n })
		if counted != kills || l.Scopes()[oom.ScopeContainer] != kills {
			t.Errorf("the totals have %d, the scopes %v", counted, l.Scopes())
		}
	}
	check(l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	check(open(t, dir, o))
}

// What is older than MaxAge is neither shown nor kept; a clock that is wrong for a moment drops nothing.
func TestDropsTheOld(t *testing.T) {
	c := newClock()
	o := options(c)
	o.MaxAge = 8 * time.Hour
	l := open(t, t.TempDir(), o)
	for i := range 48 {
		l.Report(report(c, uint64(i+1), "/pod/c"))
		settled(c, l)
		l.prune()
		c.pass(30 * time.Minute)
	}
	if s := l.Status(); s.Kills > 20 || s.Kills < 15 || s.Dropped+s.Kills != 48 {
		t.Errorf("%+v", s)
	}
	if n := len(l.Kills(oom.Filter{})); n < 14 || n > 16 {
		t.Errorf("%d kills of the last 8 hours", n)
	}
	before := l.Status().Kills
	c.pass(1000 * time.Hour)
	l.prune()
	c.pass(-1000 * time.Hour)
	l.prune()
	if s := l.Status(); s.Kills < before-3 {
		t.Errorf("a clock that jumped for a moment dropped kills: %+v", s)
	}
}

func TestOwnerThatBecomesKnown(t *testing.T) {
	c := newClock()
	l := open(t, t.TempDir(), options(c))
	for i := range 200 {
		l.Report(report(c, uint64(i+1), fmt.Sprintf("/pod/c%d", i%2)))
	}
	settled(c, l)
	c.pass(time.Hour)
	l.settle() // the joiner has forgotten them
	l.Report(report(c, 201, "/pod/c0"))
	l.Owned("/pod/c0", oom.Container{Name: "c0", Pod: "web-1", Workload: "Deployment/web"})
	settled(c, l)
	got := l.Kills(oom.Filter{Workload: "web"})
	if len(got) != 101 || got[0].Container.Node != "n1" {
		t.Errorf("%d kills of the workload", len(got))
	}
	if k, ok := l.Kill(got[0].ID); !ok || len(k.Tasks) != 2 || k.Container.Pod != "web-1" {
		t.Errorf("%v %+v", ok, k)
	}
	before := l.events.Last()
	l.Owned("/pod/c0", oom.Container{Name: "c0", Pod: "web-1", Workload: "Deployment/web"})
	settled(c, l)
	if l.events.Last() != before {
		t.Error("what was known before was written again")
	}
	l.Totals(func(c oom.Container, cgroup string, n int64) {
		if cgroup == "/pod/c0" && (c.Pod != "web-1" || n != 101) {
			t.Errorf("total of %+v is %d", c, n)
		}
	})
}

var manyKills = flag.Int("kills", 60_000, "how many kills TestMemoryStaysFlat reports, more than 20,000")

// With -kills 1000000, a million kills take no more memory than some ten thousand do.
func TestMemoryStaysFlat(t *testing.T) {
	kills := *manyKills
	c := newClock()
	o := options(c)
	l := open(t, t.TempDir(), o)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	empty := heap()
	var at uint64
	for i := range kills {
		r := report(c, uint64(i+1), fmt.Sprintf("/kubepods/burstable/pod%06d/container", i/10))
		if i%10 > 0 {
			r.Cgroup, r.Header, r.Tasks, r.Limit = "", false, nil, oom.Limit{}
		}
		l.Report(r)
		if c.pass(10 * time.Millisecond); i%50 == 0 {
			l.settle()
			l.mu.Lock()
			l.flush()
			l.mu.Unlock()
		}
		if i == 20_000 {
			at = heap()
		}
	}
	end := heap()
	t.Logf("heap %d KiB at 20,000 kills, %d KiB at %d; %+v", (at-empty)>>10, (end-empty)>>10, kills, l.Status())
	if end > at+2<<20 {
		t.Errorf("%d KiB more at the end", (end-at)>>10)
	}
	if s := l.Status(); s.Kills+s.Dropped != int64(kills) || s.Bytes > DefaultBytes {
		t.Errorf("%+v", s)
	}
}

// A kill that only a counter told of, and whose line comes after a restart, is counted once in all totals.
func TestTotalsOverARestart(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	l := open(t, dir, options(c))
	l.Rise(oom.Rise{Time: c.t})
	c.pass(time.Second)
	at := c.t
	l.Rise(oom.Rise{Kills: 1, Total: 1, Since: at.Add(-time.Second), Time: at})
	settled(c, l)
	if s := l.Status(); s.Unattributed != 1 || l.totals.Unattributed.Now != 1 {
		t.Fatalf("%+v, %+v", s, l.totals.Unattributed)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, options(c))
	late := report(c, 1, "/pod/c")
	late.Time = at
	l.Report(late)
	settled(c, l)
	if got := l.Kills(oom.Filter{}); len(got) != 1 || got[0].Process.PID != 1001 || got[0].Cgroup != "/pod/c" {
		t.Fatalf("%+v", got)
	}
	var now int64
	for _, n := range l.totals.Scopes {
		now += n.Now
	}
	if s := l.Status(); s.Kills != 1 || s.Unattributed != 1 || l.totals.Unattributed.Now != 0 || now != 1 {
		t.Errorf("%+v, unattributed %+v, %d by scope", s, l.totals.Unattributed, now)
	}
}

// The records are read by people as well: one line is one JSON document.
func TestRecordsAreJSON(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	l := open(t, dir, options(c))
	hostile := "/a\n\"b\xff\u2028/\x00"
	l.Report(report(c, 1, hostile))
	settled(c, l)
	for _, s := range l.store.journal.Segments() {
		if _, err := l.store.journal.Scan(s, func(record []byte, _ int64) {
			if !json.Valid(record) || bytes.ContainsRune(record, '\n') {
				t.Errorf("no JSON: %q", record)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.Kills(oom.Filter{}); len(got) != 1 {
		t.Errorf("got %+v", got)
	}
}

func BenchmarkReport(b *testing.B) {
	for _, tasks := range []int{0, oom.MaxTasks} {
		b.Run(fmt.Sprintf("%d tasks", tasks), func(b *testing.B) {
			c := newClock()
			o := options(c)
			l := open(b, b.TempDir(), o)
			r := report(c, 0, "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod2f4c.slice/cri-containerd-0123456789abcdef.scope")
			r.Tasks = make([]oom.Process, tasks)
			for i := range r.Tasks {
				r.Tasks[i] = oom.Process{PID: 100000 + i, Comm: "java", Anon: 1 << 30, File: 1 << 20, PageTables: 1 << 20, ScoreAdj: 986}
			}
			var all []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				r.Seq++
				r.Process.PID = int(r.Seq)
				r.Time = c.t
				start := time.Now()
				l.Report(r)
				all = append(all, time.Since(start))
				if c.pass(10 * time.Millisecond); r.Seq%25 == 0 {
					b.StopTimer()
					l.settle()
					b.StartTimer()
				}
			}
			slices.Sort(all)
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "µs-p99")
			b.ReportMetric(float64(all[len(all)*999/1000].Microseconds()), "µs-p99.9")
			b.ReportMetric(float64(all[len(all)-1].Microseconds()), "µs-max")
		})
	}
}
