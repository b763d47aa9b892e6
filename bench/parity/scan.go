package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	"stella/internal/scan"
	"stella/internal/scan/extract/all"
	"stella/internal/scan/image"
)

// tools are the peers, as bench/scanbench names them.
var tools = []string{"syft", "scalibr"}

// peerMemory is what a peer may use: half a small machine, and twice what either needs for medium.
const peerMemory = "8Gi"

// scanImage scans a layout with the engine of this module.
func scanImage(ctx context.Context, layout string) (list, error) {
	im, err := image.Open(ctx, "oci-dir:"+layout, image.Options{})
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", layout, err)
	}
	defer im.Close()
	temp, err := os.MkdirTemp("", "stella-parity-*")
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", layout, err)
	}
	defer os.RemoveAll(temp)
	r, err := scan.Run(ctx, scan.Options{
		Image: im, Extractors: all.Extractors(), TempDir: temp, Memory: scan.DefaultMemory,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", layout, err)
	}
	defer r.Close()
	l := list{}
	for c, err := range r.Components() {
		if err != nil {
			return nil, fmt.Errorf("scan %s: %w", layout, err)
		}
		for at, err := range c.Locations {
			if err != nil {
				return nil, fmt.Errorf("scan %s: %w", layout, err)
			}
			l.add(c.PURL, at.Path)
		}
	}
	return l, nil
}

// documentOf is where bench/scanbench keeps the document of a tool.
func documentOf(dir, layout, tool string) string {
	return filepath.Join(dir, "results", filepath.Base(layout), tool+".cdx.json")
}

// fresh reports whether there is a document, not older than the image. An empty one is of a run that was killed.
func fresh(document, layout string) bool {
	d, err := os.Stat(document)
	im, imErr := os.Stat(filepath.Join(layout, "index.json"))
	return err == nil && imErr == nil && d.Size() > 0 && !d.ModTime().Before(im.ModTime())
}

// peerDocument reads what a peer found in a layout, and lets it look where that was not done before.
func peerDocument(ctx context.Context, dir, layout, tool string, log *slog.Logger) (list, error) {
	document := documentOf(dir, layout, tool)
	if fresh(document, layout) {
		return readDocumentFile(document)
	}
	log.Info("running a peer", "tool", tool, "image", layout)
	cmd := exec.CommandContext(ctx, "go", "run", "stella/bench/scanbench", "-dir", dir, "-tools", tool,
		"-peer-memory", peerMemory, "-o", "json", layout)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run %s on %s: %w: %s", tool, layout, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return readDocumentFile(document)
}
