package cage

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/testkit"
)

// headlessEnv makes this binary a process whose first thread has ended and whose
// others have not: /proc then calls the whole process a zombie.
const headlessEnv = "STELLA_CAGE_TEST_HEADLESS"

func TestMain(m *testing.M) {
	if os.Getenv(headlessEnv) != "" {
		headless()
	}
	os.Exit(m.Run())
}

func init() {
	if os.Getenv(headlessEnv) != "" {
		runtime.LockOSThread() // in init: the first thread
	}
}

// headless lives on as a thread that waits for the end of standard input.
func headless() {
	up := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		close(up)
		_, _ = syscall.Read(0, make([]byte, 1))
		os.Exit(0)
	}()
	<-up
	fmt.Println("up")
	_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT, 0, 0, 0)
}

// needCgroups goes on where a cage may have cgroups.
func needCgroups(t *testing.T) {
	t.Helper()
	testkit.Need(t, testkit.Root, testkit.MemoryCgroup)
}

// newCage makes a cage that the test must close, or abandon and sweep.
func newCage(t *testing.T, base string, cgroups bool) *Cage {
	t.Helper()
	c, err := New(base, cgroups)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// closed closes a cage and looks that it is gone, without the help of leftovers.
func closed(t *testing.T, c *Cage) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	gone(t, c)
}

// gone looks that a cage's directory and cgroups are no more.
func gone(t *testing.T, c *Cage) {
	t.Helper()
	for _, dir := range append(c.groupDirs(), c.Dir) {
		if _, err := os.Lstat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there (%v)", dir, err)
		}
	}
}

// abandon does to a cage what the death of its owner does.
func abandon(t *testing.T, c *Cage) {
	t.Helper()
	if err := c.lock.Close(); err != nil {
		t.Fatal(err)
	}
}

// child is a process of this test that lives until it is killed or told to go.
type child struct {
	*exec.Cmd
	stdin io.Closer
}

// start starts cat, or headless, in a cage's cgroups, or outside for nil.
func start(t *testing.T, c *Cage, cmd *exec.Cmd) child {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	leave := func() error { return nil }
	if c != nil {
		if leave, err = c.Enter(); err != nil {
			t.Fatal(err)
		}
	}
	err = cmd.Start()
	if back := leave(); back != nil {
		t.Error(back)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // ended already: as well
		_ = cmd.Wait()
	})
	return child{cmd, stdin}
}

// startHeadless starts a headless process and returns when it is one.
func startHeadless(t *testing.T, c *Cage) child {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), headlessEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, c, cmd)
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	// The thread ends after its last word, which nothing else tells.
	for deadline := time.Now().Add(10 * time.Second); state(t, p.Process.Pid) != "Z"; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the first thread does not end")
		}
	}
	return p
}

// state is the letter that ps shows.
func state(t *testing.T, pid int) string {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "\nState:\t")
	return after[:1]
}

// killed says whether a child ends by SIGKILL, soon.
func (c child) killed(t *testing.T) bool {
	t.Helper()
	late := time.AfterFunc(5*time.Second, func() { c.stdin.Close() })
	defer late.Stop()
	_ = c.Wait() // the state says it
	status, ok := c.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// livesOn ends a child that nobody has killed.
func (c child) livesOn(t *testing.T) bool {
	t.Helper()
	c.stdin.Close()
	return c.Wait() == nil
}

// mountTmpfs gives the test a file system of its own. It unmounts it, and what is in it, when the test is over.
func mountTmpfs(t *testing.T, dir string, flags uintptr, data string) {
	t.Helper()
	testkit.Need(t, testkit.Root, testkit.Namespaces)
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, data); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}

// cages lists what is in a base directory.
func cages(t *testing.T, base string) []string {
	t.Helper()
	entries, err := os.ReadDir(base)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// everyHierarchy finds cgroups of this test's cages wherever they are.
func everyHierarchy(t *testing.T, name string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, _ os.DirEntry, _ error) error {
		if filepath.Base(path) == name {
			found = append(found, path)
		}
		return nil // what vanishes meanwhile is not there
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
