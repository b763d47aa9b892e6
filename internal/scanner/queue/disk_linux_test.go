package queue_test

import (
	"fmt"
	"syscall"
	"testing"
)

// smallDisk mounts a file system of so many bytes; free makes it four times as large.
func smallDisk(t *testing.T, bytes int) (dir string, free func()) {
	t.Helper()
	dir = t.TempDir()
	mount := func(flags uintptr, size int) error {
		return syscall.Mount("stella-test", dir, "tmpfs", flags, fmt.Sprintf("size=%d", size))
	}
	if err := mount(0, bytes); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir, func() {
		if err := mount(syscall.MS_REMOUNT, 4*bytes); err != nil {
			t.Fatal(err)
		}
	}
}
