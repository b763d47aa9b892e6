package ledger

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"stella/internal/testkit"
)

// disk mounts a small file system and returns where.
func disk(t *testing.T) string {
	t.Helper()
	testkit.Need(t, testkit.Root, testkit.Namespaces)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// The disk is full, really, in the middle of a record, and has room again later.
func TestFullDisk(t *testing.T) {
	c := newClock()
	mount := disk(t)
	dir := filepath.Join(mount, "agent")
	l := open(t, dir, options(c))
	l.Report(report(c, 1, "/pod/c"))
	filler := filepath.Join(mount, "filler")
	if err := os.WriteFile(filler, make([]byte, 2<<20), 0o600); err == nil {
		t.Fatal("two megabytes fit into one")
	}
	faulty(t, c, l, 2, 60)
	if f := l.Status().Fault; !strings.Contains(f, unix.ENOSPC.Error()) {
		t.Errorf("it says %q", f)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	healed(t, c, l, dir, 60)
}

// What was kept in memory on a full disk is written, as far as it fits, when the agent is killed before there was room: nothing
// that was written before is harmed, and the log is read again from there.
func TestKilledOnAFullDisk(t *testing.T) {
	c := newClock()
	mount := disk(t)
	dir := filepath.Join(mount, "agent")
	l := open(t, dir, options(c))
	for seq := uint64(1); seq <= 20; seq++ {
		l.Report(report(c, seq, "/pod/c"))
	}
	_ = os.WriteFile(filepath.Join(mount, "filler"), make([]byte, 2<<20), 0o600) // as much as fits
	for seq := uint64(21); seq <= 60; seq++ {
		l.Report(report(c, seq, "/pod/c"))
	}
	if err := l.store.journal.Close(); err != nil { // as a crash does
		t.Fatal(err)
	}
	l = open(t, dir, options(c))
	at := l.After()
	if at < 20 || at >= 60 {
		t.Fatalf("it goes on from %d", at)
	}
	faulty(t, c, l, 1, 60) // the ring is read again
	if err := os.Remove(filepath.Join(mount, "filler")); err != nil {
		t.Fatal(err)
	}
	healed(t, c, l, dir, 60)
}

func TestReadOnlyDisk(t *testing.T) {
	c := newClock()
	mount := disk(t)
	dir := filepath.Join(mount, "agent")
	l := open(t, dir, options(c))
	l.Report(report(c, 1, "/pod/c"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", mount, "", unix.MS_REMOUNT|unix.MS_RDONLY, "size=1m"); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, options(c))
	faulty(t, c, l, 2, 60)
	if f := l.Status().Fault; !strings.Contains(f, unix.EROFS.Error()) {
		t.Errorf("it says %q", f)
	}
	if err := unix.Mount("", mount, "", unix.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	healed(t, c, l, dir, 60)
}
