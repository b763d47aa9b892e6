package sentinel

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"stella/internal/testkit"
)

// host is a file system of a host as a container sees it, with /var/run a link to /run, and a file in /run through a mount or a directory of its own.
func TestCanary(t *testing.T) {
	root := t.TempDir()
	mkdir(t, filepath.Join(root, "run"))
	mkdir(t, filepath.Join(root, "var/lib"))
	link(t, "/run", filepath.Join(root, "var/run"))
	link(t, "/../../../..", filepath.Join(root, "up"))
	f, err := Open(filepath.Join(root, "run/gated"), new(book).log())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"/run", "/var/run", "run", "/var/../run/", "/up/run"} {
		if err := f.Canary(root, dir); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
	for _, dir := range []string{"/", "/var/lib", "/missing", "/run/gated"} {
		if err := f.Canary(root, dir); !errors.Is(err, ErrElsewhere) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	for _, root := range []string{"/missing/root", "/dev/null"} {
		if err := f.Canary(root, "/run"); err == nil || errors.Is(err, ErrElsewhere) {
			t.Errorf("below %s: %v", root, err)
		}
	}
	writeFile(t, filepath.Join(root, "var/lib", canaryName), "old")
	if err := f.Canary(root, "/var/lib"); !errors.Is(err, ErrElsewhere) {
		t.Errorf("another's canary: %v", err)
	}
	link(t, "loop", filepath.Join(root, "loop"))
	if err := f.Canary(root, "/loop"); err == nil || errors.Is(err, ErrElsewhere) {
		t.Errorf("a loop: %v", err)
	}
	only(t, filepath.Join(root, "run"))
}

// In a pod the gate sees the host's directory by a mount of its own.
func TestCanaryThroughAMount(t *testing.T) {
	testkit.Need(t, testkit.Namespaces)
	root, own := t.TempDir(), t.TempDir()
	mkdir(t, filepath.Join(root, "run"))
	mount(t, filepath.Join(root, "run"), own, "", unix.MS_BIND, "")
	t.Cleanup(func() {
		if err := unix.Unmount(own, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	f, err := Open(filepath.Join(own, "gated"), new(book).log())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Canary(root, "/run"); err != nil {
		t.Error(err)
	}
}
