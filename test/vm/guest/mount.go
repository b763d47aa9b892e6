package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const cgroupRoot = "/sys/fs/cgroup"

// mounts are the file systems of the guest, in order. /tmp is a directory of the
// root, which is a tmpfs already: the test binary can lie there.
var mounts = []struct{ kind, at, options string }{
	{"proc", "/proc", ""},
	{"sysfs", "/sys", ""},
	{"cgroup2", cgroupRoot, "nsdelegate,memory_recursiveprot"},
	{"devtmpfs", "/dev", ""},
	{"devpts", "/dev/pts", "mode=620,ptmxmode=666"},
	{"tmpfs", "/dev/shm", "mode=1777"},
	{"tmpfs", "/run", "mode=755"},
}

// mountAll mounts the root anew and all other file systems.
func mountAll() error {
	if err := mountRoot(); err != nil {
		return fmt.Errorf("mount the root: %w", err)
	}
	for _, m := range mounts {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return fmt.Errorf("mount %s: %w", m.kind, err)
		}
		if err := syscall.Mount(m.kind, m.at, m.kind, 0, m.options); err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.kind, m.at, err)
		}
	}
	for dir, mode := range map[string]os.FileMode{"/root": 0o700, "/tmp": 0o777 | os.ModeSticky, "/var/tmp": 0o777 | os.ModeSticky} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(dir, mode); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{"fd": "", "stdin": "0", "stdout": "1", "stderr": "2"} {
		if err := os.Symlink(filepath.Join("/proc/self/fd", target), filepath.Join("/dev", name)); err != nil {
			return err
		}
	}
	return nil
}

// mountRoot puts the root on top of itself. The kernel refuses pivot_root(2), with
// which containers get their root, where the current root is the first mount of
// all; this one is the second. It is shared, as systemd makes it, so that
// mounts made below it reach containers that ask for them.
func mountRoot() error {
	const stage = "/vm/root"
	if err := os.Mkdir(stage, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("/", stage, "", syscall.MS_BIND, ""); err != nil {
		return err
	}
	if err := os.Chdir(stage); err != nil {
		return err
	}
	if err := syscall.Mount(".", "/", "", syscall.MS_MOVE, ""); err != nil {
		return err
	}
	if err := syscall.Chroot("."); err != nil {
		return err
	}
	return syscall.Mount("", "/", "", syscall.MS_SHARED|syscall.MS_REC, "")
}

// delegate hands all controllers to the children of the root cgroup and makes
// the cgroup for the program. It returns its directory.
func delegate() (string, error) {
	controllers, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
	if err != nil {
		return "", err
	}
	for name := range strings.FieldsSeq(string(controllers)) {
		if err := os.WriteFile(filepath.Join(cgroupRoot, "cgroup.subtree_control"), []byte("+"+name), 0); err != nil {
			return "", fmt.Errorf("hand the controller %s to child cgroups: %w", name, err)
		}
	}
	dir := filepath.Join(cgroupRoot, "test.service", "main")
	return dir, os.MkdirAll(dir, 0o755)
}
