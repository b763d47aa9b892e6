package counters_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"stella/internal/oom"
	"stella/internal/oom/counters"
	"stella/internal/oom/tree"
	"stella/internal/oom/tree/treetest"
)

func TestMain(m *testing.M) {
	treetest.Hog()
	for env, run := range map[string]func(string) error{stormEnv: storm, churnEnv: churn} {
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

// part is a part of the machine's real hierarchy that belongs to one test.
type part struct {
	treetest.Part
	t *testing.T
}

// ownPart makes one, in which cgroups have the memory controller.
func ownPart(t *testing.T) part {
	t.Helper()
	p := part{treetest.Own(t), t}
	p.Delegate("")
	return p
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
			switch {
			case e.Complete:
				c.Complete()
			case e.Added:
				c.Add(e.Cgroup)
			default:
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
