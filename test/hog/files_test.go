//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"stella/internal/testkit"
)

// memoryDir is a directory in a tmpfs of the test's own.
func memoryDir(t *testing.T, options string) string {
	t.Helper()
	testkit.Need(t, testkit.Namespaces) // that is, the right to mount
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// diskDir is a directory on a disk: /tmp may be a tmpfs, and /var/tmp must survive a restart.
func diskDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "stella-hog-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// stat is a counter of memory.stat, in bytes.
func (p *process) stat(key string) int64 {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.group.Dir(), "memory.stat"))
	if err != nil {
		p.t.Fatal(err)
	}
	return int64(field(string(text), key))
}

func TestTmpfsCountsAsSharedMemory(t *testing.T) {
	t.Parallel()
	dir := memoryDir(t, "size=64m")
	p := start(t, 64*mib, "tmpfs", dir, "20Mi")
	p.line("hog: wrote 20971520 bytes")
	p.uses(20*mib, 20*mib+overhead)
	if shmem := p.stat("shmem"); shmem != 20*mib {
		t.Errorf("shmem is %.1f MiB", mibs(shmem))
	}
	p.stop()
	p.uses(0, overhead)
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestTmpfsOutlivesAKill(t *testing.T) {
	t.Parallel()
	dir := memoryDir(t, "size=128m")
	p := start(t, 24*mib, "tmpfs", dir, "64Mi")
	p.ends("signal: killed")
	p.killed(1)
	p.uses(16*mib, 24*mib)
	if _, err := os.Stat(filepath.Join(dir, fileName)); err != nil {
		t.Error(err)
	}
}

func TestTmpfsThatIsFull(t *testing.T) {
	t.Parallel()
	dir := memoryDir(t, "size=4m")
	p := start(t, 64*mib, "tmpfs", dir, "20Mi")
	p.ends("exit status 1")
	if text := p.errors.String(); !strings.Contains(text, "after 4194304 bytes") || !strings.Contains(text, "no space left on device") {
		t.Errorf("says %q", text)
	}
	p.killed(0)
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestPageCacheCountsAndIsClean(t *testing.T) {
	t.Parallel()
	p := start(t, 128*mib, "page-cache", diskDir(t), "20Mi")
	p.line("hog: read 20971520 bytes")
	p.uses(20*mib, 20*mib+overhead)
	// The names of v1 and of v2. What little there is belongs to the directory.
	if dirty := p.stat("dirty") + p.stat("file_dirty"); dirty > mib {
		t.Errorf("%.1f MiB are not on the disk", mibs(dirty))
	}
	p.stop()
}

func TestPageCacheIsTakenBack(t *testing.T) {
	t.Parallel()
	dir := diskDir(t)
	p := start(t, 24*mib, "page-cache", dir, "40Mi")
	p.line("hog: read 41943040 bytes")
	p.killed(0)
	p.uses(16*mib, 24*mib)
	if shmem := p.stat("shmem"); shmem != 0 {
		t.Errorf("shmem is %.1f MiB", mibs(shmem))
	}
	p.alive()
	p.stop()
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFilesOfTheWrongKind(t *testing.T) {
	t.Parallel()
	for mode, c := range map[string]struct{ dir, says string }{
		"tmpfs":      {diskDir(t), "is not in a tmpfs"},
		"page-cache": {memoryDir(t, "size=1m"), "is in a tmpfs"},
	} {
		p := free(t, mode, c.dir, "1Mi")
		p.ends("exit status 1")
		if !strings.Contains(p.errors.String(), c.says) {
			t.Errorf("%s in %s says %q", mode, c.dir, &p.errors)
		}
	}
	p := free(t, "tmpfs", filepath.Join(t.TempDir(), "nowhere"), "1Mi")
	p.ends("exit status 1")
	if !strings.Contains(p.errors.String(), "nowhere: no such file or directory") {
		t.Errorf("says %q", &p.errors)
	}
}
