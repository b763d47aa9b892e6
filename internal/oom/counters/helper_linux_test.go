package counters_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"stella/internal/cgroup"
	"stella/internal/oom"
	"stella/internal/oom/counters"
	"stella/internal/oom/tree"
	"stella/internal/testkit"
)

// hogEnv makes the test binary enter a cgroup and use memory there: "BYTES FILE", FILE being its cgroup.procs.
const hogEnv = "STELLA_COUNTERS_TEST_HOG"

func TestMain(m *testing.M) {
	for env, run := range map[string]func(string) error{hogEnv: hog, stormEnv: storm, churnEnv: churn} {
		text := os.Getenv(env)
		if text == "" {
			continue
		}
		if err := run(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// hog touches every page of so much memory, and goes on when its standard input ends.
func hog(text string) error {
	var size int
	var file string
	if n, err := fmt.Sscanf(text, "%d %q", &size, &file); n != 2 {
		return err
	}
	if err := os.WriteFile(file, []byte("0"), 0); err != nil {
		return err
	}
	block, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return err
	}
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
	os.Stdout.WriteString("ready\n")
	_, _ = os.Stdin.Read(make([]byte, 1))
	return nil
}

// part is a part of the machine's real hierarchy that belongs to one test.
type part struct {
	tree.Hierarchy
	t *testing.T
}

// ownPart makes one.
func ownPart(t *testing.T) part {
	t.Helper()
	testkit.Need(t, testkit.MemoryCgroup)
	support, err := cgroup.Probe()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := tree.Find("/proc", "/sys/fs/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(support.Parent, "stella-counters-*")
	if err != nil {
		t.Fatal(err)
	}
	rel, err := filepath.Rel(whole.Mount, dir)
	if err != nil {
		t.Fatal(err)
	}
	p := part{tree.Hierarchy{Version: whole.Version, Mount: dir, Root: filepath.Join(whole.Root, rel)}, t}
	t.Cleanup(func() { p.removeAll("") })
	p.delegate("")
	return p
}

// delegate gives the memory controller to those below a cgroup, on v2.
func (p part) delegate(path string) {
	p.t.Helper()
	if p.Version == 2 {
		p.write(path, "cgroup.subtree_control", "+memory")
	}
}

func (p part) write(path, file, value string) {
	p.t.Helper()
	f, err := os.OpenFile(p.Mount+path+"/"+file, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(value)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// make makes a cgroup; with a limit in bytes, or 0 for none.
func (p part) make(path string, limit int64) {
	p.t.Helper()
	if err := os.Mkdir(p.Mount+path, 0o755); err != nil {
		p.t.Fatal(err)
	}
	if limit > 0 {
		p.limit(path, limit)
	}
}

func (p part) limit(path string, limit int64) {
	p.t.Helper()
	n := strconv.FormatInt(limit, 10)
	if p.Version == 2 {
		p.write(path, "memory.max", n)
		p.write(path, "memory.swap.max", "0")
		return
	}
	p.write(path, "memory.limit_in_bytes", n)
}

// remove removes a cgroup as soon as its processes are gone.
func (p part) remove(path string) {
	p.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		err := os.Remove(p.Mount + path)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatal(err)
		}
	}
}

func (p part) removeAll(path string) {
	entries, _ := os.ReadDir(p.Mount + path)
	for _, e := range entries {
		if e.IsDir() {
			p.removeAll(path + "/" + e.Name())
		}
	}
	p.remove(path)
}

// start starts a process that uses so many bytes in a cgroup. It ends with the test at the latest.
func (p part) start(path string, bytes int64) *exec.Cmd {
	p.t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %q", hogEnv, bytes, p.Mount+path+"/cgroup.procs"), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { in.Close() })
	return cmd
}

// kill has a process killed for want of memory in a cgroup, and returns its pid.
func (p part) kill(path string) int {
	p.t.Helper()
	cmd := p.start(path, 256<<20)
	pid := cmd.Process.Pid
	_ = cmd.Wait()
	if s := cmd.ProcessState.Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGKILL {
		p.t.Errorf("the process in %s ended with %v, want SIGKILL", path, cmd.ProcessState)
	}
	return pid
}

// witness is a Counters that runs on a part.
type witness struct {
	*counters.Counters
	t     *testing.T
	part  part
	end   func()
	mu    sync.Mutex
	rises []oom.Rise // of cgroups
	node  []oom.Rise
	told  chan struct{}
}

// watch runs one until the test ends, or end is called.
func (p part) watch(o counters.Options) *witness {
	p.t.Helper()
	o.Hierarchy = p.Hierarchy
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(testLog{p.t}, nil))
	}
	c, err := counters.New(o)
	if err != nil {
		p.t.Fatal(err)
	}
	w := &witness{Counters: c, t: p.t, part: p, told: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx, w.rise); err != nil {
			p.t.Error(err)
		}
	})
	wg.Go(func() {
		err := p.Watch(ctx, o.Log, func(e tree.Event) {
			if e.Added {
				c.Add(e.Cgroup)
			} else {
				c.Remove(e.Cgroup)
			}
		})
		if err != nil {
			p.t.Error(err)
		}
	})
	w.end = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	p.t.Cleanup(w.end)
	if p.Version == 1 { // on v2 a cgroup can be without counters
		w.until("the first look", func(rises []oom.Rise) bool { return len(rises) > 0 })
	}
	return w
}

func (w *witness) rise(r oom.Rise) {
	w.mu.Lock()
	if r.Cgroup == "" {
		w.node = append(w.node, r)
	} else {
		w.rises = append(w.rises, r)
	}
	w.mu.Unlock()
	select {
	case w.told <- struct{}{}:
	default:
	}
}

// until waits for a state of what was told of cgroups, and returns all of it.
func (w *witness) until(what string, ok func([]oom.Rise) bool) []oom.Rise {
	w.t.Helper()
	for deadline := time.After(20 * time.Second); ; {
		w.mu.Lock()
		rises := slices.Clone(w.rises)
		w.mu.Unlock()
		if ok(rises) {
			return rises
		}
		select {
		case <-w.told:
		case <-deadline:
			w.t.Fatalf("not told within 20 s: %s; told was %.4000s", what, fmt.Sprintf("%+v", rises))
		}
	}
}

// killed returns what was told of kills in a cgroup, when there are so many.
func (w *witness) killed(path string, kills int64) []oom.Rise {
	w.t.Helper()
	var found []oom.Rise
	w.until(fmt.Sprintf("%d kills in %s", kills, path), func(rises []oom.Rise) bool {
		found = found[:0]
		for _, r := range rises {
			if r.Cgroup == w.part.Root+path && r.Kills > 0 {
				found = append(found, r)
			}
		}
		return sum(found) >= kills
	})
	if got := sum(found); got != kills {
		w.t.Errorf("%d kills in %s were told, want %d: %+v", got, path, kills, found)
	}
	return found
}

// known waits until cgroups were seen.
func (w *witness) known(paths ...string) {
	w.t.Helper()
	w.until(fmt.Sprintf("first sight of %v", paths), func(rises []oom.Rise) bool {
		for _, p := range paths {
			if !slices.ContainsFunc(rises, func(r oom.Rise) bool { return r.Cgroup == w.part.Root+p }) {
				return false
			}
		}
		return true
	})
}

func sum(rises []oom.Rise) (n int64) {
	for _, r := range rises {
		n += r.Kills
	}
	return n
}

func hasPID(r oom.Rise, pid int) bool {
	return slices.ContainsFunc(r.Processes, func(p oom.Process) bool { return p.PID == pid })
}

// testLog is the test's own log.
type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("%s", b)
	return len(b), nil
}
