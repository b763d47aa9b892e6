package kmsg

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"stella/internal/oom"
)

// killedForms are what the kernel prints, by version.
var killedForms = []struct {
	name  string
	line  string // of the pid, the uid and the name
	uid   bool
	sizes bool
}{
	{"2.6.18", "Out of memory: Killed process %[1]d, UID %[2]d, (%[3]s).", true, false},
	{"2.6.32, EL6", "Killed process %[1]d, UID %[2]d, (%[3]s) total-vm:10kB, anon-rss:7kB, file-rss:5kB", true, true},
	{"2.6.34", "Killed process %[1]d (%[3]s) vsz:10kB, anon-rss:7kB, file-rss:5kB", false, true},
	{"3.10", "Killed process %[1]d (%[3]s) total-vm:10kB, anon-rss:7kB, file-rss:5kB", false, true},
	{"3.10, late EL7", "Killed process %[1]d (%[3]s), UID %[2]d, total-vm:10kB, anon-rss:7kB, file-rss:5kB, shmem-rss:0kB", true, true},
	{"5.1", "Memory cgroup out of memory: Killed process %[1]d (%[3]s) total-vm:10kB, anon-rss:7kB, file-rss:5kB, shmem-rss:0kB", false, true},
	{"5.4 and later", "Out of memory: Killed process %[1]d (%[3]s) total-vm:10kB, anon-rss:7kB, file-rss:5kB, shmem-rss:0kB, UID:%[2]d pgtables:3kB oom_score_adj:-7", true, true},
	{"oom_kill_allocating_task", "Out of memory (oom_kill_allocating_task): Killed process %[1]d (%[3]s) total-vm:10kB, anon-rss:7kB, file-rss:5kB, shmem-rss:0kB, UID:%[2]d pgtables:3kB oom_score_adj:-7", true, true},
}

// comms are names that try to be something else. The kernel's have 15 bytes at most.
var comms = []string{
	"", "java", "VM Thread", "(sd-pam)", "Plex Media Serv", "x) total-vm:1kB", "a,pid=1,uid=0", "x), UID 7, tota", ") total-vm:9kB,",
	"a, UID:7 pgtabl", "b,task=c", ",task=,pid=9,ui", "Killed process ", "\n\x00\xff\\", " ", ")", "((", "). vsz:1kB (",
}

// Whatever a process calls itself, its line is read as the kernel wrote it.
func FuzzKilled(f *testing.F) {
	for _, comm := range comms {
		f.Add(uint32(4711), uint32(1000), []byte(comm))
	}
	f.Fuzz(func(t *testing.T, pid, uid uint32, comm []byte) {
		pid = pid%(4<<20) + 1
		comm = comm[:min(len(comm), 15)]
		for _, form := range killedForms {
			line := format(form.line, pid, uid, comm)
			k, ok := parseKilled(line)
			if !ok || k.process.PID != int(pid) || !bytes.Equal(k.comm, comm) {
				t.Fatalf("%s: %q is of %d %q, %t", form.name, line, k.process.PID, k.comm, ok)
			}
			if form.uid && k.process.UID != int(uid) || !form.uid && k.process.UID != -1 {
				t.Fatalf("%s: %q is of user %d", form.name, line, k.process.UID)
			}
			if form.sizes && (k.process.Total != 10<<10 || k.process.Anon != 7<<10 || k.process.File != 5<<10 || k.process.Shmem != 0) {
				t.Fatalf("%s: %q has %+v", form.name, line, k.process)
			}
			// A line that was cut is of that process or of none.
			for n := range line {
				if k, ok := parseKilled(line[:n]); ok && k.process.PID != int(pid) {
					t.Fatalf("%s: %q is of %d", form.name, line[:n], k.process.PID)
				}
			}
		}
	})
}

// format fills in a form, with a name that may be any bytes.
func format(form string, pid, uid uint32, comm []byte) []byte {
	const mark = "\x01MARK\x01"
	text := fmt.Appendf(nil, form, pid, uid, mark)
	if !strings.Contains(form, "%[2]d") { // fmt complains of what is not used
		text = fmt.Appendf(nil, strings.ReplaceAll(form, "%[3]s", "%[2]s"), pid, mark)
	}
	return bytes.Replace(text, []byte(mark), comm, 1)
}

// paths are of cgroups: one, and another below it.
var paths = [][2]string{
	{"/", "/"}, {"/", "/a"}, {"/a", "/a"}, {"/kubepods/pod1", "/kubepods/pod1/c1"},
	{"/a", "/a/b,task_memcg=/a/c"}, {"/a,task_memcg=/a/b", "/a,task_memcg=/a/b"}, {"/a,global_oom,task_memcg=/", "/a,global_oom,task_memcg=//x"},
	{"/x,oom_memcg=/y", "/x,oom_memcg=/y/z"}, {"/u/a,task=y,pid=1,uid=0", "/u/a,task=y,pid=1,uid=0/c"},
}

// Whatever a cgroup and a process are called, the line is read as the kernel wrote it.
func FuzzConstraint(f *testing.F) {
	for _, p := range paths {
		for _, comm := range comms {
			f.Add([]byte(p[0]), []byte(strings.TrimPrefix(p[1], p[0])), []byte(comm), []byte("cpu,oom_memcg=,global_oom,task_memcg="), uint32(9), uint32(0))
		}
	}
	f.Fuzz(func(t *testing.T, limit, below, comm, cpuset []byte, pid, uid uint32) {
		pid = pid%(4<<20) + 1
		comm = comm[:min(len(comm), 15)]
		cpuset = bytes.ReplaceAll(cpuset, []byte("/"), nil) // a name, no path
		limit = path(limit)
		victim := bytes.Clone(limit)
		if len(below) > 0 {
			victim = path(append(append(victim, '/'), below...))
		}
		k := &killed{process: oom.Process{PID: int(pid)}, comm: comm}
		tail := fmt.Appendf(nil, ",task_memcg=%s,task=%s,pid=%d,uid=%d", victim, comm, pid, uid)
		head := fmt.Appendf(nil, "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=%s,mems_allowed=0", cpuset)
		check := func(line []byte, scope oom.Scope, limit, victim []byte) {
			c := parseConstraint(line, k, limit)
			if c.scope != scope || c.pid != int(pid) || c.uid != int(uid) || !bytes.Equal(c.limit, limit) || !bytes.Equal(c.victim, victim) {
				t.Fatalf("%q: %s, limit %q, victim %q, pid %d, uid %d", line, c.scope, c.limit, c.victim, c.pid, c.uid)
			}
		}
		line := fmt.Appendf(nil, "%s,oom_memcg=%s%s", head, limit, tail)
		check(line, oom.ScopeCgroup, limit, victim)
		global := fmt.Appendf(nil, "%s,global_oom%s", head, tail)
		check(global, oom.ScopeNode, nil, victim)
		for n := range line { // what is cut has no wrong path of a victim
			if c := parseConstraint(line[:n], k, limit); len(c.victim) > 0 && c.pid == 0 {
				t.Fatalf("%q: victim in %q", line[:n], c.victim)
			}
		}
	})
}

// path makes a path of any bytes: no empty names, no line feeds.
func path(b []byte) []byte {
	var p []byte
	for name := range bytes.SplitSeq(bytes.ReplaceAll(b, []byte("\n"), nil), []byte("/")) {
		if len(name) > 0 {
			p = append(append(p, '/'), name...)
		}
	}
	if p == nil {
		return []byte("/")
	}
	return p
}

func TestTaskIn(t *testing.T) {
	const middle = " killed as a result of limit of "
	for _, p := range append(paths, [2]string{"/a", "/a/x" + middle + "/b"}, [2]string{"/a" + middle + "/", "/a" + middle + "/"}) {
		victim, limit, ok := parseTaskIn([]byte("Task in " + p[1] + middle + p[0]))
		if !ok || string(victim) != p[1] || string(limit) != p[0] {
			t.Errorf("%q in %q: %q, %q, %t", p[1], p[0], victim, limit, ok)
		}
	}
	for _, line := range []string{"Task in /a", "Task in /a" + middle, "Task in /a" + middle + "/b", "Tasks in /a" + middle + "/a"} {
		if _, _, ok := parseTaskIn([]byte(line)); ok {
			t.Errorf("%q is taken", line)
		}
	}
}

// What is not the line of a kill.
func TestNoKill(t *testing.T) {
	for _, line := range []string{
		"", "Killed process", "Killed process ", "Killed process x (a)", "Killed process -1 (a)", "Killed process 0 (a)", "Killed process 12", "Killed process 12[3]: segfault",
		"Killed process 99999999999999999999 (a) total-vm:1kB", "Kill process 1 (a) score 1 or sacrifice child", "killed process 1 (a)", "x Killed process 1 (a)",
		"Memory cgroup out of memory: Kill process 1 (a) score 1 or sacrifice child", "Out of memory and no killable processes...",
		"oom_reaper: reaped process 1 (a), now anon-rss:0kB", "Memory cgroup out of memory: OOM victim 1 (a) is already exiting. Skip killing the task",
		"oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/,task=a,pid=1,uid=0",
	} {
		var r Reports
		if report, ok := r.Line(Line{Text: []byte(line)}); ok {
			t.Errorf("%q: %+v", line, report)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte("6,339,5140900,-;NET: Registered protocol family 10\n"))
	f.Add([]byte("30,340,5690716,-,caller=T1;udevd[80]: \\x0a\\xff\\x5c\n SUBSYSTEM=acpi\n DEVICE=+acpi:PNP0A03:00\n"))
	f.Add([]byte("4,18446744073709551615,9223372036854775807,c;x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := ParseRecord(bytes.Clone(b))
		if ok && (r.Level < 0 || r.Level > 7 || r.Facility < 0 || r.Monotonic < 0 || len(r.Text) > len(b) || !bytes.Contains(b, []byte(";"))) {
			t.Fatalf("%q: %+v", b, r)
		}
		// Whatever a text is, written as the kernel does it is read again.
		text := bytes.ReplaceAll(b, []byte("\n"), []byte("\r"))
		escaped := []byte("6,7,8,-,caller=C3;")
		for _, c := range text {
			if c < ' ' || c >= 127 || c == '\\' {
				escaped = fmt.Appendf(escaped, "\\x%02x", c)
			} else {
				escaped = append(escaped, c)
			}
		}
		r, ok = ParseRecord(append(escaped, "\n SUBSYSTEM=x\n"...))
		if !ok || !bytes.Equal(r.Text, text) || r.Seq != 7 || r.Level != 6 || r.Facility != 0 || string(r.Caller) != "C3" || r.Monotonic.Microseconds() != 8 {
			t.Fatalf("%q: %+v, %t", escaped, r, ok)
		}
	})
}
