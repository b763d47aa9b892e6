package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStatsOfEachVersion(t *testing.T) {
	for name, c := range map[string]struct {
		version int
		files   map[string]string
		want    Stats
	}{
		"v1": {1, map[string]string{
			"memory.max_usage_in_bytes": "300\n", "memory.usage_in_bytes": "200\n", "memory.limit_in_bytes": "4096\n",
			"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
			"memory.stat":        "inactive_file 7\nhierarchical_memory_limit 4096\ntotal_inactive_file 50\n",
		}, Stats{Peak: 300, Current: 200, WorkingSet: 150, OOMKills: 2, Limit: 4096}},
		"v2": {2, map[string]string{
			"memory.peak": "300\n", "memory.current": "200\n", "memory.max": "4096\n",
			"memory.events": "low 0\nhigh 0\nmax 9\noom 3\noom_kill 1\noom_group_kill 0\n",
			"memory.stat":   "anon 100\ninactive_file 50\n",
		}, Stats{Peak: 300, Current: 200, WorkingSet: 150, OOMKills: 1, Limit: 4096}},
		"v2 before Linux 5.19": {2, map[string]string{
			"memory.current": "200\n", "memory.max": "4096\n", "memory.events": "oom_kill 0\n",
			// The two are read one after the other.
			"memory.stat": "inactive_file 300\n",
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
