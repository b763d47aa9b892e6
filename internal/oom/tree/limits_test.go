package tree_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stella/internal/oom"
	"stella/internal/oom/tree"
	"stella/internal/oom/tree/treetest"
)

// The kernel's own limits, from a cgroup up.
func TestLimits(t *testing.T) {
	p := treetest.Own(t)
	p.Delegate("")
	p.Make("/pod", 96<<20)
	p.Delegate("/pod")
	p.Make("/pod/c", 64<<20)
	p.Make("/pod/free", 0)
	for path, want := range map[string][]int64{"/pod/c": {64 << 20, 96 << 20}, "/pod/free": {0, 96 << 20}, "/pod": {96 << 20}} {
		got, err := p.Limits(p.Root + path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if bytes := amounts(got); !slices.Equal(bytes, want) {
			t.Errorf("%s: %v, want %v", path, bytes, want)
		}
	}
	if _, err := p.Limits(p.Root + "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such cgroup: %v", err)
	}
}

func amounts(limits []oom.CgroupLimit) (bytes []int64) {
	for _, l := range limits {
		bytes = append(bytes, l.Bytes)
	}
	return bytes
}

func TestLimitsOfBothVersions(t *testing.T) {
	files := map[int]string{1: "memory.limit_in_bytes", 2: "memory.max"}
	for _, c := range []struct {
		version int
		text    string
		want    int64
		bad     bool
	}{
		{1, "67108864\n", 64 << 20, false},
		{1, "9223372036854771712\n", 0, false}, // pages of 4 KiB
		{1, "9223372036854710272\n", 0, false}, // of 64 KiB
		{2, "max\n", 0, false},
		{2, "67108864\n", 64 << 20, false},
		{2, "-1\n", 0, true},
		{2, "", 0, true},
		{2, strings.Repeat("9", 100), 0, true},
	} {
		h := tree.Hierarchy{Version: c.version, Mount: t.TempDir(), Root: "/"}
		put(t, filepath.Join(h.Mount, "a", files[c.version]), c.text)
		got, err := h.Limits("/a")
		if c.bad != (err != nil) || !c.bad && (len(got) != 1 || got[0].Bytes != c.want) {
			t.Errorf("v%d %q: %v, %v", c.version, c.text, got, err)
		}
	}
}

// A path leads nowhere else.
func TestLimitsOfHostilePaths(t *testing.T) {
	h := tree.Hierarchy{Version: 2, Mount: filepath.Join(t.TempDir(), "mount"), Root: "/part"}
	put(t, filepath.Join(h.Mount, "../secret/memory.max"), "1")
	if err := os.MkdirAll(h.Mount, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/part/../secret", "/part/../../secret", "/other", "/part/a/", "", "part", "/part" + strings.Repeat("/a", 100)} {
		if got, err := h.Limits(path); err == nil {
			t.Errorf("%q: %v", path, got)
		}
	}
}
