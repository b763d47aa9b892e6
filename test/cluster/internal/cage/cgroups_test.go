package cage

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
)

func TestV1Controllers(t *testing.T) {
	for options, want := range map[string]string{
		"":                              "",
		"rw":                            "",
		"rw,memory":                     "memory",
		"rw,cpu,cpuacct":                "cpu,cpuacct",
		"rw,net_cls,net_prio":           "net_cls,net_prio",
		"rw,xattr,name=systemd":         "name=systemd",
		"rw,clone_children,cpuset":      "cpuset",
		"rw,memory,release_agent=/sbin": "memory",
		"rw,memoryless,cpus":            "",
	} {
		if got := v1Controllers(options); got != want {
			t.Errorf("%q: want %q, got %q", options, want, got)
		}
	}
}

func TestParseMembership(t *testing.T) {
	got := parseMembership("12:cpu,cpuacct:/a\n1:name=systemd:/user slice/x:y\n0::/init.scope\nnonsense\n3:pids:/ends in a space \n\n")
	want := map[string]string{"cpu,cpuacct": "/a", "name=systemd": "/user slice/x:y", "": "/init.scope", "pids": "/ends in a space "}
	if !maps.Equal(got, want) {
		t.Errorf("want %q, got %q", want, got)
	}
}

func TestChooseHierarchies(t *testing.T) {
	v1 := func(options, root, at string) *mountinfo.Info {
		return &mountinfo.Info{FSType: "cgroup", VFSOptions: options, Root: root, Mountpoint: at}
	}
	v2 := func(at string) *mountinfo.Info {
		return &mountinfo.Info{FSType: "cgroup2", VFSOptions: "rw", Root: "/", Mountpoint: at}
	}
	own := map[string]string{"": "/", "memory": "/user/me", "cpu,cpuacct": "/", "name=systemd": "/me"}
	for _, c := range []struct {
		what   string
		mounts []*mountinfo.Info
		want   []hierarchy
	}{
		{"v2", []*mountinfo.Info{v2("/cg"), v2("/cg/again")}, []hierarchy{{v2: true, root: "/cg", parent: "/cg"}}},
		{"v1", []*mountinfo.Info{v1("rw,cpu,cpuacct", "/", "/cg/cpu"), v1("rw,memory", "/", "/cg/memory"), v1("rw,memory", "/", "/again"), v1("rw,name=systemd", "/", "/cg/systemd")}, []hierarchy{
			{options: "cpu,cpuacct", root: "/cg/cpu", parent: "/cg/cpu"},
			{options: "memory", root: "/cg/memory", parent: "/cg/memory/user/me"},
			{options: "none,name=systemd", root: "/cg/systemd", parent: "/cg/systemd/me"},
		}},
		{"hybrid, memory on v1", []*mountinfo.Info{v2("/cg/unified"), v1("rw,memory", "/", "/cg/memory")}, []hierarchy{
			{options: "memory", root: "/cg/memory", parent: "/cg/memory/user/me"},
		}},
		{"hybrid, memory on v2", []*mountinfo.Info{v2("/cg/unified"), v1("rw,name=systemd", "/", "/cg/systemd")}, []hierarchy{
			{v2: true, root: "/cg/unified", parent: "/cg/unified"},
		}},
		{"a container's view", []*mountinfo.Info{v1("rw,memory", "/user", "/cg/memory")}, []hierarchy{
			{options: "memory", root: "/cg/memory", parent: "/cg/memory/me"},
		}},
		// The first mount does not show this process's cgroup; next to it is somebody else's.
		{"a neighbour's view", []*mountinfo.Info{v1("rw,memory", "/user/you", "/yours"), v1("rw,memory", "/", "/cg/memory")}, []hierarchy{
			{options: "memory", root: "/cg/memory", parent: "/cg/memory/user/me"},
		}},
		{"one that this process is not in", []*mountinfo.Info{v1("rw,memory", "/", "/cg/memory"), v1("rw,rdma", "/", "/cg/rdma")}, []hierarchy{
			{options: "memory", root: "/cg/memory", parent: "/cg/memory/user/me"},
		}},
		{"none", nil, nil},
	} {
		got, err := chooseHierarchies(c.mounts, own)
		if !slices.Equal(got, c.want) || (err == nil) != (len(c.want) > 0) {
			t.Errorf("%s: want %v, got %v, %v", c.what, c.want, got, err)
		}
	}
}

// Enter and its way back leave this process where it was.
func TestEnterAndLeave(t *testing.T) {
	needCgroups(t)
	c := newCage(t, t.TempDir(), true)
	before, err := membership()
	if err != nil {
		t.Fatal(err)
	}
	leave, err := c.Enter()
	if err != nil {
		t.Fatal(err)
	}
	inside, err := membership()
	if err != nil {
		t.Error(err)
	}
	if err := leave(); err != nil {
		t.Error(err)
	}
	after, err := membership()
	if err != nil || !maps.Equal(before, after) {
		t.Errorf("was in %v, is in %v (%v)", before, after, err)
	}
	count := 0
	for _, path := range inside {
		if filepath.Base(path) == filepath.Base(c.Dir) {
			count++
		}
	}
	if count != len(c.groups) {
		t.Errorf("entered %v, the cage has %v", inside, c.groupDirs())
	}
	closed(t, c)
}

// Close takes what a program on the node started, however deep it is.
func TestJoinLeaf(t *testing.T) {
	needCgroups(t)
	c := newCage(t, t.TempDir(), true)
	leave, err := c.Enter()
	if err != nil {
		t.Fatal(err)
	}
	err = JoinLeaf(c.Dir)
	inside, _ := membership()
	p := start(t, nil, exec.Command("cat"))
	if back := leave(); err != nil || back != nil {
		t.Fatal(err, back)
	}
	leaf := "/" + filepath.Join(filepath.Base(c.Dir), Leaf)
	if in := slices.Collect(maps.Values(inside)); !slices.ContainsFunc(in, func(path string) bool { return strings.HasSuffix(path, leaf) }) {
		t.Errorf("JoinLeaf led to %v", in)
	}
	for _, g := range c.groups {
		if err := os.MkdirAll(filepath.Join(g.dir, Leaf, "deep", "deeper"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	closed(t, c)
	if !p.killed(t) {
		t.Errorf("the process in the leaf: %v", p.ProcessState)
	}
}

// A process whose first thread has ended is not a zombie, though it looks like one.
func TestAProcessWithoutItsFirstThreadIsKilled(t *testing.T) {
	needCgroups(t)
	c := newCage(t, t.TempDir(), true)
	p := startHeadless(t, c)
	begin := time.Now()
	closed(t, c)
	if took := time.Since(begin); took > emptyWithin/2 {
		t.Errorf("Close took %v", took)
	}
	if !p.killed(t) {
		t.Errorf("the process without its first thread: %v", p.ProcessState)
	}
}

// A child that ended and that nobody has asked for is no obstacle, and not killed for ever.
func TestZombiesAreNoObstacle(t *testing.T) {
	needCgroups(t)
	c := newCage(t, t.TempDir(), true)
	p := start(t, c, exec.Command("cat"))
	if isZombie(p.Process.Pid) {
		t.Error("a living process is taken for a zombie")
	}
	p.stdin.Close()
	for deadline := time.Now().Add(10 * time.Second); state(t, p.Process.Pid) != "Z"; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("cat does not end")
		}
	}
	if !isZombie(p.Process.Pid) {
		t.Error("a zombie is not taken for one")
	}
	closed(t, c)
	if err := p.Wait(); err != nil {
		t.Errorf("a process that had ended was killed: %v", err)
	}
}

func TestGroupsAreWrittenDown(t *testing.T) {
	needCgroups(t)
	c := newCage(t, t.TempDir(), true)
	got, err := readGroups(c.Dir)
	if err != nil || !slices.Equal(got, c.groupDirs()) || len(got) == 0 {
		t.Errorf("want %v, got %v, %v", c.groupDirs(), got, err)
	}
	if !slices.ContainsFunc(got, func(dir string) bool { return strings.Contains(dir, "memory") || len(got) == 1 }) {
		t.Errorf("no memory controller: %v", got)
	}
	closed(t, c)
}
