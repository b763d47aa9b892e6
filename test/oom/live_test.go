package oom

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/cgroup"
	"stella/internal/oom"
	"stella/internal/testkit"
)

// One process in a cgroup of its own.
func TestOneProcess(t *testing.T) {
	r := newRig(t)
	r.start()
	g := r.group("stella-test-one", cgroup.Limit{Memory: 32 * mib})
	path := r.path(g.Dir())
	want := []truth{{r.eater(g, 64), path, path, 32 * mib}}
	got := r.expect(want)
	if len(got) != 1 {
		return
	}
	k := got[0]
	if k.Confidence != oom.Certain || k.Process.Anon < 20*mib || k.Process.Anon > 32*mib || k.Limit.Scope != oom.ScopeCgroup {
		t.Errorf("the kill is %+v", k)
	}
}

// A child dies again and again, and its parent lives: what no restart count shows.
func TestChildren(t *testing.T) {
	r := newRig(t)
	r.start()
	g := r.group("stella-test-children", cgroup.Limit{Memory: 48 * mib})
	f := r.parent(g, "each", "3", "anon", "96")
	r.expect(r.truths(f, 3, r.path(g.Dir()), r.path(g.Dir()), 48*mib))
}

func (r *rig) truths(f *family, n int, cgroup, limit string, bytes int64) []truth {
	r.Helper()
	if len(f.dead) != n {
		r.Errorf("%d eaters were killed, want %d", len(f.dead), n)
	}
	var all []truth
	for _, pid := range f.dead {
		all = append(all, truth{pid, cgroup, limit, bytes})
	}
	return all
}

// The limit that fires is that of a cgroup above the victim's, as of a pod, or of the own one.
func TestNestedLimits(t *testing.T) {
	r := newRig(t)
	r.start()
	pod := r.group("stella-test-nested", cgroup.Limit{Memory: 64 * mib})
	podPath := r.path(pod.Dir())
	free := r.nest(pod.Dir(), "free", 0)
	want := r.truths(r.parentIn(free, "each", "1", "anon", "128"), 1, r.path(free), podPath, 64*mib)
	wide := r.nest(pod.Dir(), "wide", 1<<30)
	want = append(want, r.truths(r.parentIn(wide, "each", "1", "anon", "128"), 1, r.path(wide), podPath, 64*mib)...)
	tight := r.nest(pod.Dir(), "tight", 24*mib)
	want = append(want, r.truths(r.parentIn(tight, "each", "1", "anon", "64"), 1, r.path(tight), r.path(tight), 24*mib)...)
	r.expect(want)
}

// On v2 a group kill takes all processes, and the kernel counts the victim twice.
func TestGroupKill(t *testing.T) {
	testkit.Need(t, testkit.CgroupV2)
	r := newRig(t)
	r.start()
	g := r.group("stella-test-group", cgroup.Limit{Memory: 48 * mib, KillGroup: true})
	cmd := as(t.Context(), "parent", "each", "1", "anon", "96")
	if err := g.Start(cmd); err != nil {
		t.Fatal(err)
	}
	main := cmd.Process.Pid
	if err := cmd.Wait(); !killed(err) {
		t.Fatalf("the parent ended with %v, want it killed", err)
	}
	path := r.path(g.Dir())
	// The pids of its children are known to the dead parent alone: its eater, and at times one or two that
	// the Go runtime forks to find out what the kernel can do.
	got := r.kills(nil)
	for begin := time.Now(); len(got) < 2 && time.Since(begin) < patience; pause() {
		got = r.kills(nil)
	}
	time.Sleep(settle)
	if got = r.kills(nil); len(got) < 2 || len(got) > 4 {
		t.Fatalf("%d kills, want the parent and its child: %+v", len(got), got)
	}
	want := []truth{{main, path, path, 48 * mib}}
	for _, k := range got {
		if k.Group == 0 {
			t.Errorf("pid %d: nothing says that its whole group was killed", k.Process.PID)
		}
		if k.Process.PID != main {
			want = append(want, truth{k.Process.PID, path, path, 48 * mib})
		}
	}
	r.expect(want)
}

// Many at once, in one cgroup: more than the kernel logs headers for.
func TestForkStorm(t *testing.T) {
	r := newRig(t)
	if err := r.notesHere(); err != nil {
		t.Logf("without notes of the kernel: %v", err)
	}
	r.start()
	g := r.group("stella-test-forks", cgroup.Limit{Memory: 96 * mib})
	f := r.parent(g, "once", "12", "anon", "128")
	r.expect(r.truths(f, 12, r.path(g.Dir()), r.path(g.Dir()), 96*mib))
}

// headerTime is for how long the kernel counts the headers that it logs, ten at most (mm/oom_kill.c).
const headerTime = 5 * time.Second

// Memory that a process put into a tmpfs stays when it is killed; the next one dies for it, too.
func TestTmpfs(t *testing.T) {
	r := newRig(t)
	mount := t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=256m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	r.start()
	time.Sleep(headerTime) // what was used is in the header, and other tests may have used those up
	g := r.group("stella-test-tmpfs", cgroup.Limit{Memory: 64 * mib})
	f := r.parent(g, "each", "1", mount, "128")
	got := r.expect(r.truths(f, 1, r.path(g.Dir()), r.path(g.Dir()), 64*mib))
	if len(got) == 1 && got[0].Memory.Shmem < 32*mib {
		t.Errorf("the kill names %d bytes of shared memory, want most of the 64 MiB: %+v", got[0].Memory.Shmem, got[0].Memory)
	}
}

// Page cache alone kills nobody: the kernel drops it first.
func TestPageCache(t *testing.T) {
	r := newRig(t)
	r.start()
	g := r.group("stella-test-cache", cgroup.Limit{Memory: 48 * mib})
	cmd := as(t.Context(), "cache", r.fileOnDisk(), "128")
	if err := g.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	path := r.path(g.Dir())
	pid := r.eater(g, 96)
	r.expect([]truth{{pid, path, path, 48 * mib}})
}

// fileOnDisk is a file whose content the kernel can drop from memory: a temporary one, or in a machine of test/vm, where all files are in
// memory, its disk.
func (r *rig) fileOnDisk() string {
	r.Helper()
	dir := r.TempDir()
	var at unix.Statfs_t
	if err := unix.Statfs(dir, &at); err != nil {
		r.Fatal(err)
	}
	if at.Type != unix.TMPFS_MAGIC && at.Type != unix.RAMFS_MAGIC {
		return filepath.Join(dir, "large")
	}
	const disk = "/dev/vda" // of a machine of test/vm with -disk
	testkit.Need(r.T, testkit.Capability{Name: "disk", How: "set TMPDIR to a directory on a disk", Probe: func() error {
		if _, err := os.Stat(disk); err == nil && testkit.OwnMachine.Probe() == nil {
			return nil
		}
		return testkit.Missing("temporary files are in memory here")
	}})
	return disk
}

// The cgroup is removed as soon as its only process is dead.
func TestRemovedAtOnce(t *testing.T) {
	r := newRig(t)
	r.start()
	var want []truth
	for i := range 8 {
		g := r.group("stella-test-gone-"+strconv.Itoa(i), cgroup.Limit{Memory: 16 * mib})
		path := r.path(g.Dir())
		want = append(want, truth{r.eater(g, 48), path, path, 16 * mib})
		if err := os.Remove(g.Dir()); err != nil {
			t.Fatal(err)
		}
	}
	r.expect(want)
}

// A SIGKILL by hand, and an exit code of 137, are no OOM kills.
func TestNoKill(t *testing.T) {
	r := newRig(t)
	r.start()
	g := r.group("stella-test-none", cgroup.Limit{Memory: 48 * mib})
	cmd := as(t.Context(), "parent", "each", "0", "anon", "1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := g.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); !killed(err) {
		t.Fatal(err)
	}
	exit := as(t.Context(), "exit")
	if err := g.Start(exit); err != nil {
		t.Fatal(err)
	}
	_ = exit.Wait()
	if code := exit.ProcessState.ExitCode(); code != 137 {
		t.Errorf("the exit code is %d, want 137", code)
	}
	// One that is real, so that the empty answer about the others means something.
	path := r.path(g.Dir())
	r.expect([]truth{{r.eater(g, 96), path, path, 48 * mib}})
}
