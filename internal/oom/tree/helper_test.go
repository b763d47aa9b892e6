package tree_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"stella/internal/oom/tree"
)

// recorder keeps what a watch told.
type recorder struct {
	mu     sync.Mutex
	events []tree.Event
	alive  map[string]tree.Cgroup
	faults []string
	told   chan struct{} // has room for one: something was told
	held   sync.Mutex    // while it is locked, the watch cannot go on
}

func (r *recorder) event(e tree.Event) {
	r.held.Lock()
	r.held.Unlock() //nolint:staticcheck // it is a gate
	r.mu.Lock()
	r.events = append(r.events, e)
	old, known := r.alive[e.Path]
	switch {
	case e.Complete:
	case e.Added && known:
		r.faults = append(r.faults, fmt.Sprintf("%q was added twice", e.Path))
	case !e.Added && (!known || old.ID != e.ID):
		r.faults = append(r.faults, fmt.Sprintf("%q was removed without being there", e.Path))
	case e.Added:
		r.alive[e.Path] = e.Cgroup
	default:
		delete(r.alive, e.Path)
	}
	r.mu.Unlock()
	select {
	case r.told <- struct{}{}:
	default:
	}
}

// snapshot is what is there by path, and what is wrong with the events so far.
func (r *recorder) snapshot() (map[string]tree.Cgroup, []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	alive := make(map[string]tree.Cgroup, len(r.alive))
	for p, c := range r.alive {
		alive[p] = c
	}
	return alive, append([]string(nil), r.faults...)
}

// until waits for a state of what was told.
func (r *recorder) until(t *testing.T, what string, ok func(alive map[string]tree.Cgroup) bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		alive, faults := r.snapshot()
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		if ok(alive) {
			return
		}
		select {
		case <-r.told:
		case <-deadline:
			t.Fatalf("not within 30 s: %s; there are %d: %.2000v", what, len(alive), alive)
		}
	}
}

// watch watches until the test ends.
func watch(t *testing.T, h tree.Hierarchy, cgroups, watches int) (*recorder, *words) {
	t.Helper()
	r := &recorder{alive: map[string]tree.Cgroup{}, told: make(chan struct{}, 1)}
	said := &words{more: make(chan struct{}, 1)}
	log := slog.New(slog.NewTextHandler(said, nil))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.WatchWithin(ctx, log, r.event, cgroups, watches) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	r.until(t, "the root is told", func(alive map[string]tree.Cgroup) bool { return len(alive) > 0 })
	return r, said
}

// words is what was logged.
type words struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // has room for one
}

func (w *words) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
	return w.text.Write(b)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// until waits until it was said.
func (w *words) until(t *testing.T, what string) {
	t.Helper()
	for deadline := time.After(30 * time.Second); !strings.Contains(w.String(), what); {
		select {
		case <-w.more:
		case <-deadline:
			t.Fatalf("%q was not said: %s", what, w)
		}
	}
}

// real are the directories that there are, by path.
func real(t *testing.T, h tree.Hierarchy) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	err := filepath.WalkDir(h.Mount, func(p string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			all[h.Root+strings.TrimPrefix(p, h.Mount)] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func mkdir(t *testing.T, dirs ...string) {
	t.Helper()
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
