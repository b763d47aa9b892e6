// Package hungry makes images whose scan needs more memory than they look, and
// serves them so that all who read them stop at the same point.
//
// A hungry image is a few hundred kilobytes: its layer has a file of zeros that is
// named like a Java archive. A scan keeps such a file for random access before it
// can know that it is none, and where it works without temporary files, in memory.
// The image has one npm package of a name of its own, by which its SBOM is told from others.
package hungry

import (
	"archive/tar"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"strings"

	"stella/bench/ociwrite"
)

// Held is how many bytes in the middle of a hungry file cannot be compressed. A scan
// reads a layer in pieces of 128 KiB, which may be 128 MiB of zeros: with this much
// between them, and a [Registry] that holds back half of it, the early ones are read, and the late ones not.
const Held = 512 << 10

// Image says what to make.
type Image struct {
	// Package is the name of its npm package, at version 1.0.0.
	Package string
	// File is the path of the hungry file: Early bytes of zeros, [Held] bytes that nobody can
	// compress, and Late bytes of zeros. It is left out where both are 0.
	File        string
	Early, Late int64
	// Below is how many layers are below the one with the file, each with one small
	// file of its own.
	Below int
}

// Write writes the image as an OCI layout into dir, which must be absent or empty, with the tag "latest".
func (m Image) Write(dir string) error {
	w, err := ociwrite.New(dir, ociwrite.Zstd) // which is quick with zeros, with the race detector too
	if err != nil {
		return err
	}
	for n := range m.Below {
		name := fmt.Sprintf("srv/%s/below-%d", m.Package, n)
		if err := layer(w, file{name, 1, zeros{}}); err != nil {
			return err
		}
	}
	manifest := fmt.Sprintf(`{"name":%q,"version":"1.0.0"}`, m.Package)
	files := []file{{
		path.Join("srv/node_modules", m.Package, "package.json"), int64(len(manifest)), strings.NewReader(manifest),
	}}
	if m.Early+m.Late > 0 {
		noise := io.LimitReader(rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32.32s", m.Package)))), Held)
		content := io.MultiReader(io.LimitReader(zeros{}, m.Early), noise, zeros{})
		files = append(files, file{m.File, m.Early + Held + m.Late, content})
	}
	if err := layer(w, files...); err != nil {
		return err
	}
	return w.Close("latest")
}

type file struct {
	name    string
	size    int64
	content io.Reader
}

func layer(w *ociwrite.Writer, files ...file) error {
	l, err := w.Layer()
	if err != nil {
		return err
	}
	for _, f := range files {
		h := tar.Header{Typeflag: tar.TypeReg, Name: f.name, Size: f.size, Mode: 0o644}
		if err := l.Entry(h, io.LimitReader(f.content, f.size)); err != nil {
			return err
		}
	}
	return l.Close()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
