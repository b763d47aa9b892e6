// Package bench holds what measures Stella from outside: image makers, the
// floor, the peers, and here the tests of the claim that a scan's memory does
// not depend on the image, run on the real binary in a real memory cgroup.
package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"stella/bench/images"
	"stella/bench/ociwrite"
	"stella/bench/watch"
	"stella/internal/cgroup"
)

const (
	limit = 32 << 20
	// slack is how far apart the peaks of a flat line may lie. Pages of the
	// binary come and go with the kernel's readahead, garbage with the moment of a collection.
	slack = 4 << 20
	// attempts is how often a peak beyond the slack is measured: where other work
	// keeps the collector from a processor, garbage heaps up (7 MB of heap became
	// 13 MB, of which 4 MB lived), although the scan goes first, as far as this
	// process may say so. What grows with the image is there every time.
	attempts = 3
)

// binary builds stella as it is released.
func binary(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "stella")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, "stella/cmd/stella")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, b)
	}
	return out
}

// scan runs a scan under the limit, where this process may set one, and returns the peak RSS in bytes and the
// number of components.
func scan(t *testing.T, stella, layout string) (rss int64, components int) {
	t.Helper()
	doc := filepath.Join(t.TempDir(), "sbom.json")
	var stderr bytes.Buffer
	// Without leave, nice says so and runs it all the same.
	cmd := exec.Command("nice", "-n", "-15", stella, "scan", "image", "oci-dir:"+layout, "--no-cache", "--progress", "none", "-o", "json="+doc)
	cmd.Stderr = &stderr
	g, err := cgroup.New("flat", cgroup.Limit{Memory: limit})
	switch {
	case errors.Is(err, cgroup.ErrUnsupported):
		t.Logf("without a limit of the kernel's: %v", err)
		err = cmd.Start()
	case err != nil:
		t.Fatal(err)
	default:
		defer g.Close()
		err = g.Start(cmd)
	}
	if err != nil {
		t.Fatal(err)
	}
	w := watch.Start(cmd.Process.Pid, "")
	err = cmd.Wait()
	rss = watch.RSS(cmd.ProcessState, w.Stop())
	if g != nil {
		if st, serr := g.Stats(); serr != nil || st.OOMKills > 0 {
			t.Fatalf("killed %d times in %d MiB (%v)", st.OOMKills, st.Limit>>20, serr)
		}
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	f, err := os.Open(doc)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var sbom struct {
		Components []struct{} `json:"components"`
	}
	if err := json.NewDecoder(f).Decode(&sbom); err != nil {
		t.Fatal(err)
	}
	return rss, len(sbom.Components)
}

// ground is the peak that the third image's is compared with: the higher of the
// two before, as the first may be too small to fill the fixed buffers.
func ground(line []int64) int64 { return max(line[0], line[1]) }

func TestMemoryIsFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("makes images of up to a million files")
	}
	stella := binary(t)
	store := images.Store{Dir: t.TempDir(), Compression: ociwrite.Gzip}
	for name, series := range map[string][]images.Synthetic{
		"layers": {
			{Layers: 10, Files: 10_000, Packages: 1000, FileSize: 200},
			{Layers: 100, Files: 10_000, Packages: 1000, FileSize: 200},
			{Layers: 1000, Files: 10_000, Packages: 1000, FileSize: 200},
		},
		"files": {
			{Layers: 10, Files: 10_000, Packages: 1000},
			{Layers: 10, Files: 100_000, Packages: 10_000},
			{Layers: 10, Files: 1_000_000, Packages: 100_000},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var line []int64
			for _, p := range series {
				img, err := store.BuildSynthetic(t.Context(), p)
				if err != nil {
					t.Fatal(err)
				}
				peak := int64(math.MaxInt64)
				for i := 0; i == 0 || i < attempts && len(line) == 2 && peak-ground(line) > slack; i++ {
					rss, got := scan(t, stella, img.Path)
					if want := p.Visible() + 1; got != want { // and base-files
						t.Errorf("%+v: %d components, want %d", p, got, want)
					}
					t.Logf("%4d layers, %7d files, %6d packages: peak RSS %.1f MiB", p.Layers, p.Files, p.Packages, float64(rss)/(1<<20))
					if rss > limit {
						t.Errorf("%+v: peak RSS of %d bytes is beyond the limit", p, rss)
					}
					peak = min(peak, rss)
				}
				line = append(line, peak)
				os.RemoveAll(img.Path)
			}
			// But for what a layer has in the manifest, which is about 1 KiB of heap.
			if grown := line[2] - ground(line); grown > slack {
				t.Errorf("ten times as many %s take %d KiB more, each of %d times", name, grown>>10, attempts)
			}
		})
	}
}
