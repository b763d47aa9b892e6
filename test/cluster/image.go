package cluster

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"stella/test/cluster/internal/programs"
	"stella/test/cluster/internal/supervise"
)

// hog is the program of pod sandboxes, which pause, and of most tests' pods.
const hog = "stella/test/hog"

// guests are what a machine without Go is given beside it: what the tests that run there load.
var guests = []string{"stella/cmd/stella-agent", "stella/test/inspect/feed"}

// Hog is the image of test/hog, the misbehaving program. Every node has it.
const Hog = "stella.test/hog:test"

// Load builds a Go program without cgo, makes an image of it alone, and gives it
// to the node. It returns the reference, stella.test/NAME:test, for containers
// with imagePullPolicy Never. The program is the entry point, and links are other names of it.
func (c *Cluster) Load(t testing.TB, pkg string, links ...string) string {
	t.Helper()
	archive, err := imageArchive(t.Context(), pkg, t.TempDir(), links...)
	if err != nil {
		t.Fatal(err)
	}
	ctr := func(ctx context.Context, args ...string) *exec.Cmd { return c.Command(ctx, "ctr", args...) }
	if err := supervise.ImportImage(t.Context(), ctr, archive); err != nil {
		t.Fatalf("load %s: %v", pkg, err)
	}
	ref := reference(pkg)
	Eventually(t, time.Minute, func(ctx context.Context) error { return supervise.KnowsImage(ctx, ctr, ref) })
	return ref
}

func reference(pkg string) string { return "stella.test/" + path.Base(pkg) + ":test" }

// imageArchive writes an image whose only layer is one static program.
func imageArchive(ctx context.Context, pkg, dir string, links ...string) (string, error) {
	program, err := programs.Static(ctx, pkg, dir)
	if err != nil {
		return "", err
	}
	image, err := programImage(program, links)
	if err != nil {
		return "", fmt.Errorf("make an image of %s: %w", pkg, err)
	}
	ref, err := name.NewTag(reference(pkg))
	if err != nil {
		return "", fmt.Errorf("make an image of %s: %w", pkg, err)
	}
	archive := filepath.Join(dir, path.Base(pkg)+".tar")
	if err := tarball.WriteToFile(archive, ref, image); err != nil {
		return "", fmt.Errorf("write the image of %s: %w", pkg, err)
	}
	return archive, nil
}

// programImage has /NAME, links to it, and an empty /tmp.
func programImage(program string, links []string) (v1.Image, error) {
	data, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	file := "/" + filepath.Base(program)
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, header := range []*tar.Header{
		{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777},
		{Name: file[1:], Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(data))},
	} {
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	for _, link := range links {
		if err := w.WriteHeader(&tar.Header{Name: link, Typeflag: tar.TypeSymlink, Linkname: file}); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	opener := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil }
	content, err := tarball.LayerFromOpener(opener)
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, content)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", runtimeArchitecture, v1.Time{Time: time.Unix(0, 0)}
	config.Config = v1.Config{Entrypoint: []string{file}, Cmd: []string{"pause"}, Env: []string{"PATH=/"}}
	return mutate.ConfigFile(image, config)
}
