package counters_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/oom"
	"stella/internal/oom/counters"
	"stella/internal/testkit"
)

const (
	small = 8 << 20
	large = 64 << 20
)

func TestKillIsTold(t *testing.T) {
	p := ownPart(t)
	w := p.watch(counters.Options{})
	noted := 0
	for _, name := range []string{"/plain", "/with space", "/é (deleted)", "/" + strings.Repeat("n", 255)} {
		p.Make(name, small)
		w.known(name)
		begin := time.Now()
		pid := p.Kill(name)
		rises := w.killed(name, 1)
		r := rises[0]
		if r.Local != 1 || r.Total != 1 || !r.LimitHit || r.LimitCgroup != p.Root+name || r.Limit != small || r.CgroupID == 0 || r.Gone {
			t.Errorf("%+v", r)
		}
		if r.Since.After(r.Time) || r.Time.Before(begin) || r.Time.After(time.Now()) {
			t.Errorf("it rose between %v and %v; the test began at %v", r.Since, r.Time, begin)
		}
		cgroup, process, ok := w.Lookup(pid)
		if !ok {
			continue // on a busy machine it was gone too soon
		}
		noted++
		read := process.UID != -1 // in time, and not only listed
		if cgroup != p.Root+name || process.PID != pid || read && (process.Comm != "exe" || process.UID != 0) {
			t.Errorf("looked up: %q %+v", cgroup, process)
		}
		if process.Anon >= small/2 && !hasPID(r, pid) {
			t.Errorf("process %d is not among %+v", pid, r.Processes)
		}
	}
	if noted < 2 {
		t.Errorf("%d of 4 processes were noted", noted)
	}
	w.until("the node's counter", func([]oom.Rise) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return sum(w.node) >= 4
	})
	if r := w.Report(); r.State != "ok" || strings.Contains(r.Detail, "polled") {
		t.Errorf("%+v", r)
	}
}

// The limit that fires is above the victim's cgroup.
func TestLimitAbove(t *testing.T) {
	p := ownPart(t)
	p.Make("/pod", 2*small)
	p.Delegate("/pod")
	p.Make("/pod/a", large)
	p.Make("/pod/b", large)
	w := p.watch(counters.Options{})
	w.known("/pod/a", "/pod/b")
	p.Kill("/pod/a")
	r := w.killed("/pod/a", 1)[0]
	if r.LimitHit || r.LimitCgroup != p.Root+"/pod" || r.Limit != 2*small {
		t.Errorf("%+v", r)
	}
	// And now its own.
	p.Limit("/pod/b", small)
	p.Kill("/pod/b")
	if r := w.killed("/pod/b", 1)[0]; !r.LimitHit || r.LimitCgroup != p.Root+"/pod/b" || r.Limit != small {
		t.Errorf("%+v", r)
	}
	w.killed("/pod/a", 1)
	if n := sum(w.until("all", func([]oom.Rise) bool { return true })); n != 2 {
		t.Errorf("%d kills were told in all, want 2", n)
	}
}

// A cgroup is made, has its kill and is removed as soon as the process was waited for.
func TestRemovedAtOnce(t *testing.T) {
	p := ownPart(t)
	p.Make("/pod", 0)
	p.Delegate("/pod")
	w := p.watch(counters.Options{})
	if p.Version == 1 {
		w.known("/pod")
	}
	const rounds = 50
	own, named := 0, 0
	for i := range rounds {
		name := fmt.Sprintf("/pod/c%d", i%3) // names come again
		p.Make(name, small)
		pid := p.Kill(name)
		p.Remove(name)
		if cgroup, _, ok := w.Lookup(pid); ok {
			if cgroup != p.Root+name {
				t.Errorf("process %d was in %s, and not in %s", pid, name, cgroup)
			}
			named++
		}
	}
	var rises []oom.Rise
	settled := func(all []oom.Rise) bool {
		rises, own = all, 0
		for _, r := range all {
			if r.Local > 0 {
				own += int(r.Kills)
			}
		}
		return sum(all) >= rounds || p.Version == 1 && own >= rounds*7/10 // on a busy machine some are gone too soon
	}
	w.until("all kills", settled)
	time.Sleep(1200 * time.Millisecond) // what was told twice would be told now: a round and another
	w.until("all kills", settled)
	t.Logf("v%d: of %d kills %d were counted in their own cgroup, %d above it; %d processes were noted",
		p.Version, rounds, own, int(sum(rises))-own, named)
	if sum(rises) > rounds || named < rounds*7/10 {
		t.Errorf("%d kills were told and %d processes noted, of %d", sum(rises), named, rounds)
	}
}

// ledger is as much of one as Counters needs: the totals that were told.
type ledger struct {
	totals map[string]int64
	all    bool // an earlier process watched all cgroups
}

func ledgerOf(w *witness) *ledger {
	l := &ledger{totals: map[string]int64{}, all: true}
	for _, r := range w.until("all", func([]oom.Rise) bool { return true }) {
		key := fmt.Sprint(r.Cgroup, r.CgroupID)
		if l.totals[key] = r.Total; r.Gone && r.Kills == 0 {
			delete(l.totals, key)
		}
	}
	return l
}

func (l *ledger) baseline(path string, id uint64) (int64, bool) {
	n, ok := l.totals[fmt.Sprint(path, id)]
	return n, ok || l.all
}

// What happened while nobody watched is told by the next one, once.
func TestRestart(t *testing.T) {
	p := ownPart(t)
	p.Make("/pod", 0)
	p.Delegate("/pod")
	for _, c := range []string{"/pod/a", "/pod/b", "/pod/c"} {
		p.Make(c, small)
	}
	p.Kill("/pod/a")
	w := p.watch(counters.Options{})
	w.known("/pod", "/pod/a", "/pod/b", "/pod/c")
	if rises := w.until("all", func([]oom.Rise) bool { return true }); sum(rises) != 0 {
		t.Errorf("what was there before is told as new: %+v", rises)
	}
	p.Kill("/pod/a")
	p.Kill("/pod/c")
	w.killed("/pod/a", 1)
	w.killed("/pod/c", 1)
	w.end()
	first := w
	// Nobody watches.
	p.Kill("/pod/a")
	p.Kill("/pod/b")
	p.Kill("/pod/b")
	p.Kill("/pod/c")
	p.Remove("/pod/c")
	p.Make("/pod/d", small)
	p.Kill("/pod/d")
	p.Remove("/pod/b")
	p.Make("/pod/b", small) // of the same name
	p.Kill("/pod/b")
	l := ledgerOf(first)
	w = p.watch(counters.Options{Baseline: l.baseline, Node: func() (int64, bool) { return first.node[len(first.node)-1].Total, true }})
	w.killed("/pod/a", 1)
	w.killed("/pod/b", 1)
	w.killed("/pod/d", 1)
	if p.Version == 2 { // two of the old b, one of c
		for _, r := range w.killed("/pod", 3) {
			if !r.Gone || r.Local != 0 {
				t.Errorf("%+v", r)
			}
		}
	}
	w.until("the node's counter", func([]oom.Rise) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return sum(w.node) >= 6 // others test on this machine too
	})
	// And once more, with nothing new.
	w.end()
	l = ledgerOf(w)
	w = p.watch(counters.Options{Baseline: l.baseline})
	w.known("/pod", "/pod/a", "/pod/b", "/pod/d")
	p.Kill("/pod/a")
	w.killed("/pod/a", 1)
	time.Sleep(1200 * time.Millisecond) // two rounds
	if rises := w.until("all", func([]oom.Rise) bool { return true }); sum(rises) != 1 {
		t.Errorf("told twice: %+v", rises)
	}
}

// Without a ledger, what is there at the start is old, also where it is another cgroup of the same name.
func TestFirstSight(t *testing.T) {
	p := ownPart(t)
	p.Make("/old", small)
	p.Kill("/old")
	w := p.watch(counters.Options{Baseline: func(path string, id uint64) (int64, bool) { return 5, id == 1 }})
	w.known("/old")
	p.Make("/new", small)
	p.Kill("/new")
	w.killed("/new", 1)
	rises := w.until("all", func([]oom.Rise) bool { return true })
	for _, r := range rises {
		if r.Cgroup == p.Root+"/old" && (r.Kills != 0 || r.Total != 1) {
			t.Errorf("%+v", r)
		}
	}
	p.Remove("/new")
	w.until("the end of new", func(rises []oom.Rise) bool {
		last := rises[len(rises)-1]
		return last.Cgroup == p.Root+"/new" && last.Gone && last.Kills == 0 && last.Total == 1
	})
}

// Beyond the bound on descriptors there is no alarm, and kills are counted all the same.
func TestFewDescriptors(t *testing.T) {
	p := ownPart(t)
	for i := range 10 {
		p.Make(fmt.Sprintf("/c%d", i), small)
	}
	w := p.watch(counters.Options{Descriptors: 3})
	w.known("/c0", "/c9")
	before := len(descriptors(t))
	for i := range 10 {
		p.Kill(fmt.Sprintf("/c%d", i))
	}
	for i := range 10 {
		w.killed(fmt.Sprintf("/c%d", i), 1)
	}
	if p.Version == 1 && !strings.Contains(w.Report().Detail, "3 with an alarm; the others are polled") {
		t.Errorf("%+v", w.Report())
	}
	w.end()
	if after := len(descriptors(t)); after > before {
		t.Errorf("%d descriptors are open at the end, and there were %d", after, before)
	}
}

// A quarter of what this process may have open is enough.
func TestDescriptorsAreLeftToOthers(t *testing.T) {
	p := ownPart(t)
	var names []string
	for i := range 30 {
		names = append(names, fmt.Sprintf("/c%d", i))
		p.Make(names[i], 0)
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	few := unix.Rlimit{Cur: 80, Max: before.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	}()
	w := p.watch(counters.Options{})
	w.known(names...)
	want := "31 cgroups, 31 with an alarm" // on v2 they need no descriptors
	if p.Version == 1 {
		want = "31 cgroups, 20 with an alarm; the others are polled"
	}
	if got := w.Report().Detail; !strings.Contains(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func descriptors(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A group kill takes several, and the kernel may count the victim twice; if both find no memory at once, both are victims.
func TestGroupKill(t *testing.T) {
	testkit.Need(t, testkit.CgroupV2)
	p := ownPart(t)
	p.Make("/group", 2*small)
	p.Write("/group", "memory.oom.group", "1")
	w := p.watch(counters.Options{})
	w.known("/group")
	other := p.Start("/group", 1<<20)
	p.Kill("/group")
	_ = other.Wait()
	var r oom.Rise
	w.until("two kills", func(rises []oom.Rise) bool { return sum(rises) >= 2 })
	for _, r = range w.until("all", func([]oom.Rise) bool { return true }) {
		if r.Kills > 4 || r.Kills > 0 && r.LimitCgroup != p.Root+"/group" {
			t.Errorf("%+v", r)
		}
	}
}

// On v2 a cgroup has counters only where the controller was given to it; that can come later, and end.
func TestControllerComesLater(t *testing.T) {
	testkit.Need(t, testkit.CgroupV2)
	p := ownPart(t)
	p.Make("/pod", small)
	p.Make("/pod/inner", 0)
	w := p.watch(counters.Options{})
	w.known("/pod")
	pid := p.Kill("/pod/inner") // counts in the pod
	if r := w.killed("/pod", 1)[0]; !r.LimitHit {
		t.Errorf("%+v", r)
	}
	if cgroup, _, ok := w.Lookup(pid); ok && cgroup != p.Root+"/pod" {
		t.Errorf("process %d counts in the pod, and not in %s", pid, cgroup)
	}
	for n := range int64(3) {
		p.Delegate("/pod")
		p.Kill("/pod/inner")
		w.killed("/pod/inner", n+1)
		p.Write("/pod", "cgroup.subtree_control", "-memory")
	}
	w.killed("/pod", 1)
}

func TestLookupAsksTheKernel(t *testing.T) {
	p := ownPart(t)
	p.Make("/a", 0)
	w := p.watch(counters.Options{})
	w.known("/a")
	alive := p.Start("/a", 1<<20)
	waitFor(t, func() bool { cgroup, _, ok := w.Lookup(alive.Process.Pid); return ok && cgroup == p.Root+"/a" })
	_ = alive.Process.Kill()
	_ = alive.Wait()
	if cgroup, _, ok := w.Lookup(alive.Process.Pid); ok {
		t.Errorf("a process that is gone is in %s", cgroup)
	}
	for _, pid := range []int{0, -1, 1 << 40} {
		if _, _, ok := w.Lookup(pid); ok {
			t.Errorf("there is a process %d", pid)
		}
	}
	if p.Version == 2 { // one that has ended and was not waited for
		p.Limit("/a", small)
		cmd := p.Start("/a", large)
		waitFor(t, func() bool { return zombie(cmd) })
		if cgroup, _, ok := w.Lookup(cmd.Process.Pid); !ok || cgroup != p.Root+"/a" {
			t.Errorf("%s %t", cgroup, ok)
		}
		_ = cmd.Wait()
	}
}

func zombie(cmd *exec.Cmd) bool {
	out, err := exec.Command("cat", fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid)).Output()
	return err == nil && strings.Contains(string(out), ") Z ")
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 20 s")
		}
	}
}
