// Command parity compares the packages that Stella finds in an image with those that
// its peers, syft and osv-scalibr, find in the same image, and explains every difference.
//
// Usage: parity [flags] IMAGE
//
// Vocabulary: a place is the file in which a tool says that it found a package, a
// member of an archive following it after "!/". A package's key is its package URL without
// what only spells the same package differently (normal.go). A difference is a
// key that one tool has and the other has not; a rule (rules.go) says by name, or by a
// property that is checked, which differences it explains, and why. The rules
// are in docs/parity.md too, with counts and examples.
//
// Hazards: a rule that explains too much hides a fault of ours. One that goes by an archive's
// place therefore only holds if the other tool names a package in that very place, with the same version.
//
// IMAGE is an OCI layout directory or the name of an image of bench/mkimage that is there. The
// peers' documents are kept below the directory for results, and made by
// bench/scanbench where they are missing. Exit status 1 means that a difference is
// unexplained, 2 that the command line was wrong, 3 that something failed.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"stella/bench/images"
)

func main() {
	dir := flag.String("dir", "", "`directory` of images, peers and results (default $STELLA_BENCH_DIR, else in the user's cache)")
	all := flag.Bool("v", false, "print every difference, not only those that nothing explains")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: parity [flags] IMAGE")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	unexplained, err := run(ctx, *dir, flag.Arg(0), *all, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "parity:", err)
		os.Exit(3) //nolint:gocritic // stop only ends the watching of signals
	}
	if unexplained > 0 {
		os.Exit(1)
	}
}

// run compares and prints, and returns how many differences nothing explains.
func run(ctx context.Context, dir, name string, all bool, out io.Writer) (unexplained int, err error) {
	if dir == "" {
		if dir, err = images.DefaultDir(); err != nil {
			return 0, err
		}
	}
	layout := name
	if slices.Contains(images.Kinds(), images.Kind(name)) {
		layout = filepath.Join(dir, "images", name)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ours, err := scanImage(ctx, layout)
	if err != nil {
		return 0, err
	}
	for _, tool := range tools {
		theirs, err := peerDocument(ctx, dir, layout, tool, log)
		if err != nil {
			return 0, err
		}
		r := compare(tool, ours, theirs)
		r.print(out, all)
		unexplained += r.unexplained()
	}
	return unexplained, nil
}
