package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/bench/images"
	"stella/bench/ociwrite"
)

func build(t *testing.T, c ociwrite.Compression) images.Image {
	t.Helper()
	store := images.Store{Dir: t.TempDir(), Compression: c}
	im, err := store.BuildSynthetic(context.Background(), images.Synthetic{Layers: 12, Files: 600, Packages: 60, FileSize: 900})
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func TestReadCountsWhatTheImageHas(t *testing.T) {
	for _, c := range []ociwrite.Compression{ociwrite.Gzip, ociwrite.Zstd, ociwrite.None} {
		im := build(t, c)
		want := counts{
			Layers: 12, Compressed: im.Figures.Compressed, Uncompressed: im.Figures.Uncompressed,
			Entries: im.Figures.Entries, Files: im.Figures.Files + im.Figures.Whiteouts,
		}
		for _, workers := range []int{1, 4, 99} {
			got, err := read(context.Background(), im.Path, images.Tag, workers)
			if err != nil {
				t.Fatalf("%s, %d workers: %v", c, workers, err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s, %d workers: %s", c, workers, d)
			}
		}
	}
}

func TestDamageIsAnError(t *testing.T) {
	im := build(t, ociwrite.None)
	layers, err := ociwrite.Layers(im.Path, "")
	if err != nil {
		t.Fatal(err)
	}
	name, err := ociwrite.BlobPath(im.Path, layers[3].Digest)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text[600] ^= 1 // inside the first file's content
	if err := os.WriteFile(name, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := read(context.Background(), im.Path, "", 2); err == nil || !strings.Contains(err.Error(), layers[3].Digest) {
		t.Errorf("damaged layer %s gave %v", layers[3].Digest, err)
	}
}
