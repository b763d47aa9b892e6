package main

import (
	"bytes"
	"context"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stella/bench/images"
	"stella/bench/peers"
)

// medium adds an image of 2.4 GiB: two minutes with the race detector.
var medium = flag.Bool("medium", false, "compare the image medium too")

// update lets the peers look at the images of the tests anew, and keeps what they find in testdata.
var update = flag.Bool("update", false, "run the peers and write testdata; minutes, root, the Go module proxy")

// kept are the images that the tests make, whose peers' lists are in testdata.
func kept(t *testing.T) map[string]map[string][]byte {
	status, err := os.ReadFile("testdata/small.status.gz")
	if err != nil {
		t.Fatal(err)
	}
	return map[string]map[string][]byte{
		// The database of bench/mkimage's small: Debian 12, debootstrap's minbase, 88 packages.
		"small": {"etc/os-release": []byte(osRelease), "var/lib/dpkg/status": unzipped(t, status)},
		"every": everyFormat(t),
		"arch":  arch(t),
	}
}

// Every package that syft and scalibr find in these images is in Stella's
// list, or a rule explains by name why not; and the other way around.
func TestEveryDifferenceIsExplained(t *testing.T) {
	for name, files := range kept(t) {
		t.Run(name, func(t *testing.T) {
			layout := filepath.Join(t.TempDir(), "parity-"+name)
			layoutOf(t, layout, files)
			ours, err := scanImage(t.Context(), layout)
			if err != nil {
				t.Fatal(err)
			}
			for _, tool := range tools {
				file := filepath.Join("testdata", name+"."+tool+".txt")
				if *update {
					keep(t, file, layout, tool)
				}
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				theirs, err := readList(bytes.NewReader(text))
				if err != nil {
					t.Fatal(err)
				}
				check(t, compare(tool, ours, theirs))
			}
		})
	}
}

func keep(t *testing.T, file, layout, tool string) {
	t.Helper()
	dir, err := images.DefaultDir()
	if err != nil {
		t.Fatal(err)
	}
	l, err := peerDocument(context.Background(), dir, layout, tool, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range l { // a distribution package's place is its database, and files that say no more
		if strings.HasPrefix(f.key, "deb:") {
			f.places = f.places[:min(1, len(f.places))]
		}
	}
	var b bytes.Buffer
	if err := writeList(&b, l); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, c *comparison) {
	t.Helper()
	if len(c.ours) == 0 || len(c.theirs) == 0 {
		t.Fatalf("%s: %d packages, Stella: %d", c.tool, len(c.theirs), len(c.ours))
	}
	var b strings.Builder
	if c.print(&b, false); c.unexplained() > 0 {
		t.Error(b.String())
	} else if testing.Verbose() {
		t.Log(b.String())
	}
}

// The images of bench/mkimage are compared where they and the peers' documents are. medium takes the flag -medium.
func TestImagesOfTheBench(t *testing.T) {
	dir, err := images.DefaultDir()
	if err != nil {
		t.Skipf("capability bench: %v", err)
	}
	for _, kind := range []images.Kind{images.Small, images.Installed, images.Medium} {
		t.Run(string(kind), func(t *testing.T) {
			layout := filepath.Join(dir, "images", string(kind))
			if _, err := os.Stat(filepath.Join(layout, "index.json")); err != nil {
				t.Skipf("capability bench image: %v; make it with bench/mkimage", err)
			}
			if kind == images.Medium && !*medium {
				t.Skip("capability time: medium takes minutes; -medium allows them")
			}
			var all []*comparison
			for _, p := range []peers.Peer{peers.Syft, peers.Scalibr} {
				document := documentOf(dir, layout, p.Name)
				if !fresh(document, layout) {
					t.Skipf("capability peer %s: no document of this image; run bench/parity %s once", p.Name, kind)
				}
				theirs, err := readDocumentFile(document)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, &comparison{tool: p.Name, theirs: theirs})
			}
			ours, err := scanImage(t.Context(), layout)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range all {
				check(t, compare(c.tool, ours, c.theirs))
			}
		})
	}
}
