package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeProc writes the files of a proc file system whose hierarchies are mounted in a
// directory, and returns both.
func fakeProc(t *testing.T, mount, membership string) (proc, point string) {
	t.Helper()
	proc, point = t.TempDir(), t.TempDir()
	put(t, filepath.Join(proc, "meminfo"), "MemTotal: 4096 kB\n")
	put(t, filepath.Join(proc, "self/cgroup"), membership)
	put(t, filepath.Join(proc, "self/mountinfo"), fmt.Sprintf(mount, point))
	return proc, point
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCeiling(t *testing.T) {
	const (
		v1    = "30 22 0:26 / %s rw - cgroup cgroup rw,memory"
		v2    = "30 22 0:26 / %s rw - cgroup2 cgroup2 rw"
		total = 4096 << 10
	)
	for name, c := range map[string]struct {
		mount, membership string
		files             map[string]string
		want              int64
		source            string
	}{
		"v1": {v1, "4:memory:/a\n", map[string]string{"a/memory.stat": "hierarchical_memory_limit 12345\n"}, 12345, "a/memory.stat"},
		"v1 without a limit": {v1, "4:memory:/a\n", map[string]string{"a/memory.stat": "hierarchical_memory_limit 9223372036854771712\n"},
			total, "meminfo"},
		"v2, the group's own":                     {v2, "0::/a/b\n", map[string]string{"a/b/memory.max": "500\n", "a/memory.max": "900\n"}, 500, "a/b/memory.max"},
		"v2, one above":                           {v2, "0::/a/b\n", map[string]string{"a/b/memory.max": "max\n", "a/memory.max": "900\n"}, 900, "a/memory.max"},
		"v2, the mount itself, as in a container": {v2, "0::/\n", map[string]string{"memory.max": "700\n"}, 700, "memory.max"},
		"v2 without a limit":                      {v2, "0::/a\n", map[string]string{"a/memory.max": "max\n"}, total, "meminfo"},
		"v2 without the controller":               {v2, "0::/a\n", nil, total, "meminfo"},
	} {
		t.Run(name, func(t *testing.T) {
			proc, point := fakeProc(t, c.mount, c.membership)
			for file, text := range c.files {
				put(t, filepath.Join(point, file), text)
			}
			got, err := ceiling(proc)
			if err != nil {
				t.Fatal(err)
			}
			if got.Bytes != c.want || !strings.HasSuffix(got.Source, "/"+c.source) {
				t.Errorf("%+v, want %d from %s", got, c.want, c.source)
			}
		})
	}
	proc, _ := fakeProc(t, v2, "0::/\n")
	put(t, filepath.Join(proc, "meminfo"), "MemFree: 1 kB\n")
	if c, err := ceiling(proc); err == nil {
		t.Errorf("without MemTotal: %+v", c)
	}
}
