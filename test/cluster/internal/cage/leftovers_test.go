package cage

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"stella/internal/testkit"
)

// A process that escaped from the cgroups is found by its namespaces.
func TestCloseNamesAProcessInANamespace(t *testing.T) {
	testkit.Need(t, testkit.Root, testkit.Namespaces)
	c := newCage(t, t.TempDir(), false)
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWCGROUP | syscall.CLONE_NEWUTS}
	p := start(t, nil, cmd)
	outside := start(t, nil, exec.Command("cat"))
	if err := c.Watch(p.Process.Pid); err != nil {
		t.Fatal(err)
	}
	err := c.Close()
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d (cat)", p.Process.Pid)) {
		t.Errorf("a process is left, and Close says: %v", err)
	}
	if err != nil && strings.Contains(err.Error(), fmt.Sprintf("process %d ", outside.Process.Pid)) {
		t.Errorf("a process that never was inside is named: %v", err)
	}
	gone(t, c)
	if !p.livesOn(t) {
		t.Errorf("what is only looked at was killed: %v", p.ProcessState)
	}
}

// One namespace is enough, whichever it is.
func TestEachNamespaceIsWatched(t *testing.T) {
	testkit.Need(t, testkit.Root, testkit.Namespaces)
	for flag, kind := range map[uintptr]string{
		syscall.CLONE_NEWNS: "mnt", syscall.CLONE_NEWNET: "net", syscall.CLONE_NEWCGROUP: "cgroup", syscall.CLONE_NEWUTS: "uts",
	} {
		c := newCage(t, t.TempDir(), false)
		cmd := exec.Command("cat")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flag}
		p := start(t, nil, cmd)
		if err := c.Watch(p.Process.Pid); err != nil {
			t.Fatal(err)
		}
		own := map[string]bool{}
		for _, kind := range namespaceKinds {
			ns, err := os.Readlink("/proc/self/ns/" + kind)
			if err != nil {
				t.Fatal(err)
			}
			own[ns] = true
		}
		for ns := range c.namespaces {
			if own[ns] {
				delete(c.namespaces, ns) // this test's, which a real node has none of
			}
		}
		if err := c.Close(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d ", p.Process.Pid)) {
			t.Errorf("%s: %v", kind, err)
		}
		p.livesOn(t)
	}
}

func TestWatchOfNobody(t *testing.T) {
	c := newCage(t, t.TempDir(), false)
	if err := c.Watch(1 << 30); err == nil || !strings.Contains(err.Error(), "1073741824") {
		t.Error(err)
	}
	closed(t, c)
}

func TestCloseNamesAMount(t *testing.T) {
	base := t.TempDir()
	c := newCage(t, base, false)
	at := filepath.Join(c.Dir, "mounted")
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	mountTmpfs(t, at, 0, "")
	err := c.Close()
	for _, want := range []string{"mount ", at, "directory " + c.Dir} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in: %v", want, err)
		}
	}
}

// A cgroup that somebody sits in whom Close must not kill: this process.
func TestLeftoversNameACgroup(t *testing.T) {
	needCgroups(t)
	c := newCage(t, t.TempDir(), true)
	p := start(t, c, exec.Command("cat"))
	err := c.leftovers()
	for _, dir := range append(c.groupDirs(), c.Dir) {
		if err == nil || !strings.Contains(err.Error(), "directory "+dir) {
			t.Errorf("want %s in: %v", dir, err)
		}
	}
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d (cat)", p.Process.Pid)) {
		t.Errorf("want process %d in: %v", p.Process.Pid, err)
	}
	closed(t, c)
}
