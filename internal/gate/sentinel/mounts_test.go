package sentinel

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/testkit"
)

// disk mounts a file system of 64 KiB.
func disk(t *testing.T) string {
	t.Helper()
	testkit.Need(t, testkit.Namespaces)
	dir := t.TempDir()
	mount(t, "tmpfs", dir, "tmpfs", 0, "size=64k")
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func mount(t *testing.T, from, dir, kind string, flags uintptr, options string) {
	t.Helper()
	if err := unix.Mount(from, dir, kind, flags, options); err != nil {
		t.Fatal(err)
	}
}

// A full disk makes no grant, leaves the old one as it is, and keeps none from being removed.
func TestFullDisk(t *testing.T) {
	dir := disk(t)
	path := filepath.Join(dir, "gated")
	f, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	allow(t, f)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, filepath.Join(dir, "other"))
	wantError(t, f.Allow(Grant{Node: "n"}, time.Minute), "no space left", "df says of what", path)
	wantError(t, f.Canary("/", dir), "no space left")
	if after, err := os.ReadFile(path); string(after) != string(before) {
		t.Errorf("the old grant has become %q, %v", after, err)
	}
	only(t, dir, "gated", "other")
	if err := f.Remove(); err != nil || there(path) {
		t.Errorf("removed: %v", err)
	}
}

func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyN(f, zeros{}, 1<<20); err == nil {
		t.Fatal("the disk has no end")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// On a disk that cannot be written to there is no grant, and that the old one stays is told: by the gate each time, by the expirer once.
func TestReadOnlyDisk(t *testing.T) {
	dir := disk(t)
	path := filepath.Join(dir, "gated")
	f, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	allow(t, f)
	mount(t, "", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
	_, err = Open(path, f.log)
	wantError(t, err, "read-only", "without readOnly")
	wantError(t, f.Allow(Grant{Node: "n"}, time.Minute), "read-only", "without readOnly")
	wantError(t, f.Remove(), "read-only", "without readOnly", "kured may reboot")

	var said book
	over := now(t)
	over.Uptime += time.Hour
	e := expirer{Options: Options{Gated: path, Period: period, Log: said.log(), now: func() (Instant, error) { return over, nil }}, file: *f}
	for range 3 {
		e.tell(e.look())
	}
	mount(t, "", dir, "", unix.MS_REMOUNT, "")
	e.tell(e.look())
	if there(path) {
		t.Error("the grant is still there")
	}
	counts(t, said.String(), map[string]int{"level=ERROR": 1, "without readOnly": 1, "level=WARN": 1, "level=INFO": 1})
}
