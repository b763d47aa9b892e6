package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"stella/bench/peers"
)

// tool is one program to measure.
type tool struct {
	name  string
	limit int64 // bytes
	// prepare returns the command line. It may build or download; its error
	// makes the tool unmeasured.
	prepare func(ctx context.Context) ([]string, error)
	// document is the CycloneDX file that the command writes, empty for none.
	document string
}

// toolNames is what -tools accepts, in the order of the table. The first is what
// the ratios refer to.
var toolNames = []string{"floor", "floor-2", "stella", "syft", "scalibr"}

// tools are the programs to run on an image. Documents go to work, what else they
// need to scratch.
func (o Options) tools(work, scratch string) ([]tool, error) {
	document := func(name string) string { return filepath.Join(work, name+".cdx.json") }
	floor := func(workers string) func(context.Context) ([]string, error) {
		return func(ctx context.Context) ([]string, error) {
			binary, err := o.build(ctx, "floor", "stella/bench/floor")
			return []string{binary, "-workers", workers, o.Image}, err
		}
	}
	all := map[string]tool{
		"floor":   {limit: o.PeerMemory, prepare: floor("1")},
		"floor-2": {limit: o.PeerMemory, prepare: floor("2")},
		"stella": {limit: o.StellaMemory, document: document("stella"), prepare: func(ctx context.Context) ([]string, error) {
			binary, err := o.Stella, error(nil)
			if binary == "" {
				binary, err = o.build(ctx, "stella", "stella/cmd/stella")
			}
			return []string{binary, "scan", "image", "oci-dir:" + o.Image, "--no-cache", "-o", "cyclonedx-json=" + document("stella")}, err
		}},
		"syft": {limit: o.PeerMemory, document: document("syft"), prepare: func(ctx context.Context) ([]string, error) {
			binary, err := peers.Syft.Install(ctx, o.Dir)
			return []string{binary, "scan", "oci-dir:" + o.Image, "-q", "-o", "cyclonedx-json=" + document("syft")}, err
		}},
		// scalibr reads no layouts: it gets the archive that docker save makes.
		"scalibr": {limit: o.PeerMemory, document: document("scalibr"), prepare: func(ctx context.Context) ([]string, error) {
			binary, err := peers.Scalibr.Install(ctx, o.Dir)
			if err != nil {
				return nil, err
			}
			archive := filepath.Join(scratch, archiveFile)
			if err := writeArchive(o.Image, "", archive); err != nil {
				return nil, err
			}
			return []string{binary, "--image-tarball=" + archive, "--offline", "-o", "cdx-json=" + document("scalibr")}, nil
		}},
	}
	var chosen []tool
	for _, name := range o.Tools {
		t, ok := all[name]
		if !ok {
			return nil, fmt.Errorf("tool %q is not one of %s", name, strings.Join(toolNames, ", "))
		}
		t.name = name
		chosen = append(chosen, t)
	}
	return chosen, nil
}

// build builds a program of this module the way releases are built.
func (o Options) build(ctx context.Context, name, pkg string) (string, error) {
	binary := filepath.Join(o.Dir, "bin", name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, pkg)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", pkg, err, strings.TrimSpace(string(out)))
	}
	return binary, nil
}
