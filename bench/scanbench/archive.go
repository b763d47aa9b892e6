package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"stella/bench/ociwrite"
)

// archiveFile is the name of the archive while a measurement lasts.
const archiveFile = "image.tar"

// writeArchive writes the image of a layout as the archive that "docker save"
// makes, for scanners that read no layouts. The layers stay compressed.
func writeArchive(layout, tag, name string) error {
	im, err := ociwrite.Read(layout, tag)
	if err != nil {
		return fmt.Errorf("make archive: %w", err)
	}
	out, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("make archive: %w", err)
	}
	err = fillArchive(tar.NewWriter(out), layout, im)
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("make archive %s: %w", name, err)
	}
	return nil
}

func fillArchive(tw *tar.Writer, layout string, im ociwrite.Manifest) error {
	// One document per image, as Docker's image specification 1.2 has it.
	type document struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	doc := document{Config: archiveName(im.Config.Digest), RepoTags: []string{"bench/image:latest"}}
	written := map[string]bool{}
	for _, d := range append([]ociwrite.Descriptor{im.Config}, im.Layers...) {
		if d.Digest != im.Config.Digest {
			doc.Layers = append(doc.Layers, archiveName(d.Digest))
		}
		if written[d.Digest] {
			continue
		}
		written[d.Digest] = true
		if err := addBlob(tw, layout, d); err != nil {
			return err
		}
	}
	text, err := json.Marshal([]document{doc})
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Name: "manifest.json", Mode: 0o644, Size: int64(len(text))}); err != nil {
		return err
	}
	_, err = io.Copy(tw, bytes.NewReader(text))
	return errors.Join(err, tw.Close())
}

func addBlob(tw *tar.Writer, layout string, d ociwrite.Descriptor) error {
	name, err := ociwrite.BlobPath(layout, d.Digest)
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := tw.WriteHeader(&tar.Header{Name: archiveName(d.Digest), Mode: 0o644, Size: d.Size}); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}

// archiveName is the name of a blob inside the archive.
func archiveName(digest string) string {
	return "blobs/" + strings.ReplaceAll(digest, ":", "/")
}
