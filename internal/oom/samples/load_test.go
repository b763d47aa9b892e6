package samples

import (
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"syscall"
	"testing"
	"time"

	"stella/internal/cgroup"
	"stella/internal/oom/tree"
	"stella/internal/proc"
	"stella/internal/testkit"
)

var (
	loadContainers = flag.Int("load", 0, "measure with `N` real cgroups, each with a process")
	loadFor        = flag.Duration("load-for", time.Minute, "measure so `LONG`")
	loadBusy       = flag.Bool("load-busy", false, "each process forks once a second, so that its memory and processor time change")
	loadFull       = flag.Bool("load-full", false, "fill the histories first, as they are after a day")
	loadProfile    = flag.String("load-profile", "", "write a profile of the processor to `FILE`")
)

// The figures of the budget: what sampling costs with real cgroups. It is run by hand, as
// go test -run TestLoad -load 500 -load-for 10m -load-full .
// and tells what this test process uses, the Go runtime and the test itself included.
func TestLoad(t *testing.T) {
	if *loadContainers == 0 {
		t.Skip("a measurement: -load says with how many cgroups")
	}
	testkit.Need(t, testkit.MemoryCgroup)
	all := startLoad(t, *loadContainers)
	before := resident(t)
	s := newSampler(t, Options{})
	for _, cg := range all {
		s.Add(cg)
	}
	if *loadFull {
		s.fill()
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	rest(ctx, 15*time.Second) // the first reads of all processes are over
	if *loadProfile != "" {
		f, err := os.Create(*loadProfile)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			t.Fatal(err)
		}
		defer pprof.StopCPUProfile()
	}
	var m, n runtime.MemStats
	runtime.ReadMemStats(&m)
	began := time.Now()
	user, system := used(t)
	rest(ctx, *loadFor)
	u, sys := used(t)
	over := time.Since(began)
	resident := resident(t)
	status := s.Status()
	cancel()
	running.Wait()
	runtime.ReadMemStats(&n)
	share := func(d time.Duration) float64 { return 100 * d.Seconds() / over.Seconds() }
	t.Logf("%d cgroups over %v, busy %v, full %v: %.2f %% of a core (%.2f user, %.2f system); resident %.1f MiB, before %.1f; "+
		"heap in use %.1f MiB, allocated %d times a second; collected %d times; %+v",
		len(all), over.Round(time.Second), *loadBusy, *loadFull, share(u+sys-user-system), share(u-user), share(sys-system),
		float64(resident)/(1<<20), float64(before)/(1<<20), float64(n.HeapInuse)/(1<<20), (n.Mallocs-m.Mallocs)/uint64(over.Seconds()), n.NumGC-m.NumGC, status)
	for _, usage := range s.Usage() {
		if usage.Sample.Usage <= 0 || len(usage.Sample.Top) == 0 {
			t.Fatalf("a container is not sampled: %+v", usage)
		}
	}
}

// startLoad makes cgroups with a process each.
func startLoad(t *testing.T, n int) []tree.Cgroup {
	t.Helper()
	h := hierarchy(t)
	program := []string{"sleep", "100000"}
	if *loadBusy {
		program = []string{"sh", "-c", "while :; do sleep 1; done"}
	}
	var all []tree.Cgroup
	for range n {
		g, err := cgroup.New("load", cgroup.Limit{Memory: 64 << 20})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program[0], program[1:]...)
		t.Cleanup(func() {
			if err := g.Close(); err != nil {
				t.Error(err)
			}
			cmd.Wait()
		})
		if err := g.Start(cmd); err != nil {
			t.Fatal(err)
		}
		all = append(all, lookup(t, h, g.Dir()))
	}
	debug.FreeOSMemory() // what the start took is not to be measured
	return all
}

// fill puts a day of a busy container into every history.
func (s *Sampler) fill() {
	for _, g := range s.containers {
		m := made{Rand: rand.New(rand.NewPCG(1, uint64(g.container.slot))), kind: 1}
		m.s.figures = figures{usage: 1 << 20, workingSet: 1 << 20, anon: 1 << 19, file: 1 << 18, kernel: 1 << 14, limit: 1 << 21}
		m.s.figures[clock] = time.Now().Add(-20 * time.Hour).UnixMilli()
		for range 20 * 3600 {
			sample := m.next()
			g.container.history.add(&sample)
		}
	}
}

func resident(t *testing.T) int64 {
	t.Helper()
	m, err := proc.OpenSelf("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	u, err := m.Read()
	if err != nil {
		t.Fatal(err)
	}
	return u.Resident
}

func used(t *testing.T) (user, system time.Duration) {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano()), time.Duration(r.Stime.Nano())
}

// What one tick costs for one container whose files are kept open.
func BenchmarkSample(b *testing.B) {
	testkit.Need(b, testkit.MemoryCgroup)
	g, err := cgroup.New("bench", cgroup.Limit{Memory: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { g.Close() })
	cmd := exec.Command("sleep", "1000")
	if err := g.Start(cmd); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	s := newSampler(b, Options{})
	s.Add(lookup(b, hierarchy(b), g.Dir()))
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Second)
		s.sample(s.containers[0], now)
	}
}
