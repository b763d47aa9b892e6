package cgroup

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Placement and removal on v2 need no memory controller, so they are tested on
// every machine that has v2 mounted and writable, hybrid ones too.
func TestV2StartPlacesAndCloseKills(t *testing.T) {
	mounts, err := parseFile("/proc/self/mountinfo", parseMounts)
	if err != nil {
		t.Fatal(err)
	}
	var dir string
	for _, h := range mounts {
		if h.version != 2 {
			continue
		}
		if dir, err = os.MkdirTemp(h.point, "stella-test-*"); err == nil {
			break
		}
	}
	if dir == "" {
		t.Skipf("capability: no writable cgroup v2: %v", err)
	}
	g := &Group{dir: dir, version: 2}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	cmd, out := allocator(t, 1<<20)
	if err := g.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "0::") || !strings.Contains(out.String(), filepath.Base(dir)) {
		t.Errorf("child was not in %s:\n%s", dir, out)
	}
	left := exec.Command("sleep", "600")
	if err := g.Start(left); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- left.Wait() }()
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err == nil {
		t.Error("what was left ended well, want it killed")
	}
}

func TestStatsOfEachVersion(t *testing.T) {
	for name, c := range map[string]struct {
		version int
		files   map[string]string
		want    Stats
	}{
		"v1": {1, map[string]string{
			"memory.max_usage_in_bytes": "300\n", "memory.usage_in_bytes": "200\n", "memory.limit_in_bytes": "4096\n",
			"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
		}, Stats{Peak: 300, Current: 200, OOMKills: 2, Limit: 4096}},
		"v2": {2, map[string]string{
			"memory.peak": "300\n", "memory.current": "200\n", "memory.max": "4096\n",
			"memory.events": "low 0\nhigh 0\nmax 9\noom 3\noom_kill 1\noom_group_kill 0\n",
		}, Stats{Peak: 300, Current: 200, OOMKills: 1, Limit: 4096}},
		"v2 before Linux 5.19": {2, map[string]string{
			"memory.current": "200\n", "memory.max": "4096\n", "memory.events": "oom_kill 0\n",
		}, Stats{Current: 200, Limit: 4096}},
	} {
		dir := t.TempDir()
		for file, text := range c.files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		g := &Group{dir: dir, version: c.version}
		got, err := g.Stats()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		kills := map[int]string{1: "memory.oom_control", 2: "memory.events"}[c.version]
		if err := os.WriteFile(filepath.Join(dir, kills), []byte("under_oom 0\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Stats(); err == nil || !strings.Contains(err.Error(), "oom_kill") {
			t.Errorf("%s: without a kill counter: %v", name, err)
		}
	}
}
