package chaos

import (
	"archive/tar"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"stella/bench/ociwrite"
)

// makers is how many images are written at a time.
const makers = 2

// image is one image, which has one package.
type image struct {
	layout string // a directory
	name   string // of its package
	ref    string // by which it is asked for
}

func (i image) purl() string { return "pkg:npm/" + i.name + "@1.0.0" }

// makeImages writes so many different images.
func makeImages(t *testing.T, n int) []image {
	t.Helper()
	dir := t.TempDir()
	images := make([]image, n)
	var work errgroup.Group
	work.SetLimit(makers)
	for i := range images {
		name := fmt.Sprintf("chaos-%05d", i)
		layout := filepath.Join(dir, name)
		images[i] = image{layout: layout, name: name, ref: "oci-dir:" + layout}
		work.Go(images[i].write)
	}
	if err := work.Wait(); err != nil {
		t.Fatal(err)
	}
	return images
}

func (i image) write() error {
	w, err := ociwrite.New(i.layout, ociwrite.None)
	if err != nil {
		return err
	}
	l, err := w.Layer()
	if err != nil {
		return err
	}
	content := fmt.Sprintf(`{"name":%q,"version":"1.0.0"}`, i.name)
	h := tar.Header{Typeflag: tar.TypeReg, Name: "srv/node_modules/" + i.name + "/package.json", Size: int64(len(content)), Mode: 0o644}
	if err := l.Entry(h, strings.NewReader(content)); err != nil {
		return err
	}
	if err := l.Close(); err != nil {
		return err
	}
	return w.Close("latest")
}
