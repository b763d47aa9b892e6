package agent

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"stella/internal/testkit"
)

const kernelLog = "/dev/kmsg"

// machine is this machine as it is seen in a container to which some of it was given: its processes, the cgroups
// below a directory, and the kernel log. What is not given is empty; of the log, there is a device that nobody may open.
// Most tests give the cgroups that are their own: those of other tests would be in the way.
func machine(t *testing.T, cgroups, log string) (root string) {
	t.Helper()
	testkit.Need(t, testkit.Root, testkit.Namespaces)
	root = t.TempDir()
	mount(t, "/proc", filepath.Join(root, "proc"), "", unix.MS_BIND, "")
	if cgroups != "" {
		mount(t, cgroups, filepath.Join(root, "sys/fs/cgroup"), "", unix.MS_BIND, "")
	}
	// A device there cannot be opened, by root either.
	mount(t, "none", filepath.Join(root, "dev"), "tmpfs", unix.MS_NODEV, "size=64k")
	name := filepath.Join(root, "dev/kmsg")
	if err := unix.Mknod(name, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 11))); err != nil {
		t.Fatal(err)
	}
	if log != "" {
		mountOn(t, log, name, "", unix.MS_BIND, "")
	}
	return root
}

// mount mounts something in a directory, which it makes, for as long as the test runs.
func mount(t *testing.T, what, at, kind string, flags uintptr, options string) {
	t.Helper()
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	mountOn(t, what, at, kind, flags, options)
}

// mountOn is mount on what is there.
func mountOn(t *testing.T, what, at, kind string, flags uintptr, options string) {
	t.Helper()
	if err := unix.Mount(what, at, kind, flags, options); err != nil {
		t.Fatalf("mount %s at %s: %v", what, at, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}
