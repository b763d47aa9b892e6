package images

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"stella/bench/ociwrite"
)

const (
	// maxInstalled bounds each layer of the installed image, in bytes of files:
	// enough to be a real image, little enough to be made while one waits.
	maxInstalled = 150 << 20
	// maxFileList bounds a dpkg file list; the largest known are of 10 MB.
	maxFileList = 64 << 20
)

// installed assembles a real image from the software of this machine, without
// network and without root: dpkg's database and the files of the packages that
// fit, then the Go toolchain and Node modules. Unreadable files are left out.
// Where there is no dpkg it writes a synthetic image, and the note says so.
func (s Store) installed(ctx context.Context, w *ociwrite.Writer) (string, error) {
	if _, err := os.Stat("/var/lib/dpkg/status"); err != nil {
		return "no dpkg on this machine: a synthetic image instead", Synthetic{Layers: 4, Files: 20_000, Packages: 2000, FileSize: 4000}.write(w)
	}
	names, packages, err := installedFiles(ctx, "/var/lib/dpkg/info")
	if err != nil {
		return "", err
	}
	names = append(names, "/var/lib/dpkg/status", "/etc/os-release", "/usr/lib/os-release", "/etc/debian_version")
	if err := layer(w, func(l *ociwrite.Layer) error { return addNames(l, "/", names) }); err != nil {
		return "", err
	}
	tools := toolFiles()
	if err := layer(w, func(l *ociwrite.Layer) error { return addNames(l, "/", tools) }); err != nil {
		return "", err
	}
	return fmt.Sprintf("dpkg's database, the files of %d packages and %d files of tools from this machine", packages, len(tools)), nil
}

// installedPackage is one package as dpkg's file list describes it.
type installedPackage struct {
	files []string // that exist, and the list itself
	size  int64    // of the regular ones, in bytes
}

// installedFiles reads dpkg's file lists and returns the files of as many
// packages as fit into maxInstalled: the smallest first, in order of name where
// sizes are equal.
func installedFiles(ctx context.Context, info string) (names []string, packages int, err error) {
	lists, err := filepath.Glob(filepath.Join(info, "*.list"))
	if err != nil {
		return nil, 0, err
	}
	var all []installedPackage
	for _, list := range lists {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		files, size, err := listed(list)
		if err != nil {
			return nil, 0, err
		}
		all = append(all, installedPackage{append(files, list), size})
	}
	slices.SortStableFunc(all, func(a, b installedPackage) int { return cmp.Compare(a.size, b.size) })
	var used int64
	for _, p := range all {
		if used += p.size; used > maxInstalled {
			break
		}
		packages++
		names = append(names, p.files...)
	}
	return names, packages, nil
}

// listed returns the files named in a dpkg file list that exist, and their size.
func listed(list string) (files []string, size int64, err error) {
	f, err := os.Open(list)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	s := bufio.NewScanner(io.LimitReader(f, maxFileList))
	for s.Scan() {
		info, err := os.Lstat(s.Text())
		if err != nil || info.IsDir() {
			continue
		}
		if info.Mode().IsRegular() {
			size += info.Size()
		}
		files = append(files, s.Text())
	}
	if err := s.Err(); err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", list, err)
	}
	return files, size, nil
}

// toolFiles are the Go programs and Node modules that came without dpkg, up to
// maxInstalled.
func toolFiles() []string {
	dirs := []string{"/usr/local/bin", "/usr/local/lib/node_modules", "/usr/lib/node_modules"}
	if program, err := exec.LookPath("go"); err == nil {
		if real, err := filepath.EvalSymlinks(program); err == nil {
			dirs = append([]string{filepath.Dir(real)}, dirs...)
		}
	}
	var names []string
	var used int64
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil // unreadable directories are left out
			}
			info, err := d.Info()
			if err != nil || used+info.Size() > maxInstalled {
				return nil
			}
			used += info.Size()
			names = append(names, name)
			return nil
		})
	}
	return names
}

// addNames writes the named files of the tree at root as entries, sorted, each
// once, leaving out what cannot be read. Paths are resolved through directory
// symlinks, so that on a merged-/usr system /bin/ls is written as usr/bin/ls.
func addNames(l *ociwrite.Layer, root string, names []string) error {
	real := make([]string, 0, len(names))
	for _, name := range names {
		if dir, err := filepath.EvalSymlinks(filepath.Dir(name)); err == nil {
			real = append(real, filepath.Join(dir, filepath.Base(name)))
		}
	}
	slices.Sort(real)
	links := map[inode]string{}
	for _, name := range slices.Compact(real) {
		info, err := os.Lstat(name)
		if err != nil || info.Mode().IsRegular() && !readable(name) {
			continue
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if err := addFile(l, name, filepath.ToSlash(rel), fs.FileInfoToDirEntry(info), links); err != nil && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("add %s: %w", strings.TrimPrefix(name, root), err)
		}
	}
	return nil
}

func readable(name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	return f.Close() == nil
}
