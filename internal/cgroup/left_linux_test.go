package cgroup_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"stella/internal/cgroup"
	"stella/internal/spool"
	"stella/internal/testkit"
)

func TestRemoveLeft(t *testing.T) {
	testkit.Need(t, testkit.MemoryCgroup)
	name := "left" + strconv.Itoa(os.Getpid()) // of this run alone
	var groups []*cgroup.Group
	for _, n := range []string{name, name, name + "-more"} {
		g, err := cgroup.New(n, cgroup.Limit{Memory: 32 << 20})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { g.Close() })
		groups = append(groups, g)
	}
	cmd := exec.Command("sleep", "600")
	if err := groups[0].Start(cmd); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- cmd.Wait() }()
	if n, err := cgroup.RemoveLeft(name); n != 2 || err != nil {
		t.Errorf("removed %d (%v), want 2", n, err)
	}
	if err := <-waited; err == nil {
		t.Error("what was left in a group ended well, want it killed")
	}
	for i, g := range groups {
		_, err := os.Stat(g.Dir())
		if gone := os.IsNotExist(err); gone != (i < 2) {
			t.Errorf("%s: %v", g.Dir(), err)
		}
	}
	if _, err := cgroup.RemoveLeft("../x"); err == nil {
		t.Error("a name that is a path was taken")
	}
}

// A new peak is that of what came after.
func TestResetPeak(t *testing.T) {
	const first, second = 40 << 20, 8 << 20
	g := newGroup(t, 64<<20)
	run := func(bytes int) cgroup.Stats {
		cmd, _ := allocator(t, bytes)
		if err := g.Start(cmd); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		s, err := g.Stats()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	run(first)
	err := g.ResetPeak()
	if errors.Is(err, cgroup.ErrNoReset) && g.Version() == 2 {
		if s := run(second); s.Peak != 0 && s.Peak < first {
			t.Errorf("peak %d, want that of the first process: %v", s.Peak, err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if s := run(second); s.Peak < second || s.Peak >= first {
		t.Errorf("peak %d, want from %d and below %d", s.Peak, second, first)
	}
}

// The working set leaves out page cache that can be dropped, and nothing else.
func TestWorkingSet(t *testing.T) {
	const cached = 16 << 20
	g := newGroup(t, 64<<20)
	dir := t.TempDir()
	if memory, err := spool.OnMemory(dir); memory || err != nil {
		t.Skipf("files in %s are memory, which cannot be dropped (%v)", dir, err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writeEnv+"="+filepath.Join(dir, "file"), allocateEnv+"="+strconv.Itoa(cached))
	if err := g.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	s, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if s.Current < cached || s.WorkingSet > cached/2 {
		t.Errorf("usage %d, working set %d after %d bytes of page cache", s.Current, s.WorkingSet, cached)
	}
}

func TestMemoryCeiling(t *testing.T) {
	c, err := cgroup.MemoryCeiling()
	if err != nil {
		t.Fatal(err)
	}
	if c.Bytes < 64<<20 || c.Source == "" {
		t.Errorf("%+v", c)
	}
	t.Logf("%d bytes, says %s", c.Bytes, c.Source)
}
