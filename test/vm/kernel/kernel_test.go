package kernel

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// image fills a directory as a package with one kernel would.
func image(_ context.Context, dir string) error {
	if err := os.Mkdir(filepath.Join(dir, "boot"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "boot", "vmlinuz-6.1"), nil, 0o644)
}

func TestGetFillsTheCacheOnce(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "new")
	first, err := get(t.Context(), cache, image)
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(first.Image) != "vmlinuz-6.1" {
		t.Errorf("image %s", first.Image)
	}
	second, err := get(t.Context(), cache, func(context.Context, string) error { return errors.New("filled again") })
	if err != nil || second.Image != first.Image {
		t.Errorf("got %v, %v; want the same as before", second, err)
	}
}

func TestGetLeavesNothingHalf(t *testing.T) {
	cache := t.TempDir()
	broken := errors.New("broken")
	if _, err := get(t.Context(), cache, func(ctx context.Context, dir string) error {
		return errors.Join(image(ctx, dir), broken)
	}); !errors.Is(err, broken) {
		t.Error(err)
	}
	if left, err := os.ReadDir(cache); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if _, err := get(t.Context(), cache, func(context.Context, string) error { return nil }); err == nil {
		t.Error("a package without a kernel was taken")
	}
}

// All fill at the same time; one wins, and the others use what it made.
func TestGetAtOnce(t *testing.T) {
	const processes = 4
	cache := t.TempDir()
	var all, wg sync.WaitGroup
	all.Add(processes)
	for range processes {
		wg.Go(func() {
			k, err := get(t.Context(), cache, func(ctx context.Context, dir string) error {
				all.Done()
				all.Wait()
				return image(ctx, dir)
			})
			if err != nil {
				t.Error(err)
			} else if _, err := os.Stat(k.Image); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if left, err := os.ReadDir(cache); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// The programs are fakes that do what Debian's do; "kernel" stands for the package's content.
func TestDownload(t *testing.T) {
	for name, c := range map[string]struct {
		cache, get string
		want       string // of the error; empty for success
	}{
		"good": {
			cache: "echo 'Depends: something (>= 1), linux-image-6.1.0-9-cloud-amd64 (= 6.1), other'",
			get:   `[ "$2" = linux-image-6.1.0-9-cloud-amd64 ] && touch "$2.deb"`,
		},
		"no list":   {cache: "echo 'E: No packages found' >&2; exit 100", want: "No packages found; it takes Debian's package lists: run apt-get update"},
		"no kernel": {cache: "echo 'Depends: firmware'", want: "depends on no kernel"},
		"gone":      {cache: "echo 'Depends: linux-image-6'", get: "echo 'E: 404' >&2; exit 100", want: "404; if the package is gone, run apt-get update"},
		"nothing":   {cache: "echo 'Depends: linux-image-6'", get: "true", want: "left 0 packages"},
	} {
		t.Run(name, func(t *testing.T) {
			bin := t.TempDir()
			for program, script := range map[string]string{
				"apt-cache": c.cache, "apt-get": c.get, "dpkg-deb": `[ -e "$2" ] && mkdir -p "$3/boot" && touch "$3/boot/vmlinuz-6.1"`,
			} {
				if err := os.WriteFile(filepath.Join(bin, program), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			cache := t.TempDir()
			_, err := get(t.Context(), cache, download)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if left, _ := filepath.Glob(filepath.Join(cache, "*", "*.deb")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}
