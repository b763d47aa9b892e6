package victims_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/oom"
	"stella/internal/oom/victims"
	"stella/internal/testkit"
)

// patience is for what happens at once where the machine has nothing else to do.
const patience = time.Minute

func TestOwnLimit(t *testing.T) {
	v, p := open(t, bpffs(t)), newPart(t)
	p.make("/a", 32*mib)
	for _, name := range []string{"plain", "x) total-vm:1kB", "a,pid=1,uid=0", "é\tb"} {
		begin := time.Now()
		c := p.kill("/a", name, 64*mib)
		p.want(v, c, "/a", "/a", 32*mib)
		got, _ := v.Find(c.Process.Pid)
		if got.Time.Before(begin) || got.Time.After(time.Now()) {
			t.Errorf("noted at %v, begun at %v", got.Time, begin)
		}
	}
}

// The victim's own limit, those above it, and which of them it was when several have fired before.
func TestLimitAbove(t *testing.T) {
	v, p := open(t, bpffs(t)), newPart(t)
	p.make("/pod", 64*mib)
	p.make("/pod/mid", 0)
	p.make("/pod/mid/small", 16*mib)
	p.make("/pod/mid/wide", 256*mib)
	p.want(v, p.kill("/pod/mid/wide", "by the pod", 128*mib), "/pod/mid/wide", "/pod", 64*mib)
	p.want(v, p.kill("/pod/mid/small", "by itself", 128*mib), "/pod/mid/small", "/pod/mid/small", 16*mib)
	p.want(v, p.kill("/pod/mid/wide", "the pod again", 128*mib), "/pod/mid/wide", "/pod", 64*mib)
	p.limit("/pod/mid/wide", 32*mib)
	p.want(v, p.kill("/pod/mid/wide", "by itself too", 128*mib), "/pod/mid/wide", "/pod/mid/wide", 32*mib)
}

// The victim need not be the one that asked, nor in its cgroup, which fired before.
func TestInnocent(t *testing.T) {
	v, p := open(t, bpffs(t)), newPart(t)
	p.make("/pod", 64*mib)
	p.make("/pod/a", 48*mib)
	p.make("/pod/b", 48*mib)
	p.want(v, p.kill("/pod/a", "counted before", 64*mib), "/pod/a", "/pod/a", 48*mib)
	large := p.start("/pod/a", "large", 40*mib)
	asks := p.start("/pod/b", "asks", 32*mib)
	p.killed(large)
	p.want(v, large, "/pod/a", "/pod", 64*mib)
	if ids := v.Invoker(large.Process.Pid); len(ids) < 2 || ids[0] != p.id("/pod/b") || ids[1] != p.id("/pod") {
		t.Errorf("asked in %d, want %d, %d", ids, p.id("/pod/b"), p.id("/pod"))
	}
	asks.stdin.Close()
	_ = asks.Wait() // killed as well, where the memory of the other is not free at once
	if _, noted := v.Find(asks.Process.Pid); noted == asks.ProcessState.Success() {
		t.Errorf("it ended with %v, noted %t", asks.ProcessState, noted)
	}
}

func TestGroupKill(t *testing.T) {
	testkit.Need(t, testkit.CgroupV2)
	v, p := open(t, bpffs(t)), newPart(t)
	p.make("/all", 64*mib)
	p.write("/all", "memory.oom.group", "1")
	p.make("/all/a", 0)
	p.make("/all/b", 0)
	others := []*process{p.start("/all/a", "first", 4*mib), p.start("/all/b", "second", 4*mib)}
	p.want(v, p.kill("/all/b", "chosen", 128*mib), "/all/b", "/all", 64*mib)
	for i, path := range []string{"/all/a", "/all/b"} {
		p.killed(others[i])
		p.want(v, others[i], path, "/all", 64*mib)
	}
}

// Nobody but the OOM killer makes a note.
func TestNoKill(t *testing.T) {
	v, p := open(t, bpffs(t)), newPart(t)
	p.make("/a", 64*mib)
	byHand := p.start("/a", "by hand", mib)
	if err := byHand.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.killed(byHand)
	gone := []*process{byHand}
	if p.version == 2 { // whose cgroup.kill sends what the OOM killer sends
		byCgroup := p.start("/a", "by cgroup.kill", mib)
		p.write("/a", "cgroup.kill", "1")
		p.killed(byCgroup)
		gone = append(gone, byCgroup)
	}
	p.want(v, p.kill("/a", "by the kernel", 128*mib), "/a", "/a", 64*mib)
	for _, c := range gone {
		if got, ok := v.Find(c.Process.Pid); ok {
			t.Errorf("killed %s, but there is a note: %+v", c.name, got)
		}
	}
}

// Notes are made, and kept, while nobody has them open.
func TestOutlives(t *testing.T) {
	dir, p := bpffs(t), newPart(t)
	p.make("/a", 32*mib)
	var all []*process
	kill := func() { all = append(all, p.kill("/a", fmt.Sprint("kill ", len(all)), 64*mib)) }
	holder := command(t, "holder", dir)
	if err := startAndWait(holder); err != nil {
		t.Fatal(err)
	}
	kill()
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := holder.Wait(); holder.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatal(err)
	}
	kill()
	for range 2 {
		v := open(t, dir)
		kill()
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		kill()
	}
	v := open(t, dir)
	for _, c := range all {
		p.want(v, c, "/a", "/a", 32*mib)
	}
	var order []string
	if err := v.Each(func(n oom.Victim) bool {
		if n.Cgroup == p.root+"/a" { // others have theirs killed as well
			order = append(order, n.Process.Comm)
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	for i, c := range all {
		if len(order) != len(all) || order[i] != c.name {
			t.Fatalf("the notes are %q, want all of %d", order, len(all))
		}
	}
}

// Nobody reads while more are killed than the log has headers for.
func TestStorm(t *testing.T) {
	const cgroups, each, limit = 10, 30, 8 * mib
	dir, p := bpffs(t), newPart(t)
	open(t, dir).Close()
	dead := make([][]*process, cgroups)
	ended := make(chan bool)
	for i := range cgroups {
		p.make(fmt.Sprintf("/c%d", i), limit)
		go func() {
			defer func() { ended <- true }()
			for range each {
				c := &process{Cmd: command(t, "hog", fmt.Sprintf("%d %q %q", 64*mib, "storm", p.dir+fmt.Sprintf("/c%d", i))), name: "storm"}
				_ = c.Run()
				dead[i] = append(dead[i], c)
			}
		}()
	}
	for range cgroups {
		<-ended
	}
	v := open(t, dir)
	for i, all := range dead {
		for _, c := range all {
			if s := c.ProcessState.Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGKILL {
				t.Errorf("%d ended with %v", c.Process.Pid, c.ProcessState)
			}
			path := fmt.Sprintf("/c%d", i)
			p.want(v, c, path, path, limit)
		}
	}
}

// A machine without memory is nobody's limit.
func TestNode(t *testing.T) {
	testkit.Need(t, testkit.OwnMachine)
	v, p := open(t, bpffs(t)), newPart(t)
	p.make("/a", 0)
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		t.Fatal(err)
	}
	c := p.kill("/a", "takes all", int(info.Totalram)*int(info.Unit))
	got, ok := v.Find(c.Process.Pid)
	if !ok || got.Cgroup != p.root+"/a" || got.Limit != (oom.Limit{Scope: oom.ScopeNode}) {
		t.Errorf("the note is %+v, %t", got, ok)
	}
}

// The kernel keeps paths that a note has no room for.
func TestNoRoomForPath(t *testing.T) {
	v, p := open(t, bpffs(t)), newPart(t)
	long := "/" + string(make95())
	p.make(long, 32*mib)
	deep := ""
	for range 12 {
		deep += "/d"
		p.make(deep, 0)
	}
	p.limit("/d", 32*mib)
	for _, path := range []string{long, deep} {
		c := p.kill(path, "nowhere", 64*mib)
		got, ok := v.Find(c.Process.Pid)
		if !ok || got.Cgroup != "" || got.CgroupID != p.id(path) || got.Limit != (oom.Limit{Scope: oom.ScopeUnknown}) {
			t.Errorf("the note is %+v, %t", got, ok)
		}
	}
}

func make95() []byte {
	name := make([]byte, 95)
	for i := range name {
		name[i] = 'n'
	}
	return name
}

func TestRemove(t *testing.T) {
	dir, p := bpffs(t), newPart(t)
	if err := victims.Remove(dir); err != nil {
		t.Errorf("without a bpffs: %v", err)
	}
	if err := victims.Remove(filepath.Join(dir, "none")); err != nil {
		t.Errorf("without a directory: %v", err)
	}
	v := open(t, dir)
	before, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	p.make("/a", 32*mib)
	p.want(v, p.kill("/a", "noted", 64*mib), "/a", "/a", 32*mib)
	for range 2 {
		if err := victims.Remove(dir); err != nil {
			t.Fatal(err)
		}
	}
	after, err := os.ReadDir(dir)
	if err != nil || len(after) != len(before)-1 {
		t.Errorf("left %v (%v), before %v", after, err, before)
	}
	// Even while it is open no new note is made, as soon as the kernel has let go of the programs, which it does later.
	for noted, begin := true, time.Now(); noted; {
		c := p.kill("/a", "not noted", 64*mib)
		var got oom.Victim
		if got, noted = v.Find(c.Process.Pid); noted && time.Since(begin) > patience {
			t.Fatalf("%v after Remove: %+v", patience, got)
		}
	}
}
