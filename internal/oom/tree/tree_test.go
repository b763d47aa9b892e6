package tree_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"stella/internal/oom/tree"
	"stella/internal/oom/tree/treetest"
	"stella/internal/testkit"
)

func put(t *testing.T, name, text string) {
	t.Helper()
	mkdir(t, filepath.Dir(name))
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	const (
		v1  = "35 31 0:32 %[2]s %[1]s/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
		cpu = "32 31 0:29 / %[1]s/cpu rw,relatime - cgroup cgroup rw,cpu\n"
		uni = "41 31 0:38 / %[1]s/unified rw,relatime - cgroup2 cgroup2 rw\n"
		v2  = "30 22 0:26 %[2]s %[1]s rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
	)
	for name, c := range map[string]struct {
		mounts, root string
		files        map[string]string
		want         tree.Hierarchy // with Mount from sys on; the zero value is an error
	}{
		"v1":               {v1, "/", map[string]string{"memory/release_agent": ""}, tree.Hierarchy{Version: 1, Mount: "/memory", Root: "/"}},
		"hybrid":           {cpu + uni + v1, "/", map[string]string{"memory/release_agent": "", "unified/cgroup.controllers": "\n"}, tree.Hierarchy{Version: 1, Mount: "/memory", Root: "/"}},
		"v1, a part":       {v1, "/docker/abc", nil, tree.Hierarchy{Version: 1, Mount: "/memory", Root: "/docker/abc"}},
		"the whole wins":   {fmt.Sprintf(v1, "%[1]s", "/docker/abc") + v1, "/", map[string]string{"memory/release_agent": ""}, tree.Hierarchy{Version: 1, Mount: "/memory", Root: "/"}},
		"v2":               {v2, "/", map[string]string{"cgroup.controllers": "cpuset cpu memory\n"}, tree.Hierarchy{Version: 2, Mount: "", Root: "/"}},
		"v2, host's mount": {v2, "/../../..", map[string]string{"cgroup.controllers": "memory\n"}, tree.Hierarchy{Version: 2, Mount: "", Root: "/"}},
		"v2, local events": {"30 22 0:26 / %[1]s rw - cgroup2 cgroup2 rw,nsdelegate,memory_localevents\n", "/", map[string]string{"cgroup.controllers": "memory\n"},
			tree.Hierarchy{Version: 2, Mount: "", Root: "/", LocalEvents: true}},
		"v2, a part": {v2, "/a/b", map[string]string{"cgroup.controllers": "memory\n", "cgroup.type": "domain\n"}, tree.Hierarchy{Version: 2, Mount: "", Root: "/a/b"}},

		"v2, of a namespace":        {v2, "/", map[string]string{"cgroup.controllers": "memory\n", "cgroup.type": "domain\n"}, tree.Hierarchy{}},
		"v2, above a namespace":     {v2, "/..", map[string]string{"cgroup.controllers": "memory\n", "cgroup.type": "domain\n"}, tree.Hierarchy{}},
		"v1, of a namespace":        {v1, "/", nil, tree.Hierarchy{}},
		"v2 without the controller": {v2, "/", map[string]string{"cgroup.controllers": "cpu memory_x\n"}, tree.Hierarchy{}},
		"nothing":                   {cpu, "/", nil, tree.Hierarchy{}},
		"elsewhere":                 {"30 22 0:26 / %[1]sx rw - cgroup2 cgroup2 rw\n", "/", nil, tree.Hierarchy{}},
		"garbage":                   {"30 22 - cgroup2\n - \n\n", "/", nil, tree.Hierarchy{}},
	} {
		t.Run(name, func(t *testing.T) {
			proc, sys := t.TempDir(), filepath.Join(t.TempDir(), "with space")
			mkdir(t, sys)
			escaped := filepath.Dir(sys) + `/with\040space`
			put(t, proc+"/self/mountinfo", fmt.Sprintf(c.mounts+"%.0[1]s%.0[2]s", escaped, c.root))
			for file, text := range c.files {
				put(t, filepath.Join(sys, file), text)
			}
			got, err := tree.Find(proc, sys)
			if c.want.Version == 0 {
				if !errors.Is(err, tree.ErrNoHierarchy) {
					t.Fatalf("%+v, %v; want an error that says that there is none", got, err)
				}
				return
			}
			c.want.Mount = sys + c.want.Mount
			if got != c.want || err != nil {
				t.Errorf("%+v (%v), want %+v", got, err, c.want)
			}
		})
	}
	if _, err := tree.Find(t.TempDir(), "/sys/fs/cgroup"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without /proc: %v", err)
	}
}

func TestDir(t *testing.T) {
	whole := tree.Hierarchy{Version: 2, Mount: "/sys/fs/cgroup", Root: "/"}
	part := tree.Hierarchy{Version: 1, Mount: "/m", Root: "/docker/a"}
	for _, c := range []struct {
		h          tree.Hierarchy
		path, want string
	}{
		{whole, "/", "/sys/fs/cgroup"},
		{whole, "/a/b", "/sys/fs/cgroup/a/b"},
		{whole, "a", ""},
		{part, "/docker/a", "/m"},
		{part, "/docker/a/b", "/m/b"},
		{part, "/docker/ab", ""},
		{part, "/other", ""},
		{part, "/", ""},
	} {
		if got := c.h.Dir(c.path); got != c.want {
			t.Errorf("Dir(%q) with root %s is %q, want %q", c.path, c.h.Root, got, c.want)
		}
	}
}

func TestLookup(t *testing.T) {
	testkit.Need(t, testkit.MemoryCgroup)
	h := treetest.Own(t).Hierarchy
	mkdir(t, h.Mount+"/a")
	c, err := h.Lookup(h.Root + "/a")
	if err != nil || c.ID == 0 || c.Path != h.Root+"/a" || c.Dir != h.Mount+"/a" || c.Version != h.Version {
		t.Errorf("%+v, %v", c, err)
	}
	for _, path := range []string{h.Root + "/b", h.Root + "/a/cgroup.procs", "/elsewhere", ""} {
		if c, err := h.Lookup(path); err == nil {
			t.Errorf("%q: %+v, want an error", path, c)
		}
	}
}
