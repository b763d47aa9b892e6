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

func TestParseLimits(t *testing.T) {
	for text, want := range map[string]int64{"4096\n": 4096, "0\n": 0, "max\n": -1, "": -1, "-5\n": -1, "9x": -1} {
		got, limited := parseMax(text)
		if limited != (want >= 0) || limited && got != want {
			t.Errorf("memory.max of %q is %d, %v", text, got, limited)
		}
	}
	for text, want := range map[string]int64{
		"MemFree: 5 kB\nMemTotal:       24684100 kB\nMemTotal: 1 kB\n": 24684100 << 10,
		"MemTotal: 0 kB\n": -1, "MemTotal: -3 kB\n": -1, "MemTotal:\n": -1, "": -1, "MemTotal: 99999999999999999 kB\n": -1,
	} {
		got, ok := parseMemTotal(text)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("memory of %q is %d, %v", text, got, ok)
		}
	}
}

func TestLeftBehind(t *testing.T) {
	for dir, want := range map[string]bool{
		"stella-a-123": true, "stella-a-": false, "stella-a": false, "stella-a-b-123": false, "stella-ab-123": false,
		"stella-a-12x": false, "other-a-123": false, "a-123": false,
	} {
		if got := leftBehind(dir, "a"); got != want {
			t.Errorf("%s: %v", dir, got)
		}
	}
}

// Whatever the kernel's files hold, an amount that is taken from them is one.
func FuzzAmounts(f *testing.F) {
	f.Add("MemTotal: 24684100 kB\ninactive_file 50\n")
	f.Add("max\n")
	f.Fuzz(func(t *testing.T, text string) {
		if n, ok := parseMax(text); ok && n < 0 {
			t.Errorf("limit of %d", n)
		}
		if n, ok := parseMemTotal(text); ok && n <= 0 {
			t.Errorf("memory of %d", n)
		}
		if leftBehind(text, "a") && leftBehind(text, "a-b") {
			t.Errorf("%q belongs to two", text)
		}
	})
}
