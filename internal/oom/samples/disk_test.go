package samples

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/testkit"
)

// walked adds up a directory.
func walked(t *testing.T, dir string) (w walk, ok bool) {
	t.Helper()
	w = walk{ctx: t.Context()}
	return w, w.root(dir)
}

func write(t *testing.T, name string, n int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, make([]byte, n), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A layer is what is in it: no file twice, nothing that a link points to, no holes.
func TestWalk(t *testing.T) {
	dir := t.TempDir()
	if w, ok := walked(t, dir); !ok || w.bytes != 0 || w.inodes != 0 {
		t.Errorf("an empty layer: %+v %v", w, ok)
	}
	write(t, dir+"/a/b/c", 1<<20)
	if err := os.Link(dir+"/a/b/c", dir+"/again"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a/b/c", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if f, err := os.Create(dir + "/holes"); err != nil || f.Truncate(1<<30) != nil {
		t.Fatal(err)
	}
	w, ok := walked(t, dir)
	if !ok || w.inodes != 5 || w.bytes < 1<<20 || w.bytes > 1<<20+64<<10 {
		t.Errorf("%+v %v, want 5 files of a megabyte", w, ok)
	}
}

// A layer that is too large, too deep or not there is not known, rather than told in part.
func TestWalkIsBounded(t *testing.T) {
	w := walk{ctx: t.Context(), files: layerFiles - 10}
	dir := t.TempDir()
	for i := range 20 {
		write(t, fmt.Sprint(dir, "/", i), 0)
	}
	if w.root(dir) {
		t.Error("a layer with too many files was counted")
	}
	deep := t.TempDir()
	write(t, deep+strings.Repeat("/d", layerDepth+2), 1)
	if _, ok := walked(t, deep); ok {
		t.Error("a layer that is too deep was counted")
	}
	if _, ok := walked(t, dir+"/none"); ok {
		t.Error("a layer that is not there was counted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if (&walk{ctx: ctx}).root(dir) {
		t.Error("a walk went on")
	}
}

// mountOverlay makes a root file system as a container runtime does, the machine's own with this test in it as /player, and
// returns the merged and the upper directory.
func mountOverlay(t *testing.T) (merged, upper string) {
	t.Helper()
	top := t.TempDir()
	mount := func(source, at, kind, options string) {
		t.Helper()
		err := unix.Mount(source, at, kind, 0, options)
		if errors.Is(err, unix.ENODEV) {
			t.Skipf("this kernel has no %s", kind)
		}
		if err != nil {
			t.Fatalf("mount %s at %s: %v", kind, at, err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(at, 0); err != nil {
				t.Error(err)
			}
		})
	}
	mount("tmpfs", top, "tmpfs", "size=64m")
	merged, upper = top+"/merged", top+"/upper"
	for _, dir := range []string{"/lower", "/upper", "/work", "/merged"} {
		if err := os.MkdirAll(top+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(top+"/lower/player", program, 0o755); err != nil {
		t.Fatal(err)
	}
	mount("overlay", merged, "overlay", fmt.Sprintf("lowerdir=%s/lower:/,upperdir=%s,workdir=%s/work", top, upper, top))
	return merged, upper
}

// What a process in an overlay writes is found by its cgroup alone.
func TestLayerOfContainer(t *testing.T) {
	testkit.Need(t, testkit.MemoryCgroup, testkit.Namespaces)
	merged, upper := mountOverlay(t)
	outside := startPlayer(t, 256<<20)
	p := outside.beside(t, "/player", &syscall.SysProcAttr{Chroot: merged, Cloneflags: syscall.CLONE_NEWPID})
	s := newSampler(t, Options{})
	s.Add(p.Cgroup)
	s.step(time.Now())
	if u := only(t, s); u.Disk != -1 || u.Inodes != -1 || s.Node().DiskTotal != -1 {
		t.Errorf("before a walk: %d bytes, %d inodes, %+v", u.Disk, u.Inodes, s.Node())
	}
	write(t, merged+"/data/file", 3<<20)
	s.groups[p.ID].container.disk.due = time.Time{}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	done := make(chan struct{})
	go func() { defer close(done); s.walkLayers(ctx) }()
	for only(t, s).Disk < 0 && ctx.Err() == nil {
		rest(ctx, layerRest)
	}
	cancel()
	<-done
	if u := only(t, s); u.Disk < 3<<20 || u.Disk > 3<<20+64<<10 || u.Inodes != 2 {
		t.Errorf("%d bytes and %d inodes in %s, want 3 MiB in a file and its directory", u.Disk, u.Inodes, upper)
	}
	if n := s.Node(); n.DiskTotal != 64<<20 || n.DiskFree <= 0 || n.DiskFree >= n.DiskTotal || n.InodesFree <= 0 || n.InodesFree >= n.InodesTotal {
		t.Errorf("the file system of the layers: %+v", n)
	}
	p.cmd.Process.Kill()
	p.cmd.Wait()
}
