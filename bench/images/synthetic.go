package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"

	"stella/bench/ociwrite"
)

// Synthetic describes an image of generated npm packages and data files, for
// tests of how cost grows. Its files are spread evenly over its layers.
type Synthetic struct {
	Layers   int
	Files    int // regular files in all, the package.json files among them
	Packages int // npm packages; one package.json each, so not above Files
	FileSize int // mean size in bytes of a file that is no package.json
}

// wide is the image on which an inventory that keeps a tree per layer explodes.
var wide = Synthetic{Layers: 200, Files: 200_000, Packages: 20_000, FileSize: 3900}

// manyFilesCount is the size of the image in grype#1509, which used 12 GB there.
const manyFilesCount = 3_000_000

// Visible is the number of npm packages in the squashed image: a whiteout in
// every tenth layer deletes one package of the layer below.
func (p Synthetic) Visible() int {
	n := p.Packages
	for layer := range p.Layers {
		if p.deletes(layer) {
			n--
		}
	}
	return n
}

// Validate says what is wrong with the parameters.
func (p Synthetic) Validate() error {
	switch {
	case p.Layers < 1:
		return fmt.Errorf("synthetic image: %d layers; it needs one or more", p.Layers)
	case p.Packages < 0 || p.Packages > p.Files:
		return fmt.Errorf("synthetic image: %d packages in %d files; each package needs a file of its own", p.Packages, p.Files)
	case p.FileSize < 0:
		return fmt.Errorf("synthetic image: file size of %d bytes is negative", p.FileSize)
	}
	return nil
}

// deletes reports whether a layer deletes package layer-1, which is the first
// package of the layer below.
func (p Synthetic) deletes(layer int) bool { return layer%10 == 9 && layer-1 < p.Packages }

func (p Synthetic) write(w *ociwrite.Writer) error {
	if err := p.Validate(); err != nil {
		return err
	}
	var text []byte
	for layer := range p.Layers {
		r := rand.New(rand.NewPCG(uint64(layer), uint64(p.Files)))
		l, err := w.Layer()
		if err != nil {
			return err
		}
		err = p.writeLayer(l, layer, r, &text)
		if err := errors.Join(err, l.Close()); err != nil {
			return fmt.Errorf("layer %d: %w", layer, err)
		}
	}
	return nil
}

func (p Synthetic) writeLayer(l *ociwrite.Layer, layer int, r *rand.Rand, text *[]byte) error {
	if layer == 0 {
		if err := writeOS(l); err != nil {
			return err
		}
	}
	// Packages go to layers in turn; plain files go into the directory of the
	// package before them, as in a real node_modules.
	files, packages := share(p.Files, p.Layers, layer), share(p.Packages, p.Layers, layer)
	for i := range packages {
		id := layer + i*p.Layers
		dir := "srv/app/node_modules/" + packageName(id) + "/"
		if err := file(l, dir+"package.json", packageJSON(id, layer%7)); err != nil {
			return err
		}
		if err := p.writeFiles(l, dir+"lib/", share(files-packages, packages, i), r, text); err != nil {
			return err
		}
	}
	if packages == 0 {
		if err := p.writeFiles(l, fmt.Sprintf("srv/data/%04d/", layer), files, r, text); err != nil {
			return err
		}
	}
	if !p.deletes(layer) {
		return nil
	}
	dir, base := splitName("srv/app/node_modules/" + packageName(layer-1))
	return l.Entry(tar.Header{Name: dir + ".wh." + base, Mode: 0o644}, nil)
}

func (p Synthetic) writeFiles(l *ociwrite.Layer, dir string, n int, r *rand.Rand, text *[]byte) error {
	for i := range n {
		size := p.FileSize
		if size > 0 {
			size = size/2 + r.IntN(size+1)
		}
		*text = source((*text)[:0], r, size)
		if err := file(l, fmt.Sprintf("%s%d/module-%04d.js", dir, i/500, i), *text); err != nil {
			return err
		}
	}
	return nil
}

// manyFiles writes one layer with n empty files.
func manyFiles(w *ociwrite.Writer, n int) error {
	l, err := w.Layer()
	if err != nil {
		return err
	}
	err = writeOS(l)
	for i := 0; i < n && err == nil; i++ {
		if i%1000 == 0 {
			err = l.Entry(tar.Header{Name: fmt.Sprintf("srv/data/%04d/", i/1000), Typeflag: tar.TypeDir, Mode: 0o755}, nil)
		}
		if err == nil {
			err = l.Entry(tar.Header{Name: fmt.Sprintf("srv/data/%04d/%07d", i/1000, i), Mode: 0o644}, nil)
		}
	}
	return errors.Join(err, l.Close())
}

// writeOS makes the image a Debian of one package, so that scanners that look
// for a distribution find one.
func writeOS(l *ociwrite.Layer) error {
	err := file(l, "etc/os-release", []byte("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nID=debian\n"))
	if err != nil {
		return err
	}
	return file(l, "var/lib/dpkg/status", []byte("Package: base-files\nStatus: install ok installed\nPriority: required\nSection: admin\nArchitecture: amd64\nVersion: 12.4+deb12u5\nMaintainer: Santiago Vila <sanvila@debian.org>\nDescription: Debian base system miscellaneous files\n"))
}

func file(l *ociwrite.Layer, name string, content []byte) error {
	return l.Entry(tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}, bytes.NewReader(content))
}

// share is the i-th part of n things dealt to parts takers, as even as possible.
func share(n, parts, i int) int {
	if parts == 0 {
		return 0
	}
	s := n / parts
	if i < n%parts {
		s++
	}
	return s
}

// splitName splits a path after its last slash.
func splitName(name string) (dir, base string) {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '/' {
			return name[:i+1], name[i+1:]
		}
	}
	return "", name
}
