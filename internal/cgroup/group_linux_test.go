package cgroup_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"stella/internal/cgroup"
	"stella/internal/testkit"
)

// allocateEnv makes the test binary allocate that many bytes instead of testing.
const allocateEnv = "STELLA_CGROUP_TEST_ALLOCATE"

// writeEnv makes it write them to that file instead.
const writeEnv = "STELLA_CGROUP_TEST_WRITE"

// bombEnv makes it start itself as often as it can.
const bombEnv = "STELLA_CGROUP_TEST_BOMB"

func TestMain(m *testing.M) {
	if os.Getenv(bombEnv) != "" {
		bomb()
	}
	if n, err := strconv.Atoi(os.Getenv(allocateEnv)); err == nil {
		if name := os.Getenv(writeEnv); name != "" {
			write(name, n)
			return
		}
		allocate(n)
		return
	}
	os.Exit(m.Run())
}

// allocate touches every page of n bytes and prints the cgroup it is in.
func allocate(n int) {
	block, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	for i := 0; i < n; i += 4096 {
		block[i] = 1
	}
	own, _ := os.ReadFile("/proc/self/cgroup")
	os.Stdout.Write(own)
}

// write leaves n bytes of page cache, which are on disk.
func write(name string, n int) {
	f, err := os.Create(name)
	if err == nil {
		for chunk := make([]byte, 1<<20); n > 0 && err == nil; n -= len(chunk) {
			_, err = f.Write(chunk)
		}
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
}

func newGroup(t *testing.T, limit int64) *cgroup.Group {
	t.Helper()
	return makeGroup(t, cgroup.Limit{Memory: limit})
}

func makeGroup(t *testing.T, limit cgroup.Limit) *cgroup.Group {
	t.Helper()
	testkit.Need(t, testkit.MemoryCgroup)
	g, err := cgroup.New("test", limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return g
}

func allocator(t *testing.T, bytes int) (*exec.Cmd, *strings.Builder) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), allocateEnv+"="+strconv.Itoa(bytes))
	var out strings.Builder
	cmd.Stdout = &out
	return cmd, &out
}

func TestWithinTheLimitLives(t *testing.T) {
	const limit, use = 64 << 20, 24 << 20
	g := newGroup(t, limit)
	cmd, out := allocator(t, use)
	if err := g.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("child within its limit: %v", err)
	}
	if !strings.Contains(out.String(), filepath.Base(g.Dir())) {
		t.Errorf("child was not in %s:\n%s", g.Dir(), out)
	}
	s, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if s.OOMKills != 0 || s.Limit != limit {
		t.Errorf("stats %+v: want no kill and limit %d", s, limit)
	}
	if s.Peak != 0 && (s.Peak < use || s.Peak > limit) {
		t.Errorf("peak %d: want between %d and %d", s.Peak, use, limit)
	}
}

func TestBeyondTheLimitIsKilledAndCounted(t *testing.T) {
	g := newGroup(t, 32<<20)
	cmd, _ := allocator(t, 128<<20)
	if err := g.Start(cmd); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Fatalf("child beyond its limit ended with %v, want a signal", err)
	}
	if status := exit.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		t.Errorf("ended by %v, want SIGKILL", status.Signal())
	}
	s, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if s.OOMKills != 1 {
		t.Errorf("counted %d kills, want 1", s.OOMKills)
	}
}

func TestCloseKillsWhatIsLeft(t *testing.T) {
	g := newGroup(t, 32<<20)
	cmd := exec.Command("sleep", "600")
	if err := g.Start(cmd); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- cmd.Wait() }()
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-waited:
		if err == nil {
			t.Error("child ended well, want it killed")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("child still runs after Close")
	}
	if _, err := os.Stat(g.Dir()); !os.IsNotExist(err) {
		t.Errorf("directory after Close: %v, want it gone", err)
	}
	if err := g.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// Many groups at once must not strand a thread of this process in any of them.
func TestParallelStartsLeaveThisProcessAtHome(t *testing.T) {
	before, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		g := newGroup(t, 32<<20)
		wg.Go(func() {
			cmd := exec.Command("true")
			if err := g.Start(cmd); err != nil {
				t.Error(err)
				return
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	threads, err := filepath.Glob("/proc/self/task/*/cgroup")
	if err != nil || len(threads) == 0 {
		t.Fatalf("list threads: %v (%d found)", err, len(threads))
	}
	for _, name := range threads {
		now, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended
		}
		if string(now) != string(before) {
			t.Errorf("%s is\n%s\nwant\n%s (err %v)", name, now, before, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit int64
	}{{"", 1 << 20}, {"a/b", 1 << 20}, {"..", 1 << 20}, {"a", 0}, {"a", -1}} {
		if g, err := cgroup.New(c.name, cgroup.Limit{Memory: c.limit}); err == nil {
			t.Errorf("New(%q, %d) made a group, want an error", c.name, c.limit)
			_ = g.Close()
		}
	}
}

func TestStartReportsAMissingProgram(t *testing.T) {
	g := newGroup(t, 32<<20)
	if err := g.Start(exec.Command("/nonexistent/program")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want it to match os.ErrNotExist", err)
	}
}
