// Command mkimage makes the container images that Stella is measured on, as OCI
// layouts, and prints their path and figures as JSON.
//
// Usage: mkimage [flags] small|medium|large|wide|manyfiles|installed|synthetic
//
// A second call for the same image prints what the first one made. medium and
// large need root, a Debian mirror, the npm registry and debootstrap; wide,
// manyfiles, installed and synthetic need nothing. Exit status 1 means that the
// image was not made, 2 that the command line was wrong.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"stella/bench/images"
	"stella/bench/ociwrite"
)

func main() {
	dir := flag.String("dir", "", "`directory` for images (default $STELLA_BENCH_DIR, else in the user's cache)")
	compression := flag.String("compression", string(ociwrite.Gzip), "gzip, zstd or none")
	var p images.Synthetic
	flag.IntVar(&p.Layers, "layers", 10, "synthetic: layers")
	flag.IntVar(&p.Files, "files", 10_000, "synthetic: regular files in all")
	flag.IntVar(&p.Packages, "packages", 1000, "synthetic: npm packages")
	flag.IntVar(&p.FileSize, "file-size", 2000, "synthetic: mean size of a file in `bytes`")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: mkimage [flags] %v|synthetic\n", images.Kinds())
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *dir, ociwrite.Compression(*compression), flag.Arg(0), p); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, c ociwrite.Compression, kind string, p images.Synthetic) (err error) {
	if dir == "" {
		if dir, err = images.DefaultDir(); err != nil {
			return err
		}
	}
	store := images.Store{Dir: dir, Compression: c, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	var im images.Image
	if kind == "synthetic" {
		im, err = store.BuildSynthetic(ctx, p)
	} else {
		im, err = store.Build(ctx, images.Kind(kind))
	}
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(im)
}
