package samples

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"stella/internal/oom/tree"
)

// fake is a tree of files that looks like cgroup v2, for what a kernel would need hundreds of cgroups for.
type fake struct {
	t    *testing.T
	h    tree.Hierarchy
	last uint64
}

func newFake(t *testing.T) *fake {
	return &fake{t: t, h: tree.Hierarchy{Version: 2, Mount: t.TempDir(), Root: "/"}}
}

func (f *fake) write(path, name, text string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.h.Mount, path, name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fake) cgroup(path string) tree.Cgroup {
	f.t.Helper()
	dir := filepath.Join(f.h.Mount, path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		f.t.Fatal(err)
	}
	f.write(path, "memory.current", "1048576\n")
	f.write(path, "memory.stat", "anon 4096\nfile 8192\nkernel 12288\nsock 0\nshmem 4096\ninactive_file 4096\n")
	f.write(path, "memory.max", "max\n")
	f.write(path, "cgroup.procs", "")
	f.last++
	return tree.Cgroup{Path: path, Dir: dir, ID: f.last, Version: 2}
}

func (f *fake) sampler(o Options) *Sampler {
	o.Proc, o.Hierarchy = "/proc", f.h
	return newSampler(f.t, o)
}

// The files of v2 that a test on v1 never sees.
func TestV2Files(t *testing.T) {
	f := newFake(t)
	pod := f.cgroup("/pod")
	f.write("/pod", "memory.max", "500000000\n")
	cg := f.cgroup("/pod/container")
	f.write("/pod/container", "memory.swap.current", "20480\n")
	f.write("/pod/container", "pids.current", "7\n")
	f.write("/pod/container", "cpu.stat", "usage_usec 1500000\nuser_usec 1\n")
	f.write("/pod/container", "memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=9000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=4000\n")
	s := f.sampler(Options{Wanted: func(path string) bool { return strings.HasSuffix(path, "container") }})
	s.Add(pod)
	s.Add(cg)
	now := time.Now()
	s.step(now)
	u := only(t, s)
	got := u.Sample
	if got.Usage != 1<<20 || got.WorkingSet != 1<<20-4096 || got.Anon != 4096 || got.File != 4096 || got.Shmem != 4096 || got.Kernel != 12288 ||
		got.Sock != 0 || got.Swap != 20480 || got.PIDs != 7 || got.CPU != 1500*time.Millisecond ||
		got.PressureSome != 9*time.Millisecond || got.PressureFull != 4*time.Millisecond || got.Limit != 500000000>>10<<10 {
		t.Errorf("%+v", got)
	}
	f.write("/pod/container", "memory.max", "300000000\n")
	f.write("/pod/container", "cpu.stat", "usage_usec 8500000\n")
	for i := range 8 {
		s.step(now.Add(time.Duration(1+i) * time.Second))
	}
	if u := only(t, s); u.Sample.Limit != 300000000>>10<<10 || u.Cores < 1.39 || u.Cores > 1.41 { // 7 s in 5
		t.Errorf("limit %d, cores %v", u.Sample.Limit, u.Cores)
	}
	f.write("/pod", "memory.max", "200000000\n")
	for i := range aboveEvery {
		s.step(now.Add(time.Duration(9+i) * time.Second))
	}
	if u := only(t, s); u.Sample.Limit != 200000000>>10<<10 {
		t.Errorf("the pod's new limit is not seen: %d", u.Sample.Limit)
	}
}

// No more containers are sampled than may be; one that waits gets the place of one that ends. Those that have ended
// are bounded too, and what is given back is used again.
func TestContainersAreBounded(t *testing.T) {
	f := newFake(t)
	s := f.sampler(Options{MaxContainers: 3, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	var all []tree.Cgroup
	for i := range 2 * maxGone {
		all = append(all, f.cgroup(fmt.Sprintf("/c%d", i)))
		s.Add(all[i])
	}
	now := time.Now()
	for i := range all {
		now = now.Add(time.Second)
		s.step(now)
		if st := s.Status(); st.Containers != min(3, len(all)-i) || st.Gone != min(i, maxGone) || st.Waiting != max(len(all)-i-3, 0) {
			t.Fatalf("after %d: %+v", i, st)
		}
		if got := s.Series(all[i].Path); len(got) == 0 {
			t.Fatalf("container %d has no samples", i)
		}
		s.Remove(all[i])
	}
	if s.Series(all[0].Path) != nil || s.Series(all[len(all)-1].Path) == nil {
		t.Error("it is not the eldest that was forgotten")
	}
	if free := len(s.arena.free); free != 3 || s.kept != 0 {
		t.Errorf("%d slots are free, %d descriptors kept", free, s.kept)
	}
}

// More cgroups than can be watched are left out, and that is said once.
func TestGroupsAreBounded(t *testing.T) {
	f := newFake(t)
	var log strings.Builder
	s := f.sampler(Options{Wanted: func(string) bool { return false }, Log: slog.New(slog.NewTextHandler(&log, nil))})
	cg := f.cgroup("/one")
	for i := range uint64(maxGroups + 10) {
		s.Add(tree.Cgroup{Path: fmt.Sprint("/", i), Dir: "/nowhere", ID: i, Version: 2})
	}
	s.Add(cg)
	if len(s.groups) != maxGroups || len(s.order) != maxGroups || len(s.paths) != maxGroups || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("%d cgroups; log:\n%s", len(s.groups), &log)
	}
}

// The table of processes is bounded, and has soon room again when it was full of such as have ended.
func TestProcessesAreBounded(t *testing.T) {
	f := newFake(t)
	s := f.sampler(Options{})
	cg := f.cgroup("/many")
	s.Add(cg)
	g := s.groups[cg.ID]
	for pid := range int32(maxProcesses + 100) {
		s.table.see(pid+1, g, 0)
	}
	if n := len(s.table.byPID); n != maxProcesses {
		t.Errorf("%d processes are known", n)
	}
	for i := range lookEvery + shortStay + 1 {
		s.step(time.Now().Add(time.Duration(i) * time.Second))
	}
	if n := len(s.table.byPID); n != 0 {
		t.Errorf("%d processes are known", n)
	}
}

// In one tick no more processes are read than may be, and in the next ones the others.
func TestReadsAreBounded(t *testing.T) {
	f := newFake(t)
	p := newProcs(t)
	s := newSampler(t, Options{Proc: p.dir, Hierarchy: f.h})
	for i := range 3 {
		path := fmt.Sprint("/c", i)
		cg := f.cgroup(path)
		var pids strings.Builder
		for j := range readsPerTick {
			pid := 1000*i + j + 1
			p.process(pid, "many", 100)
			fmt.Fprintln(&pids, pid)
		}
		f.write(path, "cgroup.procs", pids.String())
		s.Add(cg)
	}
	for tick := range 6 {
		s.step(time.Unix(1_700_000_100+int64(tick), 0))
		reads := 0
		for _, p := range s.table.byPID {
			reads += int(p.reads)
		}
		if reads == 0 || reads > (tick+1)*readsPerTick {
			t.Fatalf("%d reads in %d ticks", reads, tick+1)
		}
	}
	for pid, p := range s.table.byPID {
		if p.reads == 0 {
			t.Fatalf("process %d was never read", pid)
		}
	}
}

// Of a quiet container all but the usage is read every few ticks; of one that moves, or is near its limit, at each.
func TestQuiet(t *testing.T) {
	for _, tt := range []struct {
		name            string
		limit, by, want int // the limit, by how much usage grows in a tick, after how many ticks new figures are seen
	}{
		{"quiet", 100 << 20, 4096, partsEvery},
		{"moving", 100 << 20, movedKiB << 10, 1},
		{"near its limit", 1100 << 10, 0, 1},
		{"without a limit", 0, 0, partsEvery},
	} {
		f := newFake(t)
		cg := f.cgroup("/c")
		if tt.limit > 0 {
			f.write("/c", "memory.max", fmt.Sprintln(tt.limit))
		}
		f.write("/c", "pids.current", "1\n")
		s := f.sampler(Options{})
		s.Add(cg)
		now, used := time.Now(), 1<<20
		s.step(now)
		f.write("/c", "pids.current", "2\n")
		got := 0
		for ; only(t, s).Sample.PIDs != 2; got++ {
			now, used = now.Add(time.Second), used+tt.by
			f.write("/c", "memory.current", fmt.Sprintln(used))
			s.step(now)
			if u := only(t, s).Sample; u.Usage != int64(used) || u.WorkingSet != int64(used-4096) {
				t.Fatalf("%s: usage %d, working set %d, want %d", tt.name, u.Usage, u.WorkingSet, used)
			}
		}
		if got != tt.want {
			t.Errorf("%s: new figures after %d ticks, want %d", tt.name, got, tt.want)
		}
	}
}

// procs is a tree of files that looks like /proc.
type procs struct {
	t   *testing.T
	dir string
}

func newProcs(t *testing.T) *procs {
	p := &procs{t, t.TempDir()}
	p.write("stat", "btime 1700000000\n")
	return p
}

func (p *procs) write(name, text string) {
	p.t.Helper()
	name = filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// process has begun so many ticks after the boot, and used as many.
func (p *procs) process(pid int, comm string, start int) {
	p.t.Helper()
	p.write(fmt.Sprint(pid, "/stat"), fmt.Sprintf("%d (%s) S 1 1 1 0 -1 0 0 0 0 0 %d 0 0 0 20 0 1 0 %d 0 0\n", pid, comm, start, start))
	p.write(fmt.Sprint(pid, "/status"), "Uid:\t7\t7\t7\t7\nRssAnon:\t100 kB\n")
}

// A pid that is used again is another process, whatever the cgroup.
func TestPIDUsedAgain(t *testing.T) {
	for _, next := range []string{"/one", "/other"} {
		t.Run(next, func(t *testing.T) { usePIDAgain(t, next) })
	}
}

func usePIDAgain(t *testing.T, next string) {
	f := newFake(t)
	p := newProcs(t)
	p.process(42, "first", 100)
	s := newSampler(t, Options{Proc: p.dir, Hierarchy: f.h})
	one, other := f.cgroup("/one"), f.cgroup("/other")
	f.write("/one", "cgroup.procs", "42\n")
	s.Add(one)
	s.Add(other)
	now := time.Unix(1_700_000_100, 0)
	s.step(now)
	if at, p, ok := s.Lookup(42); at != "/one" || p.Comm != "first" || p.UID != 7 || p.Anon != 100<<10 || !ok {
		t.Fatalf("%q %+v %v", at, p, ok)
	}
	f.write("/one", "cgroup.procs", "")
	f.write(next, "cgroup.procs", "42\n")
	p.process(42, "second", 5000)
	for i := range 2 * readQuiet {
		s.step(now.Add(time.Duration(i) * time.Second))
		if all := s.Processes(1); len(all) > 0 && all[0].Cores > 1 { // since the other process was read it would have used more
			t.Fatalf("the processor use is %v", all[0].Cores)
		}
	}
	at, found, ok := s.Lookup(42)
	all := s.Processes(2)
	if at != next || found.Comm != "second" || !ok || len(all) != 1 || !all[0].Started.Equal(time.Unix(1_700_000_050, 0)) {
		t.Errorf("%q %+v %v %+v", at, found, ok, all)
	}
	if pid, alive, ok := s.Main("/one"); pid != 42 || alive || !ok {
		t.Errorf("the first process of the other cgroup is %d, alive %v, %v", pid, alive, ok)
	}
}

// A process that ends while its cgroup stays is no longer among those that run, and is known for a while.
func TestProcessEnds(t *testing.T) {
	f := newFake(t)
	p := newProcs(t)
	p.process(42, "short", 100)
	s := newSampler(t, Options{Proc: p.dir, Hierarchy: f.h})
	cg := f.cgroup("/one")
	f.write("/one", "cgroup.procs", "42\n")
	s.Add(cg)
	now := time.Unix(1_700_000_100, 0)
	s.step(now)
	f.write("/one", "cgroup.procs", "")
	for i := range lookEvery {
		s.step(now.Add(time.Duration(i) * time.Second))
	}
	if _, _, ok := s.Lookup(42); !ok || len(s.Processes(1)) != 0 {
		t.Errorf("known %v, running %v", ok, s.Processes(1))
	}
	s.step(now.Add(10 * time.Second))
	if u := only(t, s); u.Sample.Top != nil {
		t.Errorf("the largest processes are %+v", u.Sample.Top)
	}
	for i := range stay {
		s.step(now.Add(time.Duration(10+i) * time.Second))
	}
	if _, _, ok := s.Lookup(42); ok {
		t.Error("it is known for ever")
	}
}

// More pids than the kernel tells at once are known.
func TestManyPIDs(t *testing.T) {
	f := newFake(t)
	s := f.sampler(Options{})
	cg := f.cgroup("/many")
	var pids strings.Builder
	for pid := range 3000 {
		fmt.Fprintln(&pids, 1_000_000+pid)
	}
	f.write("/many", "cgroup.procs", pids.String())
	s.Add(cg)
	s.step(time.Now())
	if n := s.Status().Processes; n != procsBytes/len("1000000\n") {
		t.Errorf("%d processes are known", n)
	}
}

// A cgroup that took the path of one before it has a history of its own, and both are told.
func TestSamePathAgain(t *testing.T) {
	f := newFake(t)
	s := f.sampler(Options{})
	now := time.Now()
	first := f.cgroup("/same")
	s.Add(first)
	s.Add(first) // told twice is one
	s.step(now)
	second := f.cgroup("/same")
	s.Add(second)   // before the removal of the other
	s.Remove(first) // is told
	s.step(now.Add(time.Second))
	s.Remove(first)
	if got := s.Series("/same"); len(got) != 2 || len(s.Usage()) != 2 || s.Status().Containers != 1 {
		t.Errorf("%d samples, %+v", len(got), s.Status())
	}
	s.forget(0)
	if got := s.paths["/same"]; got == nil || got.ID != second.ID || len(s.Series("/same")) != 1 {
		t.Errorf("with the first the second was forgotten: %+v", got)
	}
}

// All methods at once, while cgroups come and go.
func TestConcurrentUse(t *testing.T) {
	f := newFake(t)
	s := f.sampler(Options{Interval: time.Millisecond, MaxContainers: 8, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	var all []tree.Cgroup
	for i := range 16 {
		all = append(all, f.cgroup(fmt.Sprintf("/c%d", i)))
		f.write(all[i].Path, "cgroup.procs", fmt.Sprintln(os.Getpid()))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running, using sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for worker := range 4 {
		using.Go(func() {
			for i := range 200 {
				cg := all[(4*i+worker)%len(all)]
				s.Add(cg)
				s.Usage()
				s.Series(cg.Path)
				s.Processes(3)
				s.Lookup(os.Getpid())
				s.Main(cg.Path)
				s.Status()
				if i%20 == 0 {
					s.Node()
				}
				s.Remove(cg)
			}
		})
	}
	using.Wait()
	cancel()
	running.Wait()
	if st := s.Status(); st.Containers != 0 || st.Descriptors != 0 {
		t.Errorf("left: %+v", st)
	}
}
