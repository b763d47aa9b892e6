package scan

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"stella/internal/scan/extract"
	"stella/internal/scan/fragment"
	"stella/internal/spool"
)

// errGone says that a fragment that was there is no longer: another process pruned the cache.
var errGone = errors.New("results of a layer were removed from the cache while they were used")

// store keeps finished fragments by key. It is safe for concurrent use.
type store interface {
	// open returns a whole and undamaged fragment, or false.
	open(key string) (fragment.Source, fragment.Stats, bool)
	// create returns where a new fragment is written to.
	create() (draft, error)
	close() error
}

// draft is a fragment that is being written. It ends with one of commit and discard.
type draft interface {
	io.Writer
	// commit keeps what was written under key.
	commit(key string) error
	discard()
}

// setID names the set of extractors and the encodings: results of another set are never used.
func setID(xs []extract.Extractor) string {
	h := sha256.New()
	fmt.Fprintf(h, "fragment %d\n", fragment.Version)
	for _, x := range xs {
		fmt.Fprintf(h, "%s %d\n", x.Name(), x.Version())
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func hashKey(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return hex.EncodeToString(sum[:])
}

// cacheStore keeps fragments as files that other scans use, too.
type cacheStore struct {
	dir string
	// rest keeps what is not worth a file of the cache, for this scan only.
	rest *tempStore

	mu   sync.Mutex
	made int
	// added is the bytes of files that this scan has added; see prune.
	added int64
	// checked holds the stats of fragments whose checksum this scan has
	// compared: one a layer, and a fragment is opened several times.
	checked map[string]fragment.Stats
}

const (
	fragmentSuffix  = ".fragment"
	inventorySuffix = ".inventory"
	unfinished      = ".unfinished-"
	// unfinishedAge is after how long a file that a killed scan left is removed.
	unfinishedAge = 24 * time.Hour
)

// maxMade is how many fragments one scan adds to a cache. Container runtimes
// refuse images of 128 layers and more; ten thousand new files are 14 MiB of
// inodes that the kernel charges to the scan's memory cgroup.
const maxMade = 1024

func openCache(dir string, space *spool.Space) (*cacheStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the cache: %w; choose another place with --cache-dir, or --no-cache", err)
	}
	rest, err := openTemp(space)
	if err != nil {
		return nil, err
	}
	return &cacheStore{dir: dir, rest: rest, checked: map[string]fragment.Stats{}}, nil
}

func (c *cacheStore) path(key, suffix string) string { return filepath.Join(c.dir, key+suffix) }

// fileSource is a fragment that is a file of its own.
type fileSource struct {
	*os.File
	size int64
}

func (f fileSource) Size() int64 { return f.size }

func (c *cacheStore) open(key string) (fragment.Source, fragment.Stats, bool) {
	if src, stats, ok := c.rest.open(key); ok {
		return src, stats, true
	}
	path := c.path(key, fragmentSuffix)
	f, err := os.Open(path)
	if err != nil {
		return nil, fragment.Stats{}, false
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fragment.Stats{}, false
	}
	src := fileSource{f, st.Size()}
	c.mu.Lock()
	stats, ok := c.checked[key]
	c.mu.Unlock()
	if ok {
		return src, stats, true
	}
	if stats, err = fragment.Check(src); err != nil {
		f.Close()
		os.Remove(path) // it is made again
		return nil, fragment.Stats{}, false
	}
	c.mu.Lock()
	c.checked[key] = stats
	c.mu.Unlock()
	touch(path)
	return src, stats, true
}

// touch makes a file the one used last, for prune. A cache that cannot be written serves as well.
func touch(path string) {
	now := time.Now()
	_ = os.Chtimes(path, now, now)
}

// cacheDraft is a file that has no name of its own yet.
type cacheDraft struct {
	*os.File
	c *cacheStore
}

func (d cacheDraft) commit(key string) error { return d.c.keep(d.c.path(key, fragmentSuffix), d.File) }

func (d cacheDraft) discard() {
	d.Close()
	os.Remove(d.Name())
}

func (c *cacheStore) create() (draft, error) {
	c.mu.Lock()
	c.made++
	full := c.made > maxMade
	c.mu.Unlock()
	if full {
		return c.rest.create()
	}
	f, err := c.temp()
	return cacheDraft{f, c}, err
}

func (c *cacheStore) temp() (*os.File, error) { return os.CreateTemp(c.dir, unfinished+"*") }

// keep gives a finished file its name at once. No fsync: a file that a power
// cut left in pieces fails its checksum and is made again.
func (c *cacheStore) keep(path string, f *os.File) error {
	st, err := f.Stat()
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("the cache: %w", err)
	}
	c.mu.Lock()
	c.added += st.Size()
	c.mu.Unlock()
	return nil
}

func (c *cacheStore) close() error { return c.rest.close() }

// tempStore keeps the fragments of one scan, one after the other in a file without a
// name: an image may have more layers than a process may have open files.
type tempStore struct {
	space *spool.Space

	mu    sync.Mutex
	file  *os.File
	end   int64
	index map[string]kept // one a layer, and an image's layers are bounded by its manifest's size
}

type kept struct {
	off, size int64
	stats     fragment.Stats
}

func openTemp(space *spool.Space) (*tempStore, error) {
	f, err := spool.TempFile(space.Dir())
	if err != nil {
		return nil, err
	}
	return &tempStore{space: space, file: f, index: map[string]kept{}}, nil
}

func (t *tempStore) open(key string) (fragment.Source, fragment.Stats, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, ok := t.index[key]
	if !ok {
		return nil, fragment.Stats{}, false
	}
	return io.NewSectionReader(t.file, k.off, k.size), k.stats, true
}

// tempDraft is spooled: most layers' fragments never leave memory on their own.
type tempDraft struct {
	*spool.Buffer
	t *tempStore
}

func (t *tempStore) create() (draft, error) { return tempDraft{t.space.New(), t}, nil }

func (d tempDraft) discard() { d.Close() }

func (d tempDraft) commit(key string) error {
	defer d.Close()
	stats, err := fragment.Check(d)
	if err != nil {
		return err
	}
	t, size := d.t, d.Size()
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := io.Copy(io.NewOffsetWriter(t.file, t.end), io.NewSectionReader(d, 0, size)); err != nil {
		return fmt.Errorf("keep the layer's results in %s: %w", t.space.Dir(), err)
	}
	t.index[key] = kept{t.end, size, stats}
	t.end += size
	t.space.Account(size)
	return nil
}

func (t *tempStore) close() error {
	t.space.Account(-t.end)
	return t.file.Close()
}
