// Package kernel gets a Linux kernel to boot in a machine: Debian's kernel for
// clouds, from the package linux-image-cloud-amd64 depends on.
//
// The package is downloaded and unpacked once, into a cache directory of the user;
// nothing is installed. It stays until the directory is removed:
// then the next use gets the newest.
//
// Vocabulary: a module is a part of the kernel in a file of its own, which is
// loaded when it is needed, after the modules that it depends on.
package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// metaPackage depends on the newest kernel.
const metaPackage = "linux-image-cloud-amd64"

// Kernel is a kernel that was unpacked.
type Kernel struct {
	// Image is the file to boot, a bzImage.
	Image string
	// root is the directory of the unpacked package.
	root string
}

// Get returns the kernel in the cache, or downloads it. Several processes may call it at once.
func Get(ctx context.Context) (*Kernel, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("get a kernel: %w", err)
	}
	k, err := get(ctx, filepath.Join(cache, "stella-test"), download)
	if err != nil {
		return nil, fmt.Errorf("get a kernel: %w", err)
	}
	return k, nil
}

// get makes the kernel's directory appear below cache at once and complete: it
// is filled under another name first.
func get(ctx context.Context, cache string, fill func(ctx context.Context, dir string) error) (*Kernel, error) {
	root := filepath.Join(cache, metaPackage)
	if _, err := os.Stat(root); err == nil {
		return open(root)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(cache, "new-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	if err := fill(ctx, work); err != nil {
		return nil, err
	}
	// Another process can have been faster: then the directory is there, and not empty.
	if err := os.Rename(work, root); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return open(root)
}

// open finds the image in an unpacked package.
func open(root string) (*Kernel, error) {
	images, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil {
		return nil, err
	}
	if len(images) != 1 {
		return nil, fmt.Errorf("%s has %d files boot/vmlinuz-*, want one; remove it to download it again", root, len(images))
	}
	return &Kernel{Image: images[0], root: root}, nil
}

var dependsOnImage = regexp.MustCompile(`(?m)^Depends:.*?\b(linux-image-[0-9][^ ,]*)`)

// download unpacks the newest kernel package into dir.
func download(ctx context.Context, dir string) error {
	about, err := run(ctx, dir, "apt-cache", "show", "--no-all-versions", metaPackage)
	if err != nil {
		return fmt.Errorf("%w; it takes Debian's package lists: run apt-get update", err)
	}
	match := dependsOnImage.FindSubmatch(about)
	if match == nil {
		return fmt.Errorf("the package %s depends on no kernel: %s", metaPackage, about)
	}
	if _, err := run(ctx, dir, "apt-get", "download", string(match[1])); err != nil {
		return fmt.Errorf("%w; if the package is gone, run apt-get update", err)
	}
	archives, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return err
	}
	if len(archives) != 1 {
		return fmt.Errorf("apt-get download %s left %d packages, want one", match[1], len(archives))
	}
	if _, err := run(ctx, dir, "dpkg-deb", "--extract", archives[0], dir); err != nil {
		return err
	}
	if err := os.Remove(archives[0]); err != nil {
		return err
	}
	return decompress(ctx, dir)
}

// decompress undoes the compression of modules, which Debian has since version 13.
func decompress(ctx context.Context, dir string) error {
	var files []string
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(name, ".ko.xz") {
			files = append(files, name)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		return err
	}
	_, err = run(ctx, dir, "xz", append([]string{"--decompress", "--"}, files...)...)
	return err
}

// run runs a program in dir and returns what it printed.
func run(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%v: %w: %s", cmd, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
