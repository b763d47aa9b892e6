package kmsg_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"stella/internal/cgroup"
	"stella/internal/oom"
	"stella/internal/oom/kmsg"
	"stella/internal/testkit"
)

const (
	// limit holds a test program under the race detector, which must live until it has its name.
	limit  = 64 << 20
	beyond = 192 << 20
	// patience is for what happens at once where the machine has nothing else to do.
	patience = time.Minute
)

// reader follows the kernel log in the background. Others' kills are in there as well.
type reader struct {
	t       *testing.T
	changed *sync.Cond
	reports []oom.Report
	seen    map[int]time.Time // when the first report of a process came
	lost    uint64
	at      uint64 // position
	told    bool
	stop    func()
}

func follow(t *testing.T, after uint64) *reader {
	t.Helper()
	r := &reader{t: t, changed: sync.NewCond(new(sync.Mutex)), seen: map[int]time.Time{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	change := func(f func()) {
		r.changed.L.Lock()
		defer r.changed.L.Unlock()
		f()
		r.changed.Broadcast()
	}
	go func() {
		done <- kmsg.Follow(ctx, kmsg.Options{After: after}, func(report oom.Report) {
			now := time.Now()
			change(func() {
				r.reports = append(r.reports, report)
				if r.seen[report.Process.PID].IsZero() {
					r.seen[report.Process.PID] = now
				}
			})
		}, func(l oom.Lost) { change(func() { r.lost += l.Records }) }, func(seq uint64) { change(func() { r.at, r.told = seq, true }) })
	}()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("follow: %v", err)
		}
	})
	t.Cleanup(r.stop)
	r.until("the backlog to be read", func() bool { return r.told })
	return r
}

// until waits for something to be true of the reader.
func (r *reader) until(what string, ok func() bool) {
	r.t.Helper()
	late := time.AfterFunc(patience, func() { r.changed.Broadcast() })
	defer late.Stop()
	begin := time.Now()
	r.changed.L.Lock()
	defer r.changed.L.Unlock()
	for !ok() {
		if time.Since(begin) > patience {
			r.t.Fatalf("waited %v for %s", patience, what)
		}
		r.changed.Wait()
	}
}

// of waits for the reports of a process.
func (r *reader) of(pid int) (all []oom.Report) {
	r.t.Helper()
	r.until(fmt.Sprintf("a report of process %d", pid), func() bool {
		all = r.about(pid)
		return len(all) > 0
	})
	return all
}

// first is when the first report of a process came.
func (r *reader) first(pid int) time.Time {
	r.changed.L.Lock()
	defer r.changed.L.Unlock()
	return r.seen[pid]
}

// about are the reports of a process until now. The lock is held.
func (r *reader) about(pid int) (all []oom.Report) {
	for _, report := range r.reports {
		if report.Process.PID == pid {
			all = append(all, report)
		}
	}
	return all
}

func group(t *testing.T, l cgroup.Limit) *cgroup.Group {
	t.Helper()
	testkit.Need(t, testkit.MemoryCgroup, testkit.Root)
	g, err := cgroup.New("kmsg", l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// child starts this program again in the group.
func child(t *testing.T, g *cgroup.Group, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	if err := g.Start(cmd); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// kill has a process killed for want of memory, and says when that was seen by its parent.
func kill(t *testing.T, g *cgroup.Group, name string) (pid int, at time.Time) {
	t.Helper()
	cmd := child(t, g, fmt.Sprintf("%s=%d", takeEnv, beyond), nameEnv+"="+name)
	killed(t, cmd)
	return cmd.Process.Pid, time.Now()
}

// killed waits for the end of a process.
func killed(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	err := cmd.Wait()
	if cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the process ended with %v, want SIGKILL", err)
	}
}

func TestKillIsSeenAtOnce(t *testing.T) {
	g := group(t, cgroup.Limit{Memory: limit})
	r := follow(t, 0)
	own := "/" + filepath.Base(g.Dir())
	for _, name := range []string{"plain", "x) total-vm:1kB", "a,pid=1,uid=0", `b\x0a"c`, "d\te,task=f", "/g,task_memcg=/", " h ", "é"} {
		// Others' kills can use up the ten headers of five seconds.
		var report oom.Report
		for begin := time.Now(); !report.Header; {
			if time.Since(begin) > patience {
				t.Fatalf("no header in %v", patience)
			}
			from := time.Now()
			pid, at := kill(t, g, name)
			all := r.of(pid)
			if report = all[0]; len(all) > 1 {
				t.Errorf("%d reports of one kill", len(all))
			}
			t.Logf("seen %v after the parent saw it; time of the report %v before; header %t", r.first(pid).Sub(at), at.Sub(report.Time), report.Header)
			// The stamps of the kernel log and the wall clock differ by some milliseconds.
			if report.Time.Before(from.Add(-time.Second)) || report.Time.After(at.Add(time.Second)) {
				t.Errorf("happened at %v; it began at %v, and the parent saw the end at %v", report.Time, from, at)
			}
		}
		p := report.Process
		if p.Comm != name || p.UID != 0 || p.Anon < limit/2 || p.Total < beyond || report.Invoker != name && report.Invoker != "exe" { // another thread of it
			t.Errorf("killed %+v, invoked by %q; want %q", p, report.Invoker, name)
		}
		if !strings.HasSuffix(report.Cgroup, own) || report.Limit.Cgroup != report.Cgroup || report.Limit.Scope != oom.ScopeCgroup {
			t.Errorf("in %s, limit of %+v, want %s", report.Cgroup, report.Limit, own)
		}
		if report.Limit.Bytes != limit || report.Limit.Usage < limit*9/10 || report.Memory.Anon < limit/2 {
			t.Errorf("limit %+v, memory %+v", report.Limit, report.Memory)
		}
		if i := slices.IndexFunc(report.Tasks, func(task oom.Process) bool { return task.PID == p.PID }); i < 0 || report.Tasks[i].Resident() < limit/2 {
			t.Errorf("tasks %+v", report.Tasks)
		}
	}
	if r.lost > 0 {
		t.Errorf("%d records lost", r.lost)
	}
}

// The kernel logs ten headers in five seconds, and all kills.
func TestBurst(t *testing.T) {
	const kills = 25
	// A cgroup for each: one that is full could kill this process, whose memory a child has until it is another program.
	var groups []*cgroup.Group
	for range kills {
		groups = append(groups, group(t, cgroup.Limit{Memory: limit}))
	}
	r := follow(t, 0)
	var all []*exec.Cmd
	for _, g := range groups {
		all = append(all, child(t, g, fmt.Sprintf("%s=%d", takeEnv, beyond)))
	}
	bare := 0
	for i, cmd := range all {
		killed(t, cmd)
		pid := cmd.Process.Pid
		reports := r.of(pid)
		if len(reports) != 1 {
			t.Errorf("%d reports of process %d", len(reports), pid)
		}
		p := reports[0]
		switch {
		case !p.Header && (p.Cgroup != "" || p.Limit.Scope != oom.ScopeUnknown || p.Tasks != nil):
			t.Errorf("no header, but %+v", p)
		case !p.Header:
			bare++
		case !strings.HasSuffix(p.Cgroup, "/"+filepath.Base(groups[i].Dir())):
			t.Errorf("in %s, want %s", p.Cgroup, groups[i].Dir())
		}
	}
	t.Logf("%d kills, %d without a header", kills, bare)
	if bare == 0 {
		t.Error("all kills had a header: the test shows nothing")
	}
}

// A restart neither loses a kill nor tells of it twice.
func TestRestart(t *testing.T) {
	g := group(t, cgroup.Limit{Memory: limit})
	first := follow(t, 0)
	before, _ := kill(t, g, "before")
	handled := first.of(before)[0].Seq
	first.stop()
	between, _ := kill(t, g, "between")
	for range 3 {
		next := follow(t, handled)
		report := next.of(between)[0]
		if next.changed.L.Lock(); len(next.about(before)) != 0 || len(next.about(between)) != 1 {
			t.Errorf("%d reports of what was handled, %d of the next", len(next.about(before)), len(next.about(between)))
		}
		if next.at < report.Seq || next.lost > 0 {
			t.Errorf("at %d after %d, %d lost", next.at, report.Seq, next.lost)
		}
		next.changed.L.Unlock()
		next.stop()
		// In the middle of the report: its header is before the position.
		middle := follow(t, report.Seq-1)
		if again := middle.of(between)[0]; again.Header != report.Header || again.Cgroup != report.Cgroup || len(again.Tasks) != len(report.Tasks) {
			t.Errorf("from its last line on: %+v, want %+v", again, report)
		}
		middle.stop()
		done := follow(t, next.at)
		if done.changed.L.Lock(); len(done.about(between)) != 0 {
			t.Error("told of again")
		}
		done.changed.L.Unlock()
		done.stop()
	}
}

// The position moves on when nobody is killed.
func TestPositionIsTold(t *testing.T) {
	g := group(t, cgroup.Limit{Memory: limit})
	r := follow(t, 0)
	begin := r.at
	pid, _ := kill(t, g, "position")
	seq := r.of(pid)[0].Seq
	r.until("the position", func() bool { return r.at >= seq })
	if seq <= begin {
		t.Errorf("a kill at %d, the end before was %d", seq, begin)
	}
}

func TestUnavailable(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "kmsg")
	err := kmsg.Follow(t.Context(), kmsg.Options{Path: missing}, nil, nil, nil)
	if !errors.As(err, new(*kmsg.UnavailableError)) || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "mount") {
		t.Errorf("no such file: %v", err)
	}
	if err := os.WriteFile(missing, []byte("6,1,2,-;not the kernel's\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err = kmsg.Follow(t.Context(), kmsg.Options{Path: missing}, nil, func(oom.Lost) {}, func(uint64) {})
	if !errors.As(err, new(*kmsg.UnavailableError)) {
		t.Errorf("a plain file: %v", err)
	}
	testkit.Need(t, testkit.Root)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), deniedEnv+"=yes")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.Output()
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != deniedExit || !bytes.Contains(out, []byte("CAP_SYSLOG")) {
		t.Errorf("as nobody: %v, %s", err, out)
	}
}

// With memory.oom.group the kernel kills all of a group, and names its victim twice.
func TestGroupKill(t *testing.T) {
	testkit.Need(t, testkit.CgroupV2)
	g := group(t, cgroup.Limit{Memory: limit, KillGroup: true})
	r := follow(t, 0)
	stays := exec.Command("/proc/self/exe")
	stays.Env = append(os.Environ(), stayEnv+"=yes", nameEnv+"=member")
	if _, err := stays.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	up, err := stays.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(stays); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(up, make([]byte, len(isUp))); err != nil {
		t.Fatal(err)
	}
	victim, _ := kill(t, g, "victim")
	if err := stays.Wait(); stays.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the other member ended with %v", err)
	}
	other := r.of(stays.Process.Pid)[0]
	r.until("the end of the group", func() bool { return len(r.about(victim)) >= 2 })
	own := "/" + filepath.Base(g.Dir())
	if other.Group != victim || other.Repeated != 0 || !strings.HasSuffix(other.Cgroup, own) || other.Process.Comm != "member" || other.Header && other.Limit.Bytes != limit {
		t.Errorf("the other member: %+v", other)
	}
	r.changed.L.Lock()
	defer r.changed.L.Unlock()
	all := r.about(victim)
	if all[0].Group != 0 || all[1].Group != victim || all[1].Seq != all[0].Seq || all[1].Repeated != 0 {
		t.Errorf("the victim: %+v", all)
	}
	for _, more := range all[2:] {
		if more.Repeated != 1 || more.Group != victim || more.Seq == all[0].Seq || !strings.HasSuffix(more.Cgroup, own) {
			t.Errorf("the victim once more: %+v", more)
		}
	}
}

// A reader that is overrun goes on, and says how much it missed.
func TestOverrun(t *testing.T) {
	if _, err := os.Stat("/vm/plan.json"); err != nil {
		t.Skip("this fills the kernel log of the whole machine: only in one of its own, by test/vm")
	}
	g := group(t, cgroup.Limit{Memory: limit})
	if err := os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on\n"), 0); err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	hold, held := make(chan struct{}), make(chan struct{})
	var lost atomic.Uint64
	var last atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- kmsg.Follow(ctx, kmsg.Options{}, func(r oom.Report) {
			switch r.Process.Comm {
			case "slow":
				close(held)
				<-hold // meanwhile the log runs over
			case "after":
				last.Store(int64(r.Process.PID))
				cancel()
			}
		}, func(l oom.Lost) { lost.Add(l.Records) }, func(uint64) {})
	}()
	kill(t, g, "slow")
	<-held
	text := []byte("<7>" + strings.Repeat("x", 900))
	const records = 20_000
	for range records {
		if _, err := log.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	close(hold)
	pid, _ := kill(t, g, "after")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d records lost of %d and some", lost.Load(), records)
	if last.Load() != int64(pid) || lost.Load() < records/2 || lost.Load() > records+1000 {
		t.Errorf("the last kill is of %d, want %d; %d records lost", last.Load(), pid, lost.Load())
	}
}
