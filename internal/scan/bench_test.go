package scan_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"stella/bench/images"
	"stella/internal/scan"
	"stella/internal/scan/extract/all"
	"stella/internal/scan/image"
)

// BenchmarkScan scans the images of bench/mkimage that are there, without a
// cache; it is for profiles (-cpuprofile), not for comparisons: those are made
// by bench/scanbench, on whole processes.
func BenchmarkScan(b *testing.B) {
	dir, err := images.DefaultDir()
	if err != nil {
		b.Skip(err)
	}
	for _, kind := range images.Kinds() {
		path := filepath.Join(dir, "images", string(kind))
		if _, err := os.Stat(filepath.Join(path, "index.json")); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		b.Run(string(kind), func(b *testing.B) {
			for b.Loop() {
				img, err := image.Open(b.Context(), "oci-dir:"+path, image.Options{})
				if err != nil {
					b.Fatal(err)
				}
				r, err := scan.Run(b.Context(), scan.Options{Image: img, Extractors: all.Extractors(), TempDir: b.TempDir()})
				if err != nil {
					b.Fatal(err)
				}
				r.Close()
				img.Close()
			}
		})
	}
}
