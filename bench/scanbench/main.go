// Command scanbench measures Stella and its peers on one image, next to the floor:
// what reading the image costs without looking at anything (see bench/floor).
//
// Usage: scanbench [flags] IMAGE
//
// IMAGE is an OCI layout directory or the name of an image that bench/mkimage
// makes, which is made where it is missing. Every tool runs in a memory cgroup of
// its own without swap, with a temporary directory of its own. A tool that the
// kernel kills is shown as killed at its limit, one that cannot be run as
// unmeasured; neither is left out. Exit status 1 means that nothing could be
// measured, 2 that the command line was wrong.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"stella/bench/images"
	"stella/bench/ociwrite"
)

func main() {
	o := Options{StellaMemory: 32 << 20, PeerMemory: 12 << 30, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	dir := flag.String("dir", "", "`directory` for images, peers and results (default $STELLA_BENCH_DIR, else in the user's cache)")
	tools := flag.String("tools", strings.Join(toolNames, ","), "tools to run, comma-separated")
	format := flag.String("o", "text", "text, markdown or json")
	flag.StringVar(&o.Stella, "stella", "", "Stella's `binary` (default: built from this module)")
	flag.Var((*bytesFlag)(&o.StellaMemory), "stella-memory", "memory limit of Stella, in bytes or with Ki, Mi, Gi")
	flag.Var((*bytesFlag)(&o.PeerMemory), "peer-memory", "memory limit of every other tool")
	flag.IntVar(&o.Repeat, "repeat", 1, "runs of each tool; medians are shown")
	flag.DurationVar(&o.Timeout, "timeout", 30*time.Minute, "how long one run may take")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: scanbench [flags] IMAGE")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 || !slices.Contains([]string{"text", "markdown", "json"}, *format) {
		flag.Usage()
		os.Exit(2)
	}
	o.Image, o.Dir, o.Tools = flag.Arg(0), *dir, strings.Split(*tools, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, *format); err != nil {
		fmt.Fprintln(os.Stderr, "scanbench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o Options, format string) error {
	if o.Dir == "" {
		dir, err := images.DefaultDir()
		if err != nil {
			return err
		}
		o.Dir = dir
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return err
	}
	o.Dir = dir
	if slices.Contains(images.Kinds(), images.Kind(o.Image)) {
		store := images.Store{Dir: o.Dir, Compression: ociwrite.Gzip, Log: o.Log}
		im, err := store.Build(ctx, images.Kind(o.Image))
		if err != nil {
			return err
		}
		o.Image = im.Path
	}
	if o.Image, err = filepath.Abs(o.Image); err != nil {
		return err
	}
	report, err := o.Measure(ctx)
	if err != nil {
		return err
	}
	return render(os.Stdout, format, report)
}

// bytesFlag is a flag with a size in bytes.
type bytesFlag int64

// String returns the size for the usage text.
func (b *bytesFlag) String() string { return size(int64(*b)) }

// Set parses digits and an optional Ki, Mi or Gi.
func (b *bytesFlag) Set(text string) error {
	digits, shift := text, 0
	for i, unit := range []string{"Ki", "Mi", "Gi"} {
		if d, ok := strings.CutSuffix(text, unit); ok {
			digits, shift = d, 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 || n > (1<<62)>>shift {
		return fmt.Errorf("%q is no size; write bytes, or a number with Ki, Mi or Gi", text)
	}
	*b = bytesFlag(n << shift)
	return nil
}
