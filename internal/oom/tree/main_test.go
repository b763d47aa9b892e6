package tree_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"stella/internal/oom/tree"
)

// insideEnv makes the test binary enter a cgroup, make a cgroup namespace there and mount the
// hierarchy anew, as a container's first process can. There it makes a cgroup, or says what it finds: "WHAT VERSION CONTAINER MOUNTPOINT".
const insideEnv = "STELLA_TREE_TEST_INSIDE"

// The namespaces are those of one thread, and /proc/self is the main one: what init locks is that one.
func init() {
	if os.Getenv(insideEnv) != "" {
		runtime.LockOSThread()
	}
}

func TestMain(m *testing.M) {
	if text := os.Getenv(insideEnv); text != "" {
		if err := beInside(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// inside does one of these things in a cgroup namespace whose root is that cgroup, and returns what was said.
func inside(t *testing.T, what string, version int, container string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s %s", insideEnv, what, version, container, t.TempDir()))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func beInside(text string) error {
	var version int
	var what, container, point string
	if _, err := fmt.Sscan(text, &what, &version, &container, &point); err != nil {
		return err
	}
	// The namespace's root is where this thread is; on v1 threads are placed one by one.
	kind, options, file := "cgroup", "memory", "/tasks"
	if version == 2 {
		kind, options, file = "cgroup2", "", "/cgroup.procs"
	}
	if err := os.WriteFile(container+file, []byte("0"), 0); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("none", point, kind, 0, options); err != nil {
		return fmt.Errorf("mount %s: %w", kind, err)
	}
	if what == "make" {
		return os.Mkdir(point+"/foreign", 0o755)
	}
	h, err := tree.Find("/proc", point)
	if err != nil {
		return err
	}
	c, err := h.Lookup(h.Root + "/below")
	fmt.Printf("%d %s %d %v", h.Version, h.Root, c.ID, h.Mount == point)
	return err
}
