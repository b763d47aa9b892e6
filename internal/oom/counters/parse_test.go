package counters

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"stella/internal/oom"
)

func TestKeyed(t *testing.T) {
	const text = "oom_kill_disable 0\nunder_oom 0\noom_kill 12\noom_group_kill 3\nlast 9"
	for key, want := range map[string]int64{"oom_kill": 12, "oom_kill_disable": 0, "oom_group_kill": 3, "last": 9, "oom": -1, "": -1, "oom_kill 12": -1} {
		n, ok := keyed([]byte(text), key)
		if ok != (want >= 0) || ok && n != want {
			t.Errorf("%q: %d %t, want %d", key, n, ok, want)
		}
	}
	for _, bad := range []string{"", "oom_kill", "oom_kill ", "oom_kill \n", "oom_kill -1\n", "oom_kill 1x\n", "oom_kill 9223372036854775808\n", "oom_kill  1\n"} {
		if n, ok := keyed([]byte(bad), "oom_kill"); ok {
			t.Errorf("%q: %d", bad, n)
		}
	}
	if n, ok := keyed([]byte("oom_kill 9223372036854775807\n"), "oom_kill"); !ok || n != 1<<63-1 {
		t.Errorf("%d %t", n, ok)
	}
}

func TestPIDs(t *testing.T) {
	got := slices.Collect(pids([]byte("1\n0\nx\n-3\n4194304\n99999999999\n7\n12")))
	if want := []int32{1, 4194304, 7}; !slices.Equal(got, want) { // 12 can be the beginning of a longer one
		t.Errorf("%v, want %v", got, want)
	}
}

func TestParseStatus(t *testing.T) {
	const text = "Name:\ta\\n:\\tb\\\\n c\nState:\tR (running)\nPid:\t7\nUid:\t1000\t0\t0\t0\n" +
		"VmSize:\t    2048 kB\nRssAnon:\t     512 kB\nRssFile:\t       4 kB\nRssShmem:\t       8 kB\nVmPTE:\t      16 kB\nThreads:\t1\n"
	p := oom.Process{PID: 7}
	parseStatus([]byte(text), &p)
	want := oom.Process{PID: 7, Comm: "a\n:tb\\n c", UID: 1000, Total: 2 << 20, Anon: 512 << 10, File: 4 << 10, Shmem: 8 << 10, PageTables: 16 << 10}
	if p != want {
		t.Errorf("%+v, want %+v", p, want)
	}
	parseStatus(nil, &p)
	if p.UID != -1 {
		t.Errorf("a user that is not told: %d", p.UID)
	}
}

func TestMemoryCgroup(t *testing.T) {
	const hybrid = "9:name=systemd:/memory\n4:cpu,memory:/a:b/c (deleted)\n3:memory_x:/x\n0::/unified\n"
	for _, c := range []struct {
		text    string
		version int
		want    string
	}{
		{hybrid, 1, "/a:b/c (deleted)"},
		{hybrid, 2, "/unified"},
		{"0::/a b\n", 2, "/a b"},
		{"1::/x\n", 2, ""},
		{"0:memory:/x\n", 2, ""},
		{"junk\n\n:\n", 1, ""},
	} {
		got, ok := memoryCgroup([]byte(c.text), c.version)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%q v%d: %q %t, want %q", c.text, c.version, got, ok, c.want)
		}
	}
}

// Whatever the text is: a number is not negative, a pid is positive, a path is part of it.
func FuzzParsers(f *testing.F) {
	f.Add("oom_kill 1\n4:memory:/a\n0::/b\nName:\tx\\n\nVmSize:\t  1 kB\n7\n")
	f.Add("oom_kill 99999999999999999999\n0::\n:memory:\nName:\t\\\nUid:\t\n")
	f.Fuzz(func(t *testing.T, text string) {
		if n, ok := keyed([]byte(text), "oom_kill"); ok && n < 0 {
			t.Errorf("%d", n)
		}
		for pid := range pids([]byte(text)) {
			if pid <= 0 {
				t.Errorf("%d", pid)
			}
		}
		for _, version := range []int{1, 2} {
			if path, ok := memoryCgroup([]byte(text), version); ok && !strings.Contains(text, path) {
				t.Errorf("%q", path)
			}
		}
		var p oom.Process
		if parseStatus([]byte(text), &p); len(p.Comm) > len(text) {
			t.Errorf("%+v", p)
		}
	})
}

func TestTableIsBounded(t *testing.T) {
	var table table
	now := time.Now()
	const all = 2*maxNoted + 10
	for i := range int32(all) {
		table.note(noted{pid: i + 1, cgroup: "/a", id: 1, at: now, process: oom.Process{PID: int(i + 1), Total: 1, Anon: int64(i)}})
	}
	if len(table.ring) != maxNoted || cap(table.ring) > 2*maxNoted || len(table.byPID) != maxNoted {
		t.Errorf("%d entries (room for %d), %d pids; want %d", len(table.ring), cap(table.ring), len(table.byPID), maxNoted)
	}
	for pid, want := range map[int32]bool{all: true, all - maxNoted + 1: true, all - maxNoted: false, 1: false} {
		if n, ok := table.lookup(pid, now); ok != want || ok && n.process.PID != int(pid) {
			t.Errorf("%d: %+v %t, want %t", pid, n, ok, want)
		}
	}
	if _, ok := table.lookup(all, now.Add(noteFor+1)); ok {
		t.Error("a process is known for ever")
	}
	largest := table.of(1, now)
	if len(largest) != maxProcesses || largest[0].Anon != all-1 || len(table.of(2, now)) != 0 || len(table.of(1, now.Add(1))) != 0 {
		t.Errorf("%+v", largest)
	}
	// One that has given its memory back, and one that is in another cgroup now.
	table.note(noted{pid: all, cgroup: "/a", id: 1, at: now, process: oom.Process{PID: all}})
	if n, _ := table.lookup(all, now); n.process.Anon != all-1 {
		t.Errorf("%+v", n)
	}
	table.note(noted{pid: all, cgroup: "/b", id: 2, at: now, process: oom.Process{PID: all}})
	if n, _ := table.lookup(all, now); n.process.Anon != 0 || n.cgroup != "/b" {
		t.Errorf("%+v", n)
	}
}

func TestAccount(t *testing.T) {
	var a account
	a.begin(3, 5) // 3 were told; of the 5 of its own that there are now, at least 2 are new
	if rise, own := a.advance(7, 5); rise != 4 || own != 2 || a.loose != 2 {
		t.Errorf("%d %d %+v", rise, own, a)
	}
	if n := a.settle(a.loose); n != 0 {
		t.Errorf("%d were told at once", n)
	}
	a.advance(8, 5)
	if n := a.settle(a.loose); n != 2 {
		t.Errorf("%d were told, want the 2 that were there a round before", n)
	}
	if n := a.settle(a.loose); n != 1 {
		t.Errorf("%d were told, want the last", n)
	}
	if rise, own := a.advance(1, 1); rise != 1 || own != 1 || a.loose != 0 { // it began anew
		t.Errorf("%d %d %+v", rise, own, a)
	}
	a.loose = -3
	if n := a.overtold(5, a.loose); n != 3 || a.loose != 0 || a.overtold(5, a.loose) != 0 {
		t.Errorf("%d %+v", n, a)
	}
	if fmt.Sprint(a.settle(a.loose)) != "0" {
		t.Error("something is loose")
	}
}
