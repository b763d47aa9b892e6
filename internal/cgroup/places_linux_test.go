package cgroup_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"stella/internal/cgroup"
	"stella/internal/testkit"
)

// placeEnv makes TestProbePrinted print; its value says what to do before.
const placeEnv = "STELLA_CGROUP_TEST_PLACE"

const v2Root = "/sys/fs/cgroup"

// TestProbePrinted does nothing where it is not a child of TestProbeFromPlaces.
func TestProbePrinted(t *testing.T) {
	place := os.Getenv(placeEnv)
	if place == "" {
		return
	}
	if place != "host" { // with a mount of the cgroups that it may see, as runtimes make it
		if err := syscall.Unmount(v2Root, 0); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("cgroup2", v2Root, "cgroup2", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	if place == "subgroup" {
		if err := errors.Join(os.Mkdir(v2Root+"/main", 0o755), os.WriteFile(v2Root+"/main/cgroup.procs", []byte("0"), 0)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := cgroup.Probe()
	fmt.Printf("%v %d %q %s %v\n", s.Verdict, s.Version, s.Parent, s.Reason, err)
}

// A process looks for a place for its groups from wherever it was started. On v2
// that is decided by rules that only a kernel has: no processes beside
// controllers for children, except in the root.
func TestProbeFromPlaces(t *testing.T) {
	testkit.Need(t, testkit.Root, testkit.CgroupV2)
	for _, c := range []struct{ name, place, cgroup, want string }{
		{"the root", "host", "", `yes 2 "/sys/fs/cgroup"`},
		{"a service with a subgroup", "host", "stella-test.service/main", `yes 2 "/sys/fs/cgroup/stella-test.service"`},
		{"a service without", "host", "stella-test.service", `yes 2 "/sys/fs/cgroup"`},
		{"a service in a slice", "host", "stella-test.slice/a.service", `yes 2 "/sys/fs/cgroup/stella-test.slice"`},
		{"a container", "container", "stella-test.slice", `no 2 "" /sys/fs/cgroup has processes itself`},
		{"a container with a subgroup", "subgroup", "stella-test.slice", `yes 2 "/sys/fs/cgroup"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := makePath(t, c.cgroup)
			cmd := exec.Command(os.Args[0], "-test.run=^TestProbePrinted$")
			cmd.Env = append(os.Environ(), placeEnv+"="+c.place)
			cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
			if c.place == "subgroup" {
				t.Cleanup(func() { os.Remove(filepath.Join(dir.Name(), "main")) })
			}
			if c.place != "host" {
				cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWCGROUP | syscall.CLONE_NEWNS
			}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), c.want) {
				t.Errorf("%v, want %s:\n%s", err, c.want, out)
			}
		})
	}
}

// makePath makes a cgroup and its parents, and opens it. They are removed when the test ends.
func makePath(t *testing.T, path string) *os.File {
	t.Helper()
	dir := v2Root
	for name := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' }) {
		made := filepath.Join(dir, name)
		if err := os.Mkdir(made, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Remove(made); err != nil {
				t.Error(err)
			}
		})
		dir = made
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
