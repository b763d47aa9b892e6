package ledger

import (
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"stella/internal/oom"
	"stella/internal/oom/ledger/join"
)

var (
	seeds = flag.Uint64("seeds", 2, "how many worlds are simulated of each kind")
	seed  = flag.Uint64("seed", 0, "the only world to simulate")
)

// story is what happens to a world and its agent.
type story struct {
	version  int
	kills    int
	pause    time.Duration // longest between two kills
	late     time.Duration // how late counters are told
	lossy    float64
	removes  bool // cgroups are removed
	crashes  bool // the agent is killed, and loses an end of its journal
	stop     bool // it is stopped for the second third
	first    bool // it is started for the first time only when a third is over
	reboots  bool
	deafLog  bool // the kernel log cannot be read
	noCounts bool // counters cannot be read
	notes    bool // a program in the kernel notes each victim
}

// sim is a running story.
type sim struct {
	t   *testing.T
	s   story
	w   *world
	a   *agent // nil while it does not run
	dir string
	// safe is how much of the journal no crash tears any more.
	safe map[string]int
	// began is when the agent was started first.
	began time.Time
	boot0 int
}

func (s *sim) start() {
	if s.began.IsZero() {
		s.began, s.boot0 = s.w.now, s.w.boot
	}
	var a *agent
	o := Options{
		Boot: fmt.Sprint("boot", s.w.boot), Node: "n1", MaxBytes: 16 << 20, Log: slog.New(slog.DiscardHandler),
		Owner:  func(cgroup string) oom.Container { return oom.Container{Name: filepath.Base(cgroup)} },
		Scope:  scope,
		Lookup: func(pid int) (string, oom.Process, bool) { return a.lookup(pid) },
		Now:    func() time.Time { return s.w.now },
	}
	if s.s.notes {
		o.Victim = func(pid int) (oom.Victim, bool) { v, ok := s.w.notes[pid]; return v, ok }
		o.Victims = func() []oom.Victim { return slices.Collect(maps.Values(s.w.notes)) }
	}
	l, err := Open(s.dir, o)
	if err != nil {
		s.t.Fatal(err)
	}
	a = newAgent(s.w, l, s.s.late)
	s.a = a
}

// crash kills the agent. It can have torn the journal's end anywhere.
func (s *sim) crash() {
	if err := s.a.l.store.journal.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.a = nil
	files, err := filepath.Glob(filepath.Join(s.dir, "*.jsonl"))
	if err != nil || len(files) == 0 {
		s.t.Fatal(files, err)
	}
	slices.Sort(files)
	last := files[len(files)-1]
	text, err := os.ReadFile(last)
	if err != nil {
		s.t.Fatal(err)
	}
	checkpoint := max(strings.IndexByte(string(text), '\n')+1, s.safe[last])
	lost := 0
	switch s.w.IntN(3) {
	case 0:
	case 1: // in the last records
		lost = s.w.IntN(min(len(text)-checkpoint, 3000) + 1)
	case 2: // anywhere
		lost = s.w.IntN(len(text) - checkpoint + 1)
	}
	if err := os.Truncate(last, int64(len(text)-lost)); err != nil {
		s.t.Fatal(err)
	}
}

// startTime is how long an agent must have run once to know that it knows all cgroups.
const startTime = 12 * time.Second

// save notes that what the journal has now is not torn any more.
func (s *sim) save() {
	files, err := filepath.Glob(filepath.Join(s.dir, "*.jsonl"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.safe = make(map[string]int)
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			s.t.Fatal(err)
		}
		s.safe[f] = int(info.Size())
	}
}

// reboot starts the machine anew.
func (s *sim) reboot() {
	if err := s.a.l.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.w.reboot()
	s.start()
	s.step(startTime)
	s.save()
}

// step lets time pass, in ticks as Run has them.
func (s *sim) step(d time.Duration) {
	for end := s.w.now.Add(d); s.w.now.Before(end); {
		s.w.now = s.w.now.Add(min(settleEvery, end.Sub(s.w.now)))
		if s.a == nil {
			continue
		}
		if !s.s.noCounts {
			s.a.rounds++
			if s.a.rounds%2 == 0 {
				s.a.poll()
			}
			s.a.deliver(false)
		}
		if !s.s.deafLog {
			s.a.readLog(1 + s.w.IntN(100))
		}
		s.a.l.settle()
		if s.a.rounds%4 == 0 {
			s.a.l.mu.Lock()
			s.a.l.flush()
			s.a.l.mu.Unlock()
		}
	}
}

// run tells the story to its end, and then lets all become quiet.
func (s *sim) run() {
	w := s.w
	if !s.s.first {
		s.start()
		s.step(startTime + time.Duration(w.IntN(10))*time.Second)
		s.save()
	}
	for i := range s.s.kills {
		third := 3 * i / s.s.kills
		switch {
		case s.a == nil && (s.s.first && third > 0 || s.s.stop && third > 1 || third == 0 && !s.s.first):
			s.start()
			if s.s.first {
				s.step(startTime)
				s.save()
			}
		case s.a != nil && s.s.stop && third == 1:
			s.crash()
		case s.a != nil && s.s.crashes && w.IntN(40) == 0:
			s.crash()
			if w.IntN(2) == 0 {
				w.now = w.now.Add(time.Duration(w.IntN(5000)) * time.Millisecond)
			}
			if !s.s.stop || third != 1 {
				s.start()
			}
		case s.s.reboots && i%(s.s.kills/2) == 1 && s.a != nil:
			s.quiet()
			s.reboot()
		}
		if w.IntN(30) == 0 && s.s.removes {
			if all := w.leaves(); len(all) > 1 {
				w.remove(all[w.IntN(len(all))])
			}
		}
		if w.IntN(40) == 0 {
			w.pod()
		}
		s.kill()
		if s.s.pause > 0 && w.IntN(3) > 0 {
			s.step(time.Duration(w.Int64N(int64(s.s.pause))))
		}
	}
	if s.a == nil {
		s.start()
	}
	s.quiet()
}

// kill kills, and lets the agent hear of it at once most of the time.
func (s *sim) kill() {
	before := len(s.w.kills)
	s.w.kill()
	if s.a == nil {
		return
	}
	for _, k := range s.w.kills[before:] {
		s.a.noteProcess(k)
	}
	if !s.s.noCounts && s.w.IntN(5) > 0 {
		s.a.find(false)
		for _, g := range s.w.cgroups {
			if k := s.a.looked[g.id]; k != nil && !g.removed {
				s.a.take(g, k, false)
			}
		}
		s.a.deliver(false)
	}
	if !s.s.deafLog && s.w.IntN(5) > 0 {
		s.a.readLog(1000)
	}
}

func (s *sim) quiet() {
	s.step(3 * time.Second)
	s.a.deliver(true)
	s.step(90 * time.Second)
}

// judge compares the ledger with the truth.
func (s *sim) judge() {
	kills := s.a.l.Kills(oom.Filter{})
	type key struct {
		boot, pid int
		at        time.Time
	}
	found := make(map[key]oom.Kill)
	var counted, total int64
	perCgroup := make(map[string]int64)
	for _, k := range kills {
		total += k.Count
		if k.Count < 1 || len(k.Witnesses) == 0 || k.Confidence == "" {
			s.t.Errorf("not a kill: %+v", k)
		}
		if k.Process.PID == 0 {
			counted += k.Count
			continue
		}
		var boot int
		fmt.Sscanf(k.Boot, "boot%d", &boot)
		id := key{boot, k.Process.PID, k.Time}
		if _, twice := found[id]; twice {
			s.t.Errorf("pid %d at %s is in the ledger twice", id.pid, id.at)
		}
		found[id] = k
	}
	// Counters count the victim of a group twice, and know no better.
	s.a.l.newest(func(e *join.Entry) bool {
		perCgroup[e.Kill.Cgroup] += e.Kill.Count + e.Extra
		return true
	})
	var want, lines int64
	truePer := make(map[string]int64)
	for _, k := range s.w.kills {
		unread := k.lost || s.s.deafLog
		if unread && (k.boot < s.boot0 || !k.at.After(s.began) || s.s.noCounts) {
			continue // nobody could know
		}
		want++
		if s.s.notes {
			s.known(k, kills)
		}
		truePer[k.cgroup]++
		if k.double {
			truePer[k.cgroup]++
		}
		if unread {
			continue
		}
		lines++
		got, ok := found[key{k.boot, k.pid, k.at}]
		if !ok {
			s.t.Errorf("pid %d in %s at %s is not in the ledger", k.pid, k.cgroup, k.at)
			continue
		}
		s.compare(k, &got)
	}
	if s.s.deafLog {
		for _, k := range s.w.kills {
			if k.double {
				want++ // without the log nobody can tell
			}
		}
	}
	if total != want {
		s.t.Errorf("%d kills in the ledger, %d happened; %d of %d were lost from the log, %d only counted", total, want, want-lines, want, counted)
	}
	if !s.s.removes && !s.s.noCounts && !s.s.first && !s.s.deafLog {
		// A line from before a cgroup came is rather left without one than placed there: that one has a kill less.
		missing := int64(0)
		for path, n := range truePer {
			if missing += n - perCgroup[path]; perCgroup[path] > n || missing > perCgroup[""] {
				s.t.Errorf("%d counts of kills in %s in the ledger, %d happened; %d have no cgroup", perCgroup[path], path, n, perCgroup[""])
			}
		}
	}
	st := s.a.l.Status()
	if st.Kills+st.Dropped != total+st.Dropped || st.Fault != "" {
		s.t.Errorf("the status says %+v, there are %d kills", st, total)
	}
	var inTotals int64
	s.a.l.Totals(func(_ oom.Container, _ string, n int64) { inTotals += n })
	var now int64
	for _, n := range s.a.l.totals.Scopes {
		now += n.Now
	}
	if now != total {
		s.t.Errorf("the totals by scope have %d of %d kills", now, total)
	}
	if inTotals < total {
		s.t.Errorf("the totals have %d of %d kills", inTotals, total)
	}
}

// known wants a kill of which the kernel noted all once, and with all of it.
func (s *sim) known(k *truth, kills []oom.Kill) {
	scope := oom.ScopeNode
	n := 0
	for _, got := range kills {
		if got.Boot != fmt.Sprint("boot", k.boot) || got.Process.PID != k.pid || got.Time.Sub(k.at).Abs() > time.Second {
			continue
		}
		n++
		if got.Count != 1 || got.Confidence != oom.Certain || got.Cgroup != k.cgroup || got.Limit.Cgroup != k.limit || (k.limit == "") != (got.Limit.Scope == scope) {
			s.t.Errorf("pid %d in %s by the limit of %q: %+v", k.pid, k.cgroup, k.limit, got)
		}
	}
	if n != 1 {
		s.t.Errorf("pid %d in %s at %s is in the ledger %d times", k.pid, k.cgroup, k.at, n)
	}
}

// compare checks what is known of one kill.
func (s *sim) compare(k *truth, got *oom.Kill) {
	if got.Confidence == oom.Certain && got.Cgroup != k.cgroup {
		s.t.Errorf("pid %d is said to be certain in %q, it was in %s", k.pid, got.Cgroup, k.cgroup)
	}
	if (got.Confidence == oom.Certain) != (got.Doubt == "") {
		s.t.Errorf("pid %d: confidence %s, doubt %q", k.pid, got.Confidence, got.Doubt)
	}
	if s.unborn(got.Cgroup, k) {
		s.t.Errorf("pid %d was killed in %s at %s, and is said to be in %s, which came later", k.pid, k.cgroup, k.at, got.Cgroup)
	}
	if got.Invoker != "" && got.Limit.Cgroup != k.limit {
		s.t.Errorf("pid %d: limit of %q, the log said %q", k.pid, got.Limit.Cgroup, k.limit)
	}
}

// unborn reports whether the agent saw that a cgroup came after a kill, by more than the second that clocks may differ by.
func (s *sim) unborn(path string, k *truth) bool {
	born := time.Time{}
	for _, g := range s.w.cgroups {
		if g.path != path || k.boot != s.w.boot {
			continue
		}
		seen := s.a.looked[g.id]
		if !born.IsZero() || seen == nil {
			return false // the path was used before, and of that one it is not known any more
		}
		born = seen.born
	}
	return born.After(k.at.Add(time.Second))
}

func simulate(t *testing.T, s story) {
	t.Helper()
	from, to := uint64(1), *seeds
	if *seed > 0 {
		from, to = *seed, *seed
	}
	for n := from; n <= to; n++ {
		for _, version := range []int{1, 2} {
			s := s
			s.version = version
			ok := t.Run(fmt.Sprintf("v%d seed %d", version, n), func(t *testing.T) {
				w := newWorld(n, version)
				w.lossy, w.fresh = s.lossy, s.notes
				run := &sim{t: t, s: s, w: w, dir: t.TempDir()}
				run.run()
				run.judge()
				if run.a.l.store.journal.Bytes() > 16<<20 {
					t.Errorf("the journal has %d bytes", run.a.l.store.journal.Bytes())
				}
				if err := run.a.l.Close(); err != nil {
					t.Error(err)
				}
			})
			if !ok {
				t.Fatalf("run it alone with -run '%s' -args -seed %d", t.Name(), n)
			}
		}
	}
}

func TestCalm(t *testing.T)  { simulate(t, story{kills: 60, pause: 3 * time.Second}) }
func TestStorm(t *testing.T) { simulate(t, story{kills: 300, pause: 30 * time.Millisecond}) }
func TestLate(t *testing.T) {
	simulate(t, story{kills: 120, pause: time.Second, late: 4 * time.Second})
}
func TestLost(t *testing.T) { simulate(t, story{kills: 120, pause: time.Second, lossy: .2}) }
func TestLostLate(t *testing.T) {
	simulate(t, story{kills: 120, pause: 300 * time.Millisecond, lossy: .2, late: 4 * time.Second})
}
func TestRemoved(t *testing.T) {
	simulate(t, story{kills: 150, pause: 500 * time.Millisecond, removes: true})
}
func TestCrash(t *testing.T) {
	simulate(t, story{kills: 150, pause: 500 * time.Millisecond, crashes: true})
}
func TestStopped(t *testing.T) {
	simulate(t, story{kills: 120, pause: 500 * time.Millisecond, stop: true})
}
func TestFirstStart(t *testing.T) {
	simulate(t, story{kills: 120, pause: 500 * time.Millisecond, first: true})
}
func TestReboot(t *testing.T) {
	simulate(t, story{kills: 80, pause: 500 * time.Millisecond, reboots: true, crashes: true})
}
func TestWithoutLog(t *testing.T) {
	simulate(t, story{kills: 80, pause: 500 * time.Millisecond, deafLog: true, crashes: true})
}
func TestWithoutCounters(t *testing.T) {
	simulate(t, story{kills: 80, pause: 500 * time.Millisecond, noCounts: true, crashes: true})
}
func TestNoted(t *testing.T) {
	for name, s := range map[string]story{
		"storm":       {kills: 300, pause: 30 * time.Millisecond},
		"lost":        {kills: 120, pause: time.Second, lossy: .2},
		"crashes":     {kills: 150, pause: 500 * time.Millisecond, crashes: true},
		"stopped":     {kills: 120, pause: 500 * time.Millisecond, stop: true, lossy: .3},
		"all at once": {kills: 200, pause: 300 * time.Millisecond, lossy: .1, crashes: true, stop: true},
		"removed":     {kills: 150, pause: 500 * time.Millisecond, removes: true},
	} {
		t.Run(name, func(t *testing.T) {
			s.notes = true
			simulate(t, s)
		})
	}
}

func TestAllAtOnce(t *testing.T) {
	simulate(t, story{kills: 200, pause: 300 * time.Millisecond, late: 3 * time.Second, lossy: .1, removes: true, crashes: true, stop: true})
}
