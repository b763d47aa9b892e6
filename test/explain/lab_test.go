package explain

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/oom"
	"stella/internal/oom/kmsg"
	"stella/internal/oom/samples"
	"stella/internal/oom/tree"
	"stella/internal/testkit"
)

// patience bounds each wait for what comes in milliseconds.
const patience = 30 * time.Second

// lab is what all scenes share.
type lab struct {
	*testing.T
	tree    tree.Hierarchy
	sampler *samples.Sampler
	act     string
	// memory is a directory in a tmpfs, disk one that is not.
	memory, disk string

	mu    sync.Mutex
	kills []logged
}

// logged is what the kernel logged, and when that was read: a millisecond after it happened.
type logged struct {
	at time.Time
	oom.Report
}

func newLab(t *testing.T) *lab {
	t.Helper()
	testkit.Need(t, testkit.Root, testkit.MemoryCgroup, testkit.Namespaces)
	h, err := tree.Find("/proc", "/sys/fs/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{T: t, tree: h, act: program(t), memory: t.TempDir(), disk: t.TempDir()}
	l.needDisk()
	if err := unix.Mount("tmpfs", l.memory, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(l.memory, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	l.sample()
	l.follow()
	return l
}

// needDisk skips where temporary files are memory: the page cache of such cannot be told from it.
func (l *lab) needDisk() {
	l.Helper()
	testkit.Need(l.T, testkit.Capability{Name: "disk", How: "set TMPDIR to a directory on a disk", Probe: func() error {
		var at unix.Statfs_t
		if err := unix.Statfs(l.disk, &at); err != nil {
			return err
		}
		if at.Type == unix.TMPFS_MAGIC || at.Type == unix.RAMFS_MAGIC {
			return testkit.Missing("temporary files are in memory here")
		}
		return nil
	}})
}

// sample runs the agent's sampler until the test ends.
func (l *lab) sample() {
	l.Helper()
	s, err := samples.New(samples.Options{Proc: "/proc", Hierarchy: l.tree, Interval: sampleEvery, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		l.Fatal(err)
	}
	l.sampler = s
	l.run(s.Run)
	l.Cleanup(func() {
		if err := s.Close(); err != nil {
			l.Error(err)
		}
	})
}

// run has something run until the test ends. What was registered before it is undone after it has ended.
func (l *lab) run(do func(context.Context) error) {
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := do(ctx); err != nil {
			l.Error(err)
		}
	})
	l.Cleanup(func() {
		stop()
		running.Wait()
	})
}

// follow follows the kernel log, and returns when it has come to the present.
func (l *lab) follow() {
	l.Helper()
	present := make(chan struct{})
	var once sync.Once
	l.run(func(ctx context.Context) error {
		return kmsg.Follow(ctx, kmsg.Options{}, func(r oom.Report) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.kills = append(l.kills, logged{time.Now(), r})
		}, func(lost oom.Lost) {
			l.Logf("%d records of the kernel log were lost", lost.Records)
		}, func(uint64) { once.Do(func() { close(present) }) })
	})
	select {
	case <-present:
	case <-time.After(patience):
		l.Fatal("the kernel log has no end")
	}
}

// logged are the kills of some processes in a time.
func (l *lab) logged(pids map[int]bool, from, to time.Time) (all []logged) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.kills {
		if pids[k.Process.PID] && k.at.After(from) && k.at.Before(to) {
			all = append(all, k)
		}
	}
	return all
}

// props are what one life works with.
type props struct {
	memory string // a directory in a tmpfs
	file   string // a sparse file
}

// sparse is the size of that file: more than anything reads.
const sparse = 64 << 30

// newProps makes them; remove removes them, and the memory in them.
func (l *lab) newProps() (p props, remove func() error, err error) {
	p.memory, err = os.MkdirTemp(l.memory, "")
	if err != nil {
		return p, nil, err
	}
	f, err := os.CreateTemp(l.disk, "")
	if err != nil {
		return p, nil, err
	}
	defer f.Close()
	p.file = f.Name()
	return p, func() error { return errors.Join(os.RemoveAll(p.memory), os.Remove(p.file)) }, f.Truncate(sparse)
}

// cgroup is one by its directory.
func (l *lab) cgroup(dir string) (tree.Cgroup, error) {
	rel, err := filepath.Rel(l.tree.Mount, dir)
	if err != nil {
		return tree.Cgroup{}, err
	}
	return l.tree.Lookup(filepath.Join(l.tree.Root, rel))
}
