package images

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"stella/bench/ociwrite"
)

// The layers that large has above medium: releases of an application one after
// another, as in an image that is built from itself.
const (
	releases        = 122
	releaseBlob     = 27 << 20 // bytes
	releaseFiles    = 520
	releasePackages = 10
	releaseFileSize = 2000 // bytes
	removedPackages = 12   // Debian packages removed in the last layer
)

// large is medium, 122 releases and a layer that removes Debian packages: 127
// layers, the most that container runtimes with overlayfs accept by tradition.
func (s Store) large(ctx context.Context, w *ociwrite.Writer) (string, error) {
	base, err := s.Build(ctx, Medium)
	if err != nil {
		return "", err
	}
	if _, err := w.Reuse(base.Path); err != nil {
		return "", err
	}
	var text []byte
	for i := range releases {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		err := layer(w, func(l *ociwrite.Layer) error { return addRelease(l, i, &text) })
		if err != nil {
			return "", fmt.Errorf("release %d: %w", i, err)
		}
	}
	debian, err := s.debianRoot(ctx)
	if err != nil {
		return "", err
	}
	status, err := os.ReadFile(filepath.Join(debian, "var/lib/dpkg/status"))
	if err != nil {
		return "", err
	}
	return "", layer(w, func(l *ociwrite.Layer) error { return removeDebian(l, string(status)) })
}

func releaseDir(i int) string { return fmt.Sprintf("srv/releases/r%03d/", i) }

// releasePackage is the number of the k-th npm package of release i.
func releasePackage(i, k int) int { return i*releasePackages + k }

func addRelease(l *ociwrite.Layer, i int, text *[]byte) error {
	dir, r := releaseDir(i), rand.New(rand.NewPCG(uint64(i), releaseFiles))
	h := tar.Header{Name: dir + "assets.bin", Mode: 0o644, Size: releaseBlob}
	if err := l.Entry(h, blob(uint64(i), releaseBlob)); err != nil {
		return err
	}
	for k := range releasePackages {
		id := releasePackage(i, k)
		if err := file(l, dir+"node_modules/"+packageName(id)+"/package.json", packageJSON(id, i)); err != nil {
			return err
		}
	}
	for k := range releaseFiles {
		*text = source((*text)[:0], r, releaseFileSize/2+r.IntN(releaseFileSize))
		if err := file(l, fmt.Sprintf("%slib/%d/module-%04d.js", dir, k/100, k), *text); err != nil {
			return err
		}
	}
	if i == 0 {
		return nil
	}
	return l.Entry(tar.Header{Name: releaseWhiteout(i), Mode: 0o644}, nil)
}

// releaseWhiteout is what release i takes from the one before: in turn a file, a
// directory, and the content of a directory.
func releaseWhiteout(i int) string {
	before := releaseDir(i - 1)
	switch i % 3 {
	case 0:
		return before + "node_modules/" + packageName(releasePackage(i-1, 1)) + "/.wh.package.json"
	case 1:
		dir, base := splitName(before + "node_modules/" + packageName(releasePackage(i-1, 2)))
		return dir + ".wh." + base
	default:
		return before + "node_modules/.wh..wh..opq"
	}
}

// removeDebian writes what removing the last Java libraries leaves: a new status
// file and no file lists.
func removeDebian(l *ociwrite.Layer, status string) error {
	kept, removed := withoutPackages(status, removedPackages)
	for _, name := range removed {
		for _, suffix := range []string{".list", ".md5sums"} {
			h := tar.Header{Name: "var/lib/dpkg/info/.wh." + name + suffix, Mode: 0o644}
			if err := l.Entry(h, nil); err != nil {
				return err
			}
		}
	}
	h := tar.Header{Name: "var/lib/dpkg/status", Mode: 0o644, Size: int64(len(kept))}
	return l.Entry(h, bytes.NewReader([]byte(kept)))
}

// withoutPackages drops the last n paragraphs of Java libraries from a dpkg
// status file and returns the names dropped.
func withoutPackages(status string, n int) (kept string, removed []string) {
	paragraphs := strings.SplitAfter(status, "\n\n")
	for i := len(paragraphs) - 1; i >= 0 && len(removed) < n; i-- {
		first, _, _ := strings.Cut(paragraphs[i], "\n")
		name := strings.TrimPrefix(first, "Package: ")
		if strings.HasPrefix(name, "lib") && strings.HasSuffix(name, "-java") {
			removed = append(removed, name)
			paragraphs[i] = ""
		}
	}
	return strings.Join(paragraphs, ""), removed
}
