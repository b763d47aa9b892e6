package runbook

import (
	"archive/tar"
	"archive/zip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"stella/bench/ociwrite"
	"stella/internal/bytesize"
)

// recipe says what is in an image.
type recipe struct {
	// base is another image, whose layers come first.
	base string
	// layers is how many more there are, each with an npm package of its own.
	layers int
	// noise is the size of a file in all of them but the last that cannot be compressed. The
	// largest layers are read first, so this makes the last one come last.
	noise int64
	// jar is the size of a Java archive in the last layer. It must be read at random, so a scan
	// keeps it in memory or in a temporary file, whole.
	jar int64
	// data is the size of a layer with a file that nothing wants; it is read, and that is all.
	data int64
}

// makeImage is the command "image DIR [base=DIR] [layers=N] [noise=SIZE] [jar=SIZE] [data=SIZE]".
func makeImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: image DIR [base=DIR] [layers=N] [noise=SIZE] [jar=SIZE] [data=SIZE]")
	}
	r := recipe{layers: 2}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		var err error
		switch name {
		case "base":
			r.base = ts.MkAbs(value)
		case "noise":
			r.noise, err = parseSize(value)
		case "layers":
			r.layers, err = strconv.Atoi(value)
		case "jar":
			r.jar, err = parseSize(value)
		case "data":
			r.data, err = parseSize(value)
		default:
			ts.Fatalf("image: unknown %s", arg)
		}
		ts.Check(err)
	}
	ts.Check(r.write(ts.MkAbs(args[0])))
}

func parseSize(text string) (int64, error) {
	n, err := bytesize.Parse(text)
	return int64(n), err
}

// write makes an OCI layout.
func (r recipe) write(dir string) error {
	w, err := ociwrite.New(dir, ociwrite.Gzip)
	if err != nil {
		return err
	}
	if r.data > 0 {
		r.base = dir + ".base"
		defer os.RemoveAll(r.base)
		if err := sparse(r.base, r.data); err != nil {
			return err
		}
	}
	if r.base != "" {
		if _, err := w.Reuse(r.base); err != nil {
			return err
		}
	}
	for n := range r.layers {
		l, err := w.Layer()
		if err != nil {
			return err
		}
		if err := errors.Join(r.fill(l, n, filepath.Base(dir)), l.Close()); err != nil {
			return err
		}
	}
	return w.Close("latest")
}

// fill writes the entries of layer n.
func (r recipe) fill(l *ociwrite.Layer, n int, name string) error {
	pkg := fmt.Sprintf(`{"name":"%s-%d","version":"1.0.0"}`, name, n)
	if err := file(l, fmt.Sprintf("srv/node_modules/%s-%d/package.json", name, n), int64(len(pkg)), strings.NewReader(pkg)); err != nil {
		return err
	}
	last := n == r.layers-1
	if r.noise > 0 && !last {
		noise := rand.NewChaCha8([32]byte{byte(n)})
		if err := file(l, "var/noise", r.noise, io.LimitReader(noise, r.noise)); err != nil {
			return err
		}
	}
	if r.jar > 0 && last {
		return jar(l, r.jar)
	}
	return nil
}

func file(l *ociwrite.Layer, name string, size int64, content io.Reader) error {
	return l.Entry(tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644}, content)
}

// jar adds a Java archive to a layer, with a member of so many zeros that is not compressed.
func jar(l *ociwrite.Layer, size int64) error {
	f, err := os.CreateTemp("", "jar-*") // a header of tar has the size before the content
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	z := zip.NewWriter(f)
	member := func(name string, content io.Reader) error {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err != nil {
			return err
		}
		_, err = io.Copy(w, content)
		return err
	}
	const manifest = "Manifest-Version: 1.0\r\nImplementation-Title: app\r\nImplementation-Version: 1.0.0\r\n"
	if err := errors.Join(member("META-INF/MANIFEST.MF", strings.NewReader(manifest)), member("data", io.LimitReader(zeros{}, size)), z.Close()); err != nil {
		return err
	}
	total, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	return file(l, "opt/app/lib/app-1.0.0.jar", total, io.NewSectionReader(f, 0, total))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// sparse makes an image with one layer, a tar of one file of zeros that takes no
// room on the disk. ociwrite would write the zeros.
func sparse(dir string, size int64) error {
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(blobs, "layer"))
	if err != nil {
		return err
	}
	defer f.Close()
	t := tar.NewWriter(f)
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "var/lib/data.img", Size: size, Mode: 0o644, ModTime: ociwrite.Epoch}); err != nil {
		return err
	}
	header, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	const block = 512 // of tar, whose end is two of zeros
	total := header + (size+block-1)/block*block + 2*block
	if err := f.Truncate(total); err != nil {
		return err
	}
	digest := sha256.New()
	if _, err := io.Copy(digest, io.NewSectionReader(f, 0, total)); err != nil {
		return err
	}
	layer := ociwrite.Descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: fmt.Sprintf("sha256:%x", digest.Sum(nil)), Size: total}
	if err := os.Rename(f.Name(), filepath.Join(blobs, layer.Digest[len("sha256:"):])); err != nil {
		return err
	}
	config, err := document(blobs, map[string]any{"rootfs": map[string]any{"type": "layers", "diff_ids": []string{layer.Digest}}})
	if err != nil {
		return err
	}
	manifest, err := document(blobs, ociwrite.Manifest{SchemaVersion: 2, Config: config, Layers: []ociwrite.Descriptor{layer}})
	if err != nil {
		return err
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []ociwrite.Descriptor{manifest}})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644)
}

// document writes a blob of JSON.
func document(blobs string, v any) (ociwrite.Descriptor, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return ociwrite.Descriptor{}, err
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(text))
	return ociwrite.Descriptor{Digest: "sha256:" + sum, Size: int64(len(text))}, os.WriteFile(filepath.Join(blobs, sum), text, 0o644)
}
