package tree_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// makeEnv makes the test binary enter a cgroup, make a cgroup namespace there, mount the
// hierarchy anew, as a container's first process can, and make the cgroup foreign in it: "VERSION CONTAINER MOUNTPOINT".
const makeEnv = "STELLA_TREE_TEST_MAKE"

func TestMain(m *testing.M) {
	if text := os.Getenv(makeEnv); text != "" {
		if err := makeThroughOwnMount(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func makeThroughOwnMount(text string) error {
	var version int
	var container, point string
	if _, err := fmt.Sscan(text, &version, &container, &point); err != nil {
		return err
	}
	// The namespace's root is where this thread is; on v1 threads are placed one by one.
	runtime.LockOSThread()
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
	return os.Mkdir(point+"/foreign", 0o755)
}
