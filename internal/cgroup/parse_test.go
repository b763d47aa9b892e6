package cgroup

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMounts(t *testing.T) {
	const text = `22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:26 /../.. /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
31 22 0:27 /docker/abc /mnt/a\040b rw master:5 - cgroup cgroup rw,memory
32 22 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,memoryless
broken line
`
	got, err := parseMounts(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []hierarchy{
		{version: 2, root: "/../..", point: "/sys/fs/cgroup"},
		{version: 1, root: "/docker/abc", point: "/mnt/a b"},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(hierarchy{})); d != "" {
		t.Error(d)
	}
}

func TestParseMembership(t *testing.T) {
	v1, v2, err := parseMembership(strings.NewReader("9:name=systemd:/x\n4:cpu,memory:/a:b\n0::/user.slice\n"))
	if err != nil || v1 != "/a:b" || v2 != "/user.slice" {
		t.Errorf("got %q, %q, %v", v1, v2, err)
	}
	if _, _, err := parseMembership(strings.NewReader(strings.Repeat("x", maxLine+1))); err == nil {
		t.Error("an endless line was accepted")
	}
}

func TestDirectory(t *testing.T) {
	for _, c := range []struct {
		h            hierarchy
		cgroup, want string
	}{
		{hierarchy{root: "/", point: "/m"}, "/a/b", "/m/a/b"},
		{hierarchy{root: "/", point: "/m"}, "/", "/m"},
		{hierarchy{root: "/docker/x", point: "/m"}, "/docker/x", "/m"},
		{hierarchy{root: "/docker/x", point: "/m"}, "/docker/x/y", "/m/y"},
		{hierarchy{root: "/", point: "/m"}, "/../../outside", "/m/outside"},
	} {
		if got := c.h.directory(c.cgroup); got != c.want {
			t.Errorf("%+v directory(%q) = %q, want %q", c.h, c.cgroup, got, c.want)
		}
	}
}

func TestParseKeyed(t *testing.T) {
	const text = "oom_kill_disable 0\nunder_oom 0\noom_kill 7\nbad x\n"
	if n, ok := parseKeyed(text, "oom_kill"); n != 7 || !ok {
		t.Errorf("oom_kill = %d, %v", n, ok)
	}
	for _, key := range []string{"oom", "bad", ""} {
		if n, ok := parseKeyed(text, key); ok {
			t.Errorf("%q = %d, want it missing", key, n)
		}
	}
}

// Whatever /proc holds, a cgroup's directory stays below its mount point.
func FuzzDirectory(f *testing.F) {
	f.Add("31 22 0:27 /docker/abc /mnt rw - cgroup cgroup rw,memory", "/docker/abc/../../..")
	f.Fuzz(func(t *testing.T, mount, cgroup string) {
		found, err := parseMounts(strings.NewReader(mount))
		if err != nil {
			return
		}
		for _, h := range found {
			if !strings.HasPrefix(h.point, "/") || h.point == "/" || strings.Contains(h.point, "/.") || strings.Contains(h.point, "//") || strings.HasSuffix(h.point, "/") {
				continue // not a path that the kernel prints
			}
			if dir := h.directory(cgroup); dir != h.point && !strings.HasPrefix(dir, h.point+"/") {
				t.Errorf("%q is outside of %q", dir, h.point)
			}
		}
	})
}
