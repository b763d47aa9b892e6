// Command floor measures the least that reading an image can cost: it
// decompresses every layer, walks the tar stream to its end and hashes the
// compressed bytes, and looks at nothing. Every scanner must do at least this.
//
// Usage: floor [-workers N] LAYOUT[:TAG]
//
// LAYOUT is an OCI layout directory. The digest that the manifest names is
// verified, as a scanner must. What was read is printed as JSON; its costs are
// for the caller to measure (see bench/scanbench). Exit status 1 means that the
// image could not be read, 2 that the command line was wrong.
package main

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"

	"stella/bench/images"
	"stella/bench/ociwrite"
)

func main() {
	workers := flag.Int("workers", 1, "layers read at the same time")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: floor [-workers N] LAYOUT[:TAG]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 || *workers < 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	layout, tag := ociwrite.SplitTag(flag.Arg(0))
	total, err := read(ctx, layout, tag, *workers)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(total)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

// counts is what was read; sizes are bytes.
type counts struct {
	Layers       int   `json:"layers"`
	Compressed   int64 `json:"compressed_bytes"`
	Uncompressed int64 `json:"uncompressed_bytes"`
	Entries      int   `json:"entries"`
	Files        int   `json:"files"`
}

func (c *counts) add(o counts) {
	c.Layers += o.Layers
	c.Compressed += o.Compressed
	c.Uncompressed += o.Uncompressed
	c.Entries += o.Entries
	c.Files += o.Files
}

// read reads all layers, the largest first so that the last to end is a small
// one. The first error stops the workers after the layers that they are in.
func read(ctx context.Context, layout, tag string, workers int) (counts, error) {
	layers, err := ociwrite.Layers(layout, tag)
	if err != nil {
		return counts{}, err
	}
	slices.SortStableFunc(layers, func(a, b ociwrite.Descriptor) int { return cmp.Compare(b.Size, a.Size) })
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan ociwrite.Descriptor, len(layers))
	for _, d := range layers {
		queue <- d
	}
	close(queue)

	var mu sync.Mutex
	var total counts
	var wg sync.WaitGroup
	for range min(workers, len(layers)) {
		wg.Go(func() {
			for d := range queue {
				if ctx.Err() != nil {
					return
				}
				c, err := readLayer(layout, d)
				if err != nil {
					cancel(fmt.Errorf("read layer %s: %w", d.Digest, err))
					return
				}
				mu.Lock()
				total.add(c)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return total, context.Cause(ctx)
}

func readLayer(layout string, d ociwrite.Descriptor) (counts, error) {
	name, err := ociwrite.BlobPath(layout, d.Digest)
	if err != nil {
		return counts{}, err
	}
	f, err := os.Open(name)
	if err != nil {
		return counts{}, err
	}
	defer f.Close()
	sum := sha256.New()
	blob := &counter{r: io.TeeReader(f, sum)}
	plain, err := images.Decompress(blob, d.MediaType)
	if err != nil {
		return counts{}, err
	}
	defer plain.Close()
	stream := &counter{r: plain}
	c := counts{Layers: 1}
	if err := walk(tar.NewReader(stream), &c); err != nil {
		return counts{}, err
	}
	// The padding after the end of the archive, and whatever follows in the blob.
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return counts{}, err
	}
	if _, err := io.Copy(io.Discard, blob); err != nil {
		return counts{}, err
	}
	if got := fmt.Sprintf("sha256:%x", sum.Sum(nil)); got != d.Digest {
		return counts{}, fmt.Errorf("its bytes have digest %s; the layout is damaged, make it anew", got)
	}
	c.Compressed, c.Uncompressed = blob.n, stream.n
	return c, nil
}

func walk(tr *tar.Reader, c *counts) error {
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		c.Entries++
		if h.Typeflag == tar.TypeReg {
			c.Files++
		}
	}
}

// counter counts the bytes read through it.
type counter struct {
	r io.Reader
	n int64
}

// Read counts what the reader below gives.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
