package kmsg_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/oom"
	"stella/internal/oom/corpus"
	"stella/internal/oom/kmsg"
)

// feed gives lines to r, and returns its reports. A line is "[T1]text" where the caller is known; each comes 1 ms after the one before.
func feed(r *kmsg.Reports, from time.Duration, lines ...string) (all []oom.Report) {
	for i, text := range lines {
		l := kmsg.Line{Seq: uint64(i + 1), Monotonic: from + time.Duration(i)*time.Millisecond}
		if rest, ok := strings.CutPrefix(text, "[T"); ok && !strings.HasPrefix(text, "[ ") {
			caller, after, _ := strings.Cut(rest, "]")
			l.Caller, text = []byte("T"+caller), after
		}
		l.Text = []byte(text)
		if report, ok := r.Line(l); ok {
			all = append(all, report)
		}
	}
	return all
}

const second = time.Second

// old is a report of 3.10 for a process of a cgroup, whose limit is number kB, in its lines.
func old(cgroup string, pid, number int) []string {
	return []string{
		fmt.Sprintf("p%d invoked oom-killer: gfp_mask=0xd0, order=0, oom_score_adj=0", pid),
		fmt.Sprintf("p%d cpuset=/ mems_allowed=0", pid),
		fmt.Sprintf("CPU: 1 PID: %d Comm: p%d Not tainted 3.10.0-1160.el7.x86_64 #1", pid, pid),
		fmt.Sprintf("Task in %s killed as a result of limit of %s", cgroup, cgroup),
		fmt.Sprintf("memory: usage %dkB, limit %dkB, failcnt 9", number, number),
		"[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name",
		fmt.Sprintf("[%5d]     0  %d   10000     3000      20        0             0 p%d", pid, pid, pid),
		fmt.Sprintf("Memory cgroup out of memory: Kill process %d (p%d) score 900 or sacrifice child", pid, pid),
		fmt.Sprintf("Killed process %d (p%d) total-vm:40000kB, anon-rss:12000kB, file-rss:0kB", pid, pid),
	}
}

// Before Linux 4.2 two processors could write reports at the same time.
func TestInterleaved(t *testing.T) {
	a, b := old("/a", 11, 1000), old("/b", 22, 2000)
	for name, shift := range map[string]int{"line by line": 0, "one is later": 3, "much later": 7} {
		for _, callers := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, callers %t", name, callers), func(t *testing.T) {
				var lines []string
				for i := range len(a) + shift {
					if i < len(a) {
						lines = append(lines, mark(a[i], "[T11]", callers))
					}
					if i >= shift {
						lines = append(lines, mark(b[i-shift], "[T22]", callers))
					}
				}
				var r kmsg.Reports
				for i, report := range feed(&r, second, lines...) {
					pid := []int{11, 22}[i]
					cgroup, limit := []string{"/a", "/b"}[i], int64(pid/11*1000<<10)
					if report.Process.PID != pid || report.Cgroup != cgroup || report.Limit.Bytes != limit || report.Invoker != fmt.Sprintf("p%d", pid) || len(report.Tasks) != 1 {
						t.Errorf("%+v", report)
					}
				}
				if r.Open() || r.Unfinished() != 0 {
					t.Errorf("%d headers are left", r.Unfinished())
				}
			})
		}
	}
}

func mark(line, caller string, callers bool) string {
	if callers {
		return caller + line
	}
	return line
}

// Of two reports the one that began later is the first to name its process.
func TestOvertaken(t *testing.T) {
	begin := func(pid int) []string { return append(old("/x", pid, pid*100)[:3:3], old("/x", pid, pid*100)[4]) }
	end := func(cgroup string, pid int) []string {
		return []string{
			fmt.Sprintf("oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=%s,task_memcg=%s,task=p%d,pid=%d,uid=0", cgroup, cgroup, pid, pid),
			fmt.Sprintf("Memory cgroup out of memory: Killed process %d (p%d) total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB", pid, pid),
		}
	}
	var r kmsg.Reports
	all := feed(&r, second, slices.Concat(begin(11), begin(22), end("/b", 22), end("/a", 11))...)
	if len(all) != 2 || all[0].Limit.Bytes != 2200<<10 || all[0].Cgroup != "/b" || all[1].Limit.Bytes != 1100<<10 || all[1].Cgroup != "/a" {
		t.Errorf("%+v", all)
	}
}

// A line that comes in pieces, because another processor logged between them.
func TestPieces(t *testing.T) {
	var r kmsg.Reports
	all := feed(&r, second,
		"x invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
		"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null)", "eth0: link up", ",cpuset=c,mems_allowed=0", ",oom_memcg=", "eth1: link up", "/pod", ",task_memcg=", "/pod/c",
		",task=x,pid=7,uid=5",
		"Memory cgroup out of memory: Killed process 7 (x) total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB")
	if len(all) != 1 || all[0].Cgroup != "/pod/c" || all[0].Limit.Cgroup != "/pod" || all[0].Process.UID != 5 {
		t.Errorf("%+v", all)
	}
}

// The victim of a group kill is told of up to three times, its first time at once.
func TestGroup(t *testing.T) {
	kill := func(pid int) string {
		return fmt.Sprintf("Memory cgroup out of memory: Killed process %d (p) total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB", pid)
	}
	const group = "Tasks in /pod are going to be killed due to memory.oom.group set"
	type told struct {
		PID, Group, Repeated int
		Cgroup               string
	}
	for name, c := range map[string]struct {
		lines []string
		want  []told
	}{
		"without a header": {[]string{kill(1), group, kill(2), kill(1), kill(3)}, []told{{PID: 1}, {1, 1, 0, "/pod"}, {2, 1, 0, "/pod"}, {1, 1, 1, "/pod"}, {3, 1, 0, "/pod"}}},
		"of another thread": {[]string{"[T5]" + kill(1), "[T5]" + group, "[T6]" + kill(2), "[T5]" + kill(3)},
			[]told{{PID: 1}, {1, 1, 0, "/pod"}, {PID: 2}}}, // 3 is behind the kill of another: rather too little than wrong
		"no kill before":  {[]string{group, kill(2)}, []told{{PID: 2}}},
		"a header behind": {[]string{kill(1), group, "y invoked oom-killer: gfp_mask=0x0, order=0, oom_score_adj=0", kill(2)}, []told{{PID: 1}, {1, 1, 0, "/pod"}, {PID: 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			var r kmsg.Reports
			var got []told
			for _, report := range feed(&r, second, c.lines...) {
				got = append(got, told{report.Process.PID, report.Group, report.Repeated, report.Cgroup})
			}
			if len(got) > len(c.want) {
				got = got[:len(c.want)]
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	var r kmsg.Reports
	feed(&r, second, kill(1), group)
	if late := feed(&r, 5*second, kill(2)); late[0].Group != 0 {
		t.Errorf("a kill 4 s later is of the group: %+v", late)
	}
}

// A kill says what it is of even where its header is not there.
func TestScopeWithoutHeader(t *testing.T) {
	var r kmsg.Reports
	for line, want := range map[string]oom.Scope{
		"Out of memory: Killed process 1 (p) total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB":               oom.ScopeNode,
		"Memory cgroup out of memory: Killed process 1 (p) total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB": oom.ScopeUnknown,
		"Killed process 1 (p) total-vm:4kB, anon-rss:4kB, file-rss:0kB":                                             oom.ScopeUnknown,
	} {
		if all := feed(&r, second, line); len(all) != 1 || all[0].Limit.Scope != want || all[0].Header || all[0].Process.UID != -1 {
			t.Errorf("%q: %+v", line, all)
		}
	}
}

// However many headers have no kill, and however large their tables are, only so much is kept.
func TestBounds(t *testing.T) {
	var r kmsg.Reports
	for i := range 1000 {
		lines := old(fmt.Sprintf("/%d", i), 100_000+i, 1000)
		feed(&r, second, lines[:len(lines)-3]...)
	}
	if r.Unfinished() != 1000 {
		t.Errorf("%d headers without a kill", r.Unfinished())
	}
	for i := range 100_000 {
		feed(&r, second, fmt.Sprintf("[%5d]     0  1   10000  %d      20        0             0 %s", i+1, i%5000, strings.Repeat("n", 100)))
	}
	all := feed(&r, second, "Memory cgroup out of memory: Kill process 7 (p) score 900 or sacrifice child", "Killed process 7 (p) total-vm:8kB, anon-rss:8kB, file-rss:0kB")
	if len(all) != 1 || len(all[0].Tasks) != oom.MaxTasks || all[0].TasksLeftOut < 100_000-oom.MaxTasks || all[0].Tasks[0].Resident() != 4999*4096 {
		t.Fatalf("%+v", all)
	}
	if last := all[0].Tasks[oom.MaxTasks-1]; last.PID != 7 || last.Anon != 8<<10 {
		t.Errorf("the victim is not among the tasks: %+v", last)
	}
	for range 2 * 50_000 { // without a time
		r.Line(kmsg.Line{Text: []byte("eth0: link up")})
	}
	if r.Open() {
		t.Error("a header is still open after so many lines")
	}
}

// Lines that have nothing to do with it cost nothing.
func TestNoAllocations(t *testing.T) {
	var r kmsg.Reports
	lines := make([][]byte, len(corpus.Noise))
	for i, n := range corpus.Noise {
		lines[i] = []byte(n)
	}
	one := func() {
		for _, text := range lines {
			r.Line(kmsg.Line{Seq: 1, Monotonic: second, Text: text})
		}
	}
	if n := testing.AllocsPerRun(100, one); n != 0 {
		t.Errorf("%v allocations", n)
	}
	feed(&r, second, old("/a", 7, 1000)[:7]...)
	if n := testing.AllocsPerRun(100, one); n != 0 {
		t.Errorf("%v allocations while a header is open", n)
	}
}

// Whatever the lines are, each makes one report at most, and that of the process that it names.
func FuzzReports(f *testing.F) {
	cases, err := corpus.Cases()
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		f.Add(c.Log)
	}
	f.Add([]byte(strings.Join(old("/a", 7, 1000), "\n")))
	f.Fuzz(func(t *testing.T, log []byte) {
		var r kmsg.Reports
		lines, kills := 0, 0
		for text := range bytes.SplitSeq(log, []byte("\n")) {
			lines++
			report, ok := r.Line(kmsg.Line{Seq: uint64(lines), Monotonic: time.Duration(lines), Text: text})
			if !ok {
				continue
			}
			kills++
			p := report.Process
			if p.PID <= 0 || p.UID < -1 || p.Resident() < 0 || report.Limit.Bytes < 0 || report.Limit.Usage < 0 || len(report.Tasks) > oom.MaxTasks || report.TasksLeftOut < 0 {
				t.Fatalf("%q: %+v", text, report)
			}
			if !bytes.Contains(text, []byte(fmt.Sprint(p.PID))) && report.Group != p.PID {
				t.Fatalf("%q: of process %d", text, p.PID)
			}
		}
		if kills+r.Unfinished() > lines {
			t.Fatalf("%d kills and %d headers in %d lines", kills, r.Unfinished(), lines)
		}
	})
}
