package join

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"stella/internal/oom"
)

// desk is a joiner with a clock and all that it decided.
type desk struct {
	t   *testing.T
	j   *Joiner
	now time.Time
	all map[uint64]Entry
	seq uint64
}

var start = time.Date(2026, 11, 21, 3, 33, 0, 0, time.UTC)

func newDesk(t *testing.T, o Options) *desk {
	o.Boot, o.Node = "boot", "n1"
	o.ID = func(n uint64) string { return fmt.Sprint("k", n) }
	d := &desk{t: t, now: start, all: make(map[uint64]Entry)}
	d.j = New(d.now, o, State{}, nil)
	return d
}

// wait lets time pass in ticks.
func (d *desk) wait(long time.Duration) {
	for end := d.now.Add(long); d.now.Before(end); {
		d.now = d.now.Add(250 * time.Millisecond)
		for d.j.Settle(d.now) {
			d.take()
		}
		d.take()
	}
}

func (d *desk) take() {
	for _, e := range d.j.Take().Entries {
		d.all[e.N] = e
	}
}

// line reports a kill without a header now.
func (d *desk) line(pid int, change func(*oom.Report)) {
	d.seq++
	r := oom.Report{Seq: d.seq, Time: d.now, Process: oom.Process{PID: pid, Comm: "hog"}, Limit: oom.Limit{Scope: oom.ScopeUnknown}}
	var seen Seen
	if change != nil {
		change(&r)
	}
	d.j.Report(d.now, r, seen)
	d.take()
}

func in(cgroup string) func(*oom.Report) {
	return func(r *oom.Report) {
		r.Header, r.Cgroup, r.Limit = true, cgroup, oom.Limit{Scope: oom.ScopeCgroup, Cgroup: cgroup, Bytes: 1 << 20}
	}
}

// rise tells that a cgroup, or with "" the node, counted n kills since its last look half a second ago.
func (d *desk) rise(cgroup string, n, total int64, change func(*oom.Rise)) {
	r := oom.Rise{Cgroup: cgroup, Kills: n, Local: n, Total: total, Since: d.now.Add(-500 * time.Millisecond), Time: d.now}
	if change != nil {
		change(&r)
	}
	d.j.Rise(d.now, r)
	d.take()
}

// begin tells that the node has counted nothing so far.
func (d *desk) begin() { d.rise("", 0, 0, nil) }

// kills are the kills as one line each, by number.
func (d *desk) kills() string {
	var lines []string
	for n := uint64(1); n <= uint64(len(d.all)); n++ {
		e := d.all[n]
		k := &e.Kill
		line := fmt.Sprintf("%dx pid %d %s %s %s %s", k.Count, k.Process.PID, k.Cgroup, k.Limit.Scope, k.Confidence, k.Witnesses)
		if k.Group != 0 {
			line += fmt.Sprint(" group ", k.Group)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func (d *desk) want(lines ...string) {
	d.t.Helper()
	if got, want := d.kills(), strings.Join(lines, "\n"); got != want {
		d.t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestHeaderAndBothCounters(t *testing.T) {
	d := newDesk(t, Options{})
	d.begin()
	d.wait(time.Second)
	d.line(7, in("/c"))
	d.want("1x pid 7 /c cgroup certain [kernel-log]")
	d.rise("/c", 1, 1, nil)
	d.rise("", 1, 1, nil)
	d.wait(time.Minute)
	d.want("1x pid 7 /c cgroup certain [kernel-log cgroup-counter node-counter]")
}

func TestLineWithoutHeader(t *testing.T) {
	t.Run("its process was seen", func(t *testing.T) {
		d := newDesk(t, Options{})
		d.wait(time.Minute)
		d.seq++
		d.j.Report(d.now, oom.Report{Seq: 1, Time: d.now, Process: oom.Process{PID: 7, Comm: "hog"}}, Seen{Cgroup: "/c", Process: oom.Process{PID: 7, Comm: "hog"}})
		d.wait(time.Minute)
		d.want("1x pid 7 /c unknown certain [kernel-log]")
	})
	t.Run("another process with its pid was seen", func(t *testing.T) {
		d := newDesk(t, Options{})
		d.wait(time.Minute)
		d.j.Report(d.now, oom.Report{Seq: 1, Time: d.now, Process: oom.Process{PID: 7, Comm: "hog"}}, Seen{Cgroup: "/c", Process: oom.Process{PID: 7, Comm: "cat"}})
		d.wait(time.Minute)
		d.want("1x pid 7  unknown strong [kernel-log]")
	})
	t.Run("it is a line from before this run", func(t *testing.T) {
		d := newDesk(t, Options{})
		d.j.Report(d.now, oom.Report{Seq: 1, Time: d.now.Add(-time.Minute), Process: oom.Process{PID: 7, Comm: "hog"}}, Seen{Cgroup: "/c", Process: oom.Process{PID: 7, Comm: "hog"}})
		d.wait(time.Minute)
		d.want("1x pid 7  unknown strong [kernel-log]")
	})
	t.Run("its process was in the cgroup whose counter rose", func(t *testing.T) {
		d := newDesk(t, Options{})
		d.line(7, nil)
		d.rise("/other", 1, 1, nil)
		d.rise("/c", 1, 1, func(r *oom.Rise) { r.Processes = []oom.Process{{PID: 7, Comm: "hog"}} })
		d.want("1x pid 7 /c unknown certain [kernel-log cgroup-counter]")
	})
	t.Run("one counter rose", func(t *testing.T) {
		d := newDesk(t, Options{})
		d.line(7, nil)
		d.rise("/c", 1, 1, func(r *oom.Rise) { r.LimitCgroup, r.Limit = "/", 1<<30 })
		d.wait(time.Minute)
		d.want("1x pid 7 /c cgroup strong [kernel-log cgroup-counter]")
		if k := d.all[1].Kill; k.Limit.Cgroup != "/" || k.Limit.Bytes != 1<<30 || !strings.Contains(k.Doubt, "only one") {
			t.Errorf("%+v", k)
		}
	})
	t.Run("several rose: each has as many as it counted", func(t *testing.T) {
		d := newDesk(t, Options{})
		for pid := 1; pid <= 6; pid++ {
			d.line(pid, nil)
		}
		d.rise("/a", 2, 2, nil)
		d.rise("/b", 3, 3, nil)
		d.rise("/c", 1, 1, nil)
		d.wait(time.Minute)
		count, unsure := make(map[string]int), 0
		for _, e := range d.all {
			count[e.Kill.Cgroup]++
			if strings.Contains(e.Kill.Doubt, "which process in which") {
				unsure++
			}
		}
		if count["/a"] != 2 || count["/b"] != 3 || count["/c"] != 1 || unsure != 5 { // the last had no choice
			t.Errorf("placed %v, %d with a doubt", count, unsure)
		}
	})
	t.Run("no counter rises", func(t *testing.T) {
		d := newDesk(t, Options{})
		d.line(7, func(r *oom.Report) { r.Limit.Scope = oom.ScopeNode })
		d.wait(time.Minute)
		d.want("1x pid 7  node strong [kernel-log]")
	})
}

func TestLostLine(t *testing.T) {
	d := newDesk(t, Options{})
	d.begin()
	d.wait(time.Second)
	d.j.Lost(d.now, oom.Lost{Records: 3})
	d.rise("/c", 2, 2, nil)
	d.rise("", 3, 3, nil)
	d.wait(10 * time.Second)
	d.want(
		"2x pid 0 /c unknown strong [cgroup-counter node-counter]",
		"1x pid 0  unknown strong [node-counter]",
	)
	if k := d.all[1].Kill; !strings.Contains(k.Doubt, "lost") || k.Since.IsZero() {
		t.Errorf("%+v", k)
	}
	if d.j.LostRecords() != 3 {
		t.Errorf("%d records were lost", d.j.LostRecords())
	}
}

// A line that comes after a kill was counted in its stead takes its place.
func TestLateLine(t *testing.T) {
	d := newDesk(t, Options{})
	d.begin()
	d.wait(time.Second)
	at := d.now.Add(-100 * time.Millisecond)
	d.rise("/c", 2, 2, nil)
	d.rise("", 3, 3, nil)
	d.wait(20 * time.Second)
	d.want("2x pid 0 /c unknown strong [cgroup-counter node-counter]", "1x pid 0  unknown strong [node-counter]")
	late := func(pid int, cgroup string) {
		d.line(pid, func(r *oom.Report) {
			r.Time = at
			if cgroup != "" {
				in(cgroup)(r)
			}
		})
		d.wait(10 * time.Second)
	}
	late(7, "/c")
	d.want(
		"1x pid 0 /c unknown strong [cgroup-counter node-counter]",
		"1x pid 0  unknown strong [node-counter]",
		"1x pid 7 /c cgroup certain [kernel-log cgroup-counter node-counter]",
	)
	late(8, "/c")
	late(9, "/gone")
	d.want(
		"1x pid 8 /c cgroup certain [kernel-log cgroup-counter node-counter]",
		"1x pid 9 /gone cgroup certain [kernel-log node-counter]",
		"1x pid 7 /c cgroup certain [kernel-log cgroup-counter node-counter]",
	)
}

// A counter that comes late gives a kill that only the node had told of its cgroup.
func TestLateCounter(t *testing.T) {
	d := newDesk(t, Options{})
	d.begin()
	d.wait(time.Second)
	at := d.now
	d.rise("", 2, 2, nil)
	d.wait(20 * time.Second)
	d.want("2x pid 0  unknown strong [node-counter]")
	d.rise("/c", 1, 1, func(r *oom.Rise) { r.Since, r.Time = at.Add(-time.Second), at })
	d.wait(20 * time.Second)
	d.want("1x pid 0  unknown strong [node-counter]", "1x pid 0 /c unknown strong [cgroup-counter node-counter]")
}

// What the node counts is first of all for lines that are about to come, or came before, and not for a cgroup that
// claims a kill of long ago.
func TestNodeIsNotTakenForOldClaims(t *testing.T) {
	for _, jump := range []time.Duration{0, 48 * time.Hour} {
		d := newDesk(t, Options{})
		d.begin()
		d.wait(time.Second)
		d.rise("/c", 1, 1, nil) // which the node did not count
		d.wait(10 * time.Second)
		d.rise("", 1, 1, func(r *oom.Rise) { r.Time, r.Since = r.Time.Add(jump), r.Since.Add(jump) })
		d.wait(time.Second)
		d.line(7, in("/d"))
		d.wait(2 * time.Minute)
		d.want("1x pid 7 /d cgroup certain [kernel-log node-counter]")
	}
}

// The kernel counts and logs the victim of a group twice: it is one kill.
func TestGroupKill(t *testing.T) {
	kill := func(t *testing.T, flagged, second bool) *desk {
		d := newDesk(t, Options{})
		d.begin()
		d.wait(time.Second)
		d.line(7, in("/c"))
		if flagged {
			d.seq-- // the same record
			d.line(7, func(r *oom.Report) { in("/c")(r); r.Group = 7 })
		}
		d.line(8, func(r *oom.Report) {
			if in("/c")(r); flagged {
				r.Group = 7
			}
		})
		if second {
			d.now = d.now.Add(50 * time.Millisecond)
			d.line(7, func(r *oom.Report) {
				if in("/c")(r); flagged {
					r.Group, r.Repeated = 7, 1
				}
			})
		}
		d.rise("/c", 3, 3, nil)
		d.rise("", 3, 3, nil)
		d.wait(time.Minute)
		return d
	}
	want := []string{
		"1x pid 7 /c cgroup certain [kernel-log cgroup-counter node-counter] group 7",
		"1x pid 8 /c cgroup certain [kernel-log cgroup-counter node-counter] group 7",
	}
	kill(t, true, true).want(want...)
	for i := range want {
		want[i] = strings.TrimSuffix(want[i], " group 7")
	}
	kill(t, false, true).want(want...) // the agent began to read in the middle

	t.Run("its second line was lost", func(t *testing.T) {
		d := newDesk(t, Options{})
		d.begin()
		d.wait(time.Second)
		d.line(7, in("/c"))
		d.seq--
		d.line(7, func(r *oom.Report) { in("/c")(r); r.Group = 7 })
		d.j.Lost(d.now, oom.Lost{Records: 1})
		d.rise("/c", 2, 2, nil)
		d.rise("", 2, 2, nil)
		d.wait(time.Minute)
		d.want("1x pid 7 /c cgroup certain [kernel-log cgroup-counter node-counter] group 7")
	})
}

// A pid that is used again is another kill.
func TestPIDUsedAgain(t *testing.T) {
	d := newDesk(t, Options{})
	d.line(7, in("/c"))
	d.wait(time.Second)
	d.line(7, in("/c"))
	d.wait(time.Minute)
	if len(d.all) != 2 {
		t.Errorf("%d kills", len(d.all))
	}
}

// What was read before is not a second kill.
func TestReadAgain(t *testing.T) {
	d := newDesk(t, Options{})
	d.line(7, in("/c"))
	d.line(8, in("/c"))
	d.seq = 0
	d.line(7, in("/c"))
	d.line(8, in("/c"))
	d.line(9, in("/c"))
	if len(d.all) != 3 || d.j.Known() != 3 {
		t.Errorf("%d kills, read up to %d", len(d.all), d.j.Known())
	}
}

// On v2 what a removed cgroup counted is told of one above it.
func TestRemovedCgroup(t *testing.T) {
	gone := func(r *oom.Rise) { r.Local, r.Gone, r.Since = 0, true, r.Time.Add(-2*time.Second) }
	d := newDesk(t, Options{})
	d.begin()
	d.wait(time.Second)
	d.line(7, in("/pod/a")) // nothing else will be told of it
	d.wait(time.Second)
	d.rise("", 3, 3, nil)
	d.rise("/pod", 3, 3, gone)
	d.line(8, nil)
	d.wait(time.Minute)
	d.want(
		"1x pid 7 /pod/a cgroup certain [kernel-log cgroup-counter node-counter]",
		"1x pid 8 /pod unknown strong [kernel-log cgroup-counter node-counter]",
		"1x pid 0 /pod unknown strong [cgroup-counter node-counter]",
	)
	for _, n := range []uint64{2, 3} {
		if k := d.all[n].Kill; !strings.Contains(k.Doubt, "below") {
			t.Errorf("%+v", k)
		}
	}
}

// What was counted before the agent ran for the first time is no news; it tells where older lines belong.
func TestFirstStart(t *testing.T) {
	d := newDesk(t, Options{})
	d.rise("", 0, 5, nil)
	d.rise("/a", 0, 2, nil)
	d.rise("/b", 0, 3, nil)
	before := d.now.Add(-time.Hour)
	for pid := 1; pid <= 3; pid++ { // the ring has lost the two before
		d.line(pid, func(r *oom.Report) {
			if r.Time = before; pid == 3 {
				in("/a")(r)
			}
		})
	}
	d.wait(time.Minute)
	if len(d.all) != 3 {
		t.Fatalf("%d kills:\n%s", len(d.all), d.kills())
	}
	for n, e := range d.all {
		if e.Kill.Cgroup == "" || !slices.Contains(e.Kill.Witnesses, oom.WitnessCounter) {
			t.Errorf("kill %d: %+v", n, e.Kill)
		}
	}
	d.line(9, in("/a"))
	d.rise("/a", 1, 3, nil)
	d.rise("", 1, 6, nil)
	d.wait(time.Minute)
	if len(d.all) != 4 {
		t.Errorf("%d kills:\n%s", len(d.all), d.kills())
	}
}

// A clock that jumps changes which line goes with which counter, but not how many there are.
func TestClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{-48 * time.Hour, -time.Minute, time.Minute, 48 * time.Hour} {
		d := newDesk(t, Options{})
		d.begin()
		d.wait(time.Second)
		d.line(1, nil)
		d.line(2, in("/b"))
		wall := func(r *oom.Rise) { r.Time, r.Since = r.Time.Add(jump), r.Since.Add(jump) }
		d.rise("/a", 2, 2, wall)
		d.rise("/b", 1, 1, func(r *oom.Rise) { r.Time = r.Time.Add(jump) }) // in the middle of it
		d.rise("", 3, 3, wall)
		d.wait(2 * time.Minute)
		var total, a int64
		for _, e := range d.all {
			total += e.Kill.Count
			if e.Kill.Cgroup == "/a" {
				a += e.Kill.Count
			}
		}
		if total != 3 || a != 2 {
			t.Errorf("jump of %s:\n%s", jump, d.kills())
		}
	}
}

func TestRestart(t *testing.T) {
	d := newDesk(t, Options{})
	d.begin()
	d.rise("/c", 0, 4, nil)
	d.wait(time.Minute)
	d.line(7, in("/c"))
	d.line(8, in("/new"))
	s := d.j.State(1 << 20)
	j := New(d.now, d.j.o, s, nil)
	for _, test := range []struct {
		path  string
		id    uint64
		total int64
		ok    bool
	}{
		{"/c", 0, 4, true},
		{"/c", 9, 0, true}, // another cgroup with its path
		{"/new", 3, 0, true},
		{"/unknown", 1, 0, true},
	} {
		if total, ok := j.Baseline(test.path, test.id); total != test.total || ok != test.ok {
			t.Errorf("%s: %d, %v", test.path, total, ok)
		}
	}
	if total, ok := j.NodeBaseline(); total != 0 || !ok || j.Known() != 2 {
		t.Errorf("node: %d, %v; read up to %d", total, ok, j.Known())
	}
	// What is told from there on is explained by the kills that are known.
	d.j, d.all = j, map[uint64]Entry{}
	d.rise("/c", 1, 5, nil)
	d.rise("/new", 1, 1, nil)
	d.rise("", 2, 2, nil)
	d.wait(time.Minute)
	d.want()

	o := d.j.o
	o.Boot = "next"
	j = New(d.now, o, s, nil)
	if _, ok := j.Baseline("/c", 0); ok || j.Known() != 0 {
		t.Error("the state of another boot is used")
	}
	if got := j.State(1 << 20); got.Next != 3 || got.Boot != "next" {
		t.Errorf("%+v", got)
	}
}

// What is remembered of cgroups is bounded, and whoever asks is told when it is not all.
func TestCgroupsAreBounded(t *testing.T) {
	d := newDesk(t, Options{})
	d.begin()
	d.wait(time.Minute)
	for i := range 3 * maxDomains {
		d.rise(fmt.Sprintf("/pod%d", i), 0, 1, nil)
		d.now = d.now.Add(time.Millisecond)
	}
	s := d.j.State(1 << 20)
	if len(s.Cgs) != maxDomains || s.Complete {
		t.Errorf("%d cgroups, complete %v", len(s.Cgs), s.Complete)
	}
	if s := d.j.State(10_000); len(s.Cgs) > 70 || !slices.ContainsFunc(s.Cgs, func(c Domain) bool { return c.Path == fmt.Sprint("/pod", 3*maxDomains-1) }) {
		t.Errorf("%d cgroups in 10,000 bytes", len(s.Cgs))
	}
	if _, ok := New(d.now, d.j.o, s, nil).Baseline("/unknown", 1); ok {
		t.Error("a cgroup that may have been forgotten is taken for one without kills")
	}
	long := strings.Repeat("x", 4000)
	for i := range 200 {
		d.rise(fmt.Sprint("/", i, long), 0, 1, nil)
	}
	if d.j.paths > maxPaths {
		t.Errorf("%d bytes of paths", d.j.paths)
	}
}

// A line is placed in no cgroup that came after it, whoever claims a kill; and where only such a line is left, it trades places with one that was placed elsewhere.
func TestUnborn(t *testing.T) {
	born := func(at time.Time) func(*oom.Rise) {
		return func(r *oom.Rise) { r.Born, r.Since = at, r.Time } // a first look
	}
	d := newDesk(t, Options{})
	d.begin()
	d.wait(time.Second)
	d.line(1, nil)
	d.rise("", 1, 1, nil)
	d.wait(time.Minute)
	d.rise("/young", 1, 1, born(d.now.Add(-10*time.Second)))
	d.rise("", 1, 2, nil)
	d.wait(time.Minute)
	for n, e := range d.all {
		if e.Kill.Process.PID == 1 && e.Kill.Cgroup != "" || e.Kill.Process.PID == 0 && e.Kill.Cgroup != "/young" {
			t.Errorf("kill %d is %+v", n, e.Kill)
		}
	}
	if len(d.all) != 2 {
		t.Errorf("%d kills, want the line and one that was counted", len(d.all))
	}

	// The old line's counter comes late, and so the new line was placed there.
	d = newDesk(t, Options{})
	d.begin()
	d.wait(time.Second)
	d.line(1, nil)
	d.wait(10 * time.Second)
	d.line(2, nil)
	d.rise("/old", 1, 1, nil)
	d.rise("", 2, 2, nil)
	d.wait(4 * time.Second)
	d.rise("/young", 1, 1, born(d.now.Add(-6*time.Second)))
	d.wait(20 * time.Second)
	where := map[int]string{}
	for _, e := range d.all {
		where[e.Kill.Process.PID] += e.Kill.Cgroup
	}
	if len(d.all) != 2 || where[1] != "/old" || where[2] != "/young" {
		t.Errorf("%d kills: %v", len(d.all), where)
	}
}
