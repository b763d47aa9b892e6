// Package images makes the container images that Stella is measured on.
//
// Vocabulary: a kind is a named image definition ("medium"); a root is an
// unpacked directory tree that layers are cut from (a Debian root file system,
// a node_modules); a [Store] is the directory where both are kept. Figures are
// counted by reading the finished image, never taken from the plan.
//
// Made from seeds alone: the synthetic kinds are the same bytes on every machine.
// Not so those made of real software (small, medium, large, installed): names,
// order, times and owners are fixed, but a Debian mirror moves on, so their
// figures are printed with every measurement.
package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"stella/bench/ociwrite"
)

// Kind names an image definition.
type Kind string

// The kinds. Their contents are described in bench/README.md.
const (
	Small     Kind = "small"
	Medium    Kind = "medium"
	Large     Kind = "large"
	Wide      Kind = "wide"
	ManyFiles Kind = "manyfiles"
	Installed Kind = "installed"
)

// Kinds lists every kind that has a fixed definition.
func Kinds() []Kind { return []Kind{Small, Medium, Large, Wide, ManyFiles, Installed} }

// Tag is the tag of every image made here.
const Tag = "bench"

// Store keeps images and roots below one directory.
type Store struct {
	Dir         string
	Compression ociwrite.Compression
	// Log is told what is being made; nil is silent.
	Log *slog.Logger
}

func (s Store) logger() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

// DefaultDir is $STELLA_BENCH_DIR or a directory of the user's cache.
func DefaultDir() (string, error) {
	if dir := os.Getenv("STELLA_BENCH_DIR"); dir != "" {
		return dir, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a directory for images: %w; set STELLA_BENCH_DIR", err)
	}
	return filepath.Join(cache, "stella-bench"), nil
}

// Image is a finished image.
type Image struct {
	// Path is the OCI layout directory.
	Path string `json:"path"`
	// Kind is its definition, with parameters for synthetic images.
	Kind string `json:"kind"`
	// Note says what is unlike the definition, if anything is.
	Note string `json:"note,omitempty"`
	// Figures were counted in the finished image.
	Figures Figures `json:"figures"`
}

// Build returns the image of a kind, making it where the store has none.
func (s Store) Build(ctx context.Context, kind Kind) (Image, error) {
	if !slices.Contains(Kinds(), kind) {
		return Image{}, fmt.Errorf("build image: %q is not one of %v", kind, Kinds())
	}
	write := map[Kind]func(context.Context, *ociwrite.Writer) (string, error){
		Small: s.small, Medium: s.medium, Large: s.large, Installed: s.installed,
		Wide: func(_ context.Context, w *ociwrite.Writer) (string, error) {
			return "", wide.write(w)
		},
		ManyFiles: func(_ context.Context, w *ociwrite.Writer) (string, error) {
			return "", manyFiles(w, manyFilesCount)
		},
	}[kind]
	return s.cached(ctx, string(kind), write)
}

// BuildSynthetic returns the synthetic image with the given parameters, making
// it where the store has none.
func (s Store) BuildSynthetic(ctx context.Context, p Synthetic) (Image, error) {
	name := fmt.Sprintf("synthetic-%d-%d-%d-%d", p.Layers, p.Files, p.Packages, p.FileSize)
	return s.cached(ctx, name, func(_ context.Context, w *ociwrite.Writer) (string, error) {
		return "", p.write(w)
	})
}

// cached makes an image under a temporary name and renames it when it is whole,
// so that an interrupted run leaves nothing that looks finished.
func (s Store) cached(ctx context.Context, name string, write func(context.Context, *ociwrite.Writer) (string, error)) (Image, error) {
	if s.Compression != ociwrite.Gzip {
		name += "-" + string(s.Compression)
	}
	im := Image{Kind: name, Path: filepath.Join(s.Dir, "images", name)}
	record := im.Path + ".json"
	if text, err := os.ReadFile(record); err == nil {
		var known Image
		_, statErr := os.Stat(filepath.Join(im.Path, "index.json"))
		if statErr == nil && json.Unmarshal(text, &known) == nil {
			known.Path = im.Path
			return known, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return Image{}, fmt.Errorf("build image %s: %w", name, err)
	}
	s.logger().Info("building image", "kind", name, "path", im.Path)
	part := im.Path + ".part"
	if err := errors.Join(os.RemoveAll(part), os.RemoveAll(im.Path)); err != nil {
		return Image{}, fmt.Errorf("build image %s: %w", name, err)
	}
	w, err := ociwrite.New(part, s.Compression)
	if err != nil {
		return Image{}, fmt.Errorf("build image %s: %w", name, err)
	}
	note, err := write(ctx, w)
	if err == nil {
		im.Note, err = note, w.Close(Tag)
	}
	if err == nil {
		im.Figures, err = Measure(part)
	}
	if err != nil {
		return Image{}, errors.Join(fmt.Errorf("build image %s: %w", name, err), os.RemoveAll(part))
	}
	text, err := json.MarshalIndent(im, "", "  ")
	if err == nil {
		err = os.Rename(part, im.Path)
	}
	if err == nil {
		err = os.WriteFile(record, text, 0o644)
	}
	if err != nil {
		return Image{}, fmt.Errorf("build image %s: %w", name, err)
	}
	return im, nil
}
