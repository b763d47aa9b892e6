package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"stella/internal/scan/extract"
	"stella/internal/scan/stream"
	"stella/internal/spool"
)

func threeLayers(t *testing.T) [][]byte {
	return [][]byte{
		gz(t, tarOf(t, file("a.pkg", "a"), file("big", strings.Repeat("x", 100_000)))),
		gz(t, tarOf(t, file("b.pkg", "b requires:a"))),
		gz(t, tarOf(t, file(".wh.a.pkg", ""), file("c.pkg", "c\n!torn"))),
	}
}

// stored is the whole result as bytes, to compare scans.
func stored(t *testing.T, r *Result) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := r.inv.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestSameBytesWhateverTheWorkersAndTheCache(t *testing.T) {
	ref := "oci-dir:" + layout(t, nil, threeLayers(t)...)
	cache := t.TempDir()
	var first string
	for _, o := range []struct {
		workers int
		cache   string
	}{{1, ""}, {2, ""}, {4, cache}, {1, cache}} {
		opt := options(t, ref)
		opt.Workers, opt.CacheDir = o.workers, o.cache
		got := stored(t, run(t, opt))
		if first == "" {
			first = got
		}
		if got != first {
			t.Errorf("%+v: the result differs", o)
		}
	}
}

func TestSecondScanReadsNothing(t *testing.T) {
	root := layout(t, nil, threeLayers(t)...)
	o := options(t, "oci-dir:"+root)
	o.CacheDir = t.TempDir()
	want := found(t, run(t, o))
	// The blobs of the layers are gone: whoever decodes one fails.
	for _, l := range o.Image.Layers {
		if err := os.Remove(filepath.Join(root, "blobs/sha256", strings.TrimPrefix(l.Digest, "sha256:"))); err != nil {
			t.Fatal(err)
		}
	}
	o.Monitor = new(Monitor)
	r := run(t, o)
	if !r.Stats.FromCache {
		t.Error("the inventory was made again")
	}
	if l := r.Stats.Layers; len(l) != 3 || !l[0].Cached || l[0].Files != 2 || l[2].Packages != 1 {
		t.Errorf("statistics of the layers: %+v", l)
	}
	if s := o.Monitor.Snapshot(); s.Phase != PhaseDone || s.Layers != 3 || s.Done != 3 || s.Cached != 3 {
		t.Errorf("whoever watches sees %+v; want 3 layers, all cached", s)
	}
	if diff := cmp.Diff(want, found(t, r)); diff != "" {
		t.Errorf("(-first +second)\n%s", diff)
	}
}

func TestKnownBaseIsNotReadAgain(t *testing.T) {
	base := gz(t, tarOf(t, file("base.pkg", "base")))
	cache := t.TempDir()
	for i, want := range []int{0, 1} {
		o := options(t, "oci-dir:"+layout(t, nil, base, gz(t, tarOf(t, file("app.pkg", fmt.Sprint("app", i))))))
		o.CacheDir = cache
		r := run(t, o)
		cached := 0
		for _, l := range r.Stats.Layers {
			if l.Cached {
				cached++
			}
		}
		if cached != want || r.Stats.FromCache {
			t.Errorf("scan %d: %d layers from the cache, want %d", i, cached, want)
		}
	}
}

// A damaged or foreign file in the cache costs time, never a wrong result.
func TestDamagedCache(t *testing.T) {
	root := layout(t, nil, threeLayers(t)...)
	o := options(t, "oci-dir:"+root)
	o.CacheDir = t.TempDir()
	want := stored(t, run(t, o))
	files, err := filepath.Glob(o.CacheDir + "/*")
	if err != nil || len(files) != 5 { // three layers, the inventory, the tally
		t.Fatalf("%d files in the cache: %v, %v", len(files), files, err)
	}
	for _, damage := range []func([]byte) []byte{
		func(b []byte) []byte { return b[:len(b)/2] },
		func(b []byte) []byte { return nil },
		func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/3] ^= 1; return b },
	} {
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			put(t, f, damage(b))
		}
		if got := stored(t, run(t, o)); got != want {
			t.Error("a damaged fragment changed the result")
		}
	}
}

// An image of more layers than any runtime takes: the cache gets a bounded
// number of files, the result is whole, and kept.
func TestManyLayersMakeFewFiles(t *testing.T) {
	var layers [][]byte
	for i := range maxMade + 50 {
		layers = append(layers, gz(t, tarOf(t, file(fmt.Sprintf("%d.pkg", i), fmt.Sprintf("p%d", i)))))
	}
	o := options(t, "oci-dir:"+layout(t, nil, layers...))
	o.CacheDir = t.TempDir()
	if n := run(t, o).Count()["npm"]; n != len(layers) {
		t.Errorf("%d of %d packages", n, len(layers))
	}
	files, err := os.ReadDir(o.CacheDir)
	if err != nil || len(files) != maxMade+2 { // and the inventory, and the tally
		t.Errorf("%d files in the cache, %v", len(files), err)
	}
	if r := run(t, o); !r.Stats.FromCache {
		t.Error("the result was not kept")
	}
}

// cached lists the files that a cache has for later scans, and adds up their bytes.
func cached(t *testing.T, dir string) (files []string, bytes int64) {
	t.Helper()
	for _, suffix := range []string{fragmentSuffix, inventorySuffix} {
		some, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, some...)
	}
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		bytes += st.Size()
	}
	return files, bytes
}

func TestPrune(t *testing.T) {
	o := options(t, "oci-dir:"+layout(t, nil, threeLayers(t)...))
	o.CacheDir = t.TempDir()
	run(t, o)
	files, size := cached(t, o.CacheDir)
	c, err := openCache(o.CacheDir, spool.NewSpace(o.TempDir, 0))
	if err != nil {
		t.Fatal(err)
	}
	prune := func(limit int64) int {
		t.Helper()
		if err := c.prune(limit); err != nil {
			t.Fatal(err)
		}
		left, _ := cached(t, o.CacheDir)
		return len(left)
	}
	if left := prune(size); left != len(files) {
		t.Errorf("a cache within its bound lost %d files", len(files)-left)
	}
	if left := prune(size - 1); left != len(files)-1 {
		t.Errorf("%d files left of %d; one byte was too many", left, len(files))
	}
	// What nobody tallied, as scans that are killed leave it, is counted in the end.
	if err := os.WriteFile(filepath.Join(o.CacheDir, "x"+fragmentSuffix), make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	for scans := 1; prune(size) == len(files); scans++ {
		if scans > countEvery {
			t.Fatalf("%d scans did not see a file", scans)
		}
	}
	// A tally that a power cut left in pieces is made again.
	tally := filepath.Join(o.CacheDir, tallyName)
	if err := os.WriteFile(tally, []byte("00000"), 0o600); err != nil {
		t.Fatal(err)
	}
	prune(size)
	var want, got, scans int64
	_, want = cached(t, o.CacheDir)
	text, err := os.ReadFile(tally)
	if _, err2 := fmt.Sscanf(string(text), "%d %d", &got, &scans); err != nil || err2 != nil || got != want || scans != 0 {
		t.Errorf("the tally is %q (%v, %v); want %d bytes", text, err, err2, want)
	}
}

func TestWrongDigestIsAnError(t *testing.T) {
	layers := threeLayers(t)
	root := layout(t, nil, layers...)
	o := options(t, "oci-dir:"+root)
	victim := o.Image.Layers[1]
	changed := bytes.Clone(layers[1])
	changed[len(changed)-9] ^= 1 // in the compressed data, not in its length
	put(t, filepath.Join(root, "blobs/sha256", strings.TrimPrefix(victim.Digest, "sha256:")), changed)
	_, err := Run(t.Context(), o)
	if !errors.Is(err, stream.ErrDigest) || !strings.Contains(err.Error(), "layer 1 ") || !strings.Contains(err.Error(), victim.Digest) {
		t.Errorf("error %v", err)
	}
}

func TestManifestLiesAboutSizes(t *testing.T) {
	for _, d := range []int{-1, 1} {
		root := layout(t, func(i int, m map[string]any) {
			if i == 1 {
				m["size"] = m["size"].(int) + d
			}
		}, threeLayers(t)...)
		_, err := Run(t.Context(), options(t, "oci-dir:"+root))
		if err == nil || !strings.Contains(err.Error(), "layer 1 ") || !strings.Contains(err.Error(), "bytes") {
			t.Errorf("off by %d: %v", d, err)
		}
	}
}

// Layers that were built damaged are partial: what can be read is in the
// result, and the problem names layer and place.
func TestDamagedLayers(t *testing.T) {
	good := tarOf(t, file("a.pkg", "a"), file("pad", strings.Repeat("abcdefghij", 200_000)), file("b.pkg", "b"))
	var z bytes.Buffer
	zw, err := zstd.NewWriter(&z)
	if err != nil {
		t.Fatal(err)
	}
	zw.Write(good)
	zw.Close()
	zipped := gz(t, good)
	brokenTar := bytes.Clone(good)
	copy(brokenTar[len(brokenTar)-2048:], "garbage") // the header of b.pkg
	for name, l := range map[string][]byte{
		"truncated gzip": zipped[:len(zipped)-200],
		"truncated zstd": z.Bytes()[:z.Len()/2],
		"truncated tar":  good[:len(good)-3000],
		"broken tar":     gz(t, brokenTar),
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, options(t, "oci-dir:"+layout(t, nil, gz(t, tarOf(t, file("base.pkg", "base"))), l)))
			got := strings.Join(found(t, r), " ")
			if !strings.Contains(got, "base@0:base.pkg") || !strings.Contains(got, "a@1:a.pkg") {
				t.Errorf("lost what came before the damage: %s", got)
			}
			p := r.Problems()
			if len(p) != 1 || p[0].Layer != 1 || !strings.Contains(p[0].Reason, "cannot be read beyond entry") {
				t.Errorf("problems %+v", p)
			}
		})
	}
}

func TestExtractorThatPanics(t *testing.T) {
	r := scanLayers(t, []node{file("a.pkg", "a\npanic"), file("b.pkg", "b")})
	if got := fmt.Sprint(found(t, r)); got != "[a@0:a.pkg b@0:b.pkg]" {
		t.Error(got)
	}
	if p := r.Problems(); len(p) != 1 || p[0].Path != "a.pkg" || !strings.Contains(p[0].Reason, "as asked") {
		t.Errorf("problems %+v", p)
	}
}

func TestEntriesThatLeaveTheRoot(t *testing.T) {
	r := scanLayers(t, []node{file("../evil.pkg", "evil"), file("a/../../evil.pkg", "evil"), hardlink("h.pkg", "../../etc/shadow"), file("ok.pkg", "ok")})
	if got := fmt.Sprint(found(t, r)); got != "[ok@0:ok.pkg]" {
		t.Error(got)
	}
	if p := r.Problems(); len(p) != 3 {
		t.Errorf("problems %+v", p)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, options(t, "oci-dir:"+layout(t, nil, threeLayers(t)...))); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// greedy spools everything.
type greedy struct{ marker }

func (greedy) Extract(_ context.Context, f *extract.File, _ extract.Output) error {
	at, err := f.ReaderAt()
	if err != nil {
		return errors.New("could not be read") // as a parser that does not wrap
	}
	_, err = io.Copy(io.Discard, io.NewSectionReader(at, 0, f.Size))
	return err
}

func TestTempDirThatCannotBeWritten(t *testing.T) {
	o := options(t, "oci-dir:"+layout(t, nil, gz(t, tarOf(t, file("a.pkg", strings.Repeat("x", spoolMemory+1))))))
	o.Extractors = []extract.Extractor{greedy{}}
	o.TempDir = filepath.Join(t.TempDir(), "none")
	if _, err := Run(t.Context(), o); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "--tmp-dir") {
		t.Error(err)
	}
}

func TestLargestSpools(t *testing.T) {
	var nodes []node
	for i := range 20 {
		nodes = append(nodes, file(fmt.Sprintf("%d.pkg", i), strings.Repeat("x", 1000*(i+1))))
	}
	o := options(t, "oci-dir:"+layout(t, nil, gz(t, tarOf(t, nodes...))))
	o.Extractors = []extract.Extractor{greedy{}}
	s := run(t, o).Stats.LargestSpools
	if len(s) != maxSpools || s[0].Path != "19.pkg" || s[0].Size != 20_000 || s[9].Path != "10.pkg" {
		t.Errorf("%+v", s)
	}
}

func TestMemoryThatIsTooSmall(t *testing.T) {
	root := layout(t, nil, threeLayers(t)...)
	o := options(t, "oci-dir:"+root)
	o.Memory = MinMemory - 1
	if _, err := Run(t.Context(), o); !errors.Is(err, ErrMemory) {
		t.Error(err)
	}
	var z bytes.Buffer
	w, err := zstd.NewWriter(&z, zstd.WithWindowSize(128<<20), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	w.Write(tarOf(t, file("a.pkg", "a"), file("b", strings.Repeat("x", 3<<20))))
	w.Flush()
	w.Close()
	o = options(t, "oci-dir:"+layout(t, nil, z.Bytes()))
	if _, err := Run(t.Context(), o); !errors.Is(err, ErrMemory) || !strings.Contains(err.Error(), "--max-memory 152Mi") || !strings.Contains(err.Error(), "layer 0 ") {
		t.Error(err)
	}
	o.Memory = 152 << 20
	if got := found(t, run(t, o)); len(got) != 1 {
		t.Errorf("with the memory it asked for: %v", got)
	}
}

func TestDirectory(t *testing.T) {
	root := t.TempDir()
	put(t, filepath.Join(root, "a/x.pkg"), []byte("x\n!torn"))
	put(t, filepath.Join(root, "opt/db"), []byte("y"))
	put(t, filepath.Join(root, "var/lib/marker/other"), nil)
	if err := os.Symlink("/opt/db", filepath.Join(root, "var/lib/marker/db.pkg")); err != nil {
		t.Fatal(err)
	}
	o := options(t, "dir:"+root)
	o.CacheDir = t.TempDir()
	r := run(t, o)
	if got := fmt.Sprint(found(t, r), r.Problems()); got != "[x@0:a/x.pkg y@0:opt/db] [{0 a/x.pkg marker torn}]" {
		t.Error(got)
	}
	if left, _ := os.ReadDir(o.CacheDir); len(left) > 0 {
		t.Error("a directory, which can change, was cached")
	}
}
