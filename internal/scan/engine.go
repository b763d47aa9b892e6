package scan

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"stella/internal/scan/extract"
	"stella/internal/scan/fragment"
	"stella/internal/scan/image"
	"stella/internal/scan/squash"
	"stella/internal/spool"
)

// engine is one scan.
type engine struct {
	image      *image.Image
	extractors []extract.Extractor
	budget     *budget
	space      *spool.Space
	store      store
	cache      *cacheStore // nil without a cache
	monitor    *Monitor
	stats      *collector
	log        *slog.Logger
	tempDir    string
	cacheSize  int64
	buffers    sync.Pool // of *buffers

	// By index of the layer, as long as the manifest: pointers into the image, and keys of fragments.
	layers []*image.Layer
	keys   []string
}

func newEngine(o Options) (*engine, error) {
	b, err := plan(o.Memory, o.Workers)
	if err != nil {
		return nil, err
	}
	e := &engine{
		image: o.Image, extractors: o.Extractors, budget: b, monitor: o.Monitor, log: o.Log, tempDir: o.TempDir, cacheSize: o.CacheSize,
		space: spool.NewSpace(o.TempDir, spoolMemory),
		stats: newCollector(o.Extractors),
	}
	e.buffers.New = func() any {
		return &buffers{fragment.NewWriter(nil), extract.NewFile(extract.Header{}, nil, e.space)}
	}
	if e.monitor == nil {
		e.monitor = new(Monitor)
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	set := setID(o.Extractors)
	for i := range o.Image.Layers {
		l := &o.Image.Layers[i]
		key := fmt.Sprintf("layer-%d", i)
		if l.Digest != "" {
			key = hashKey(set, l.Digest)
		}
		e.layers, e.keys = append(e.layers, l), append(e.keys, key)
	}
	if o.CacheDir != "" && o.Image.Dir == "" {
		if e.cache, err = openCache(o.CacheDir, e.space); err != nil {
			return nil, err
		}
		e.store = e.cache
		return e, nil
	}
	e.store, err = openTemp(e.space)
	if err != nil {
		return nil, fmt.Errorf("the temporary directory: %w; name another with --tmp-dir", err)
	}
	return e, nil
}

// readLayers makes the fragments that are not there yet: the largest layers
// first, so that no long one is left for the end; each distinct layer once.
func (e *engine) readLayers(ctx context.Context) error {
	order := e.distinct()
	slices.SortStableFunc(order, func(a, b int) int { return int(min(max(e.layers[b].Size-e.layers[a].Size, -1), 1)) })

	e.monitor.layers.Store(int64(len(order)))
	e.monitor.done.Store(0)
	e.monitor.cached.Store(0)
	var todo []int
	for _, i := range order {
		if stats, ok := e.have(e.keys[i]); ok {
			e.monitor.done.Add(1)
			e.monitor.cached.Add(1)
			e.stats.layer(i, stats, 0, true)
			continue
		}
		e.monitor.total.Add(max(e.layers[i].Size, 0))
		todo = append(todo, i)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(e.budget.workers)
	for _, i := range todo {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			start := time.Now()
			stats, err := e.readLayer(gctx, i)
			if err == nil {
				e.monitor.done.Add(1)
				e.stats.layer(i, stats, time.Since(start), false)
			}
			return err
		})
	}
	return cmp.Or(g.Wait(), ctx.Err())
}

// distinct are the indexes of the layers without those that are there again.
func (e *engine) distinct() []int {
	order := make([]int, 0, len(e.layers))
	first := make(map[string]bool, len(e.layers))
	for i, key := range e.keys {
		if !first[key] {
			first[key] = true
			order = append(order, i)
		}
	}
	return order
}

// have reports whether the layer's fragments are all there.
func (e *engine) have(key string) (fragment.Stats, bool) {
	src, stats, ok := e.store.open(key)
	if !ok {
		return stats, false
	}
	closeSource(src)
	if stats.Links > 0 {
		if src, _, ok = e.store.open(linkKey(key)); !ok {
			return stats, false
		}
		closeSource(src)
	}
	return stats, true
}

func (e *engine) readLayer(ctx context.Context, i int) (fragment.Stats, error) {
	l, key := e.layers[i], e.keys[i]
	stats, err := e.decode(ctx, l, key)
	if err == nil && stats.Links > 0 {
		err = e.links(ctx, l, key)
	}
	return stats, err
}

// squash makes the inventory of all fragments.
func (e *engine) squash(ctx context.Context, databases map[int]string) (*squash.Inventory, error) {
	kept := e.stats.all(e.layers, e.keys)
	for i := range kept { // what is kept is a function of the image alone
		kept[i].Cached, kept[i].Duration = false, 0
	}
	note, err := json.Marshal(kept)
	if err != nil {
		return nil, err
	}
	return squash.Run(ctx, squash.Input{
		Note:    note,
		Layers:  len(e.layers),
		TempDir: e.tempDir,
		OnDisk:  e.space.Account,
		Open: func(i int) ([]fragment.Source, error) {
			keys := []string{e.keys[i]}
			src, stats, ok := e.store.open(e.keys[i])
			if !ok {
				return nil, fmt.Errorf("%s: %w", e.layers[i], errGone)
			}
			sources := []fragment.Source{src}
			if stats.Links > 0 {
				keys = append(keys, linkKey(e.keys[i]))
			}
			if k := databases[i]; k != "" {
				keys = append(keys, k)
			}
			for _, k := range keys[1:] {
				src, _, ok := e.store.open(k)
				if !ok {
					for _, s := range sources {
						closeSource(s)
					}
					return nil, fmt.Errorf("%s: %w", e.layers[i], errGone)
				}
				sources = append(sources, src)
			}
			return sources, nil
		},
	})
}

func closeSource(s fragment.Source) {
	if c, ok := s.(io.Closer); ok {
		c.Close()
	}
}

// inventoryKey names the finished inventory of the image; "" where it cannot be kept.
func (e *engine) inventoryKey() string {
	if e.cache == nil {
		return ""
	}
	return hashKey(append([]string{"inventory"}, e.keys...)...)
}

func (e *engine) keptInventory() *squash.Inventory {
	key := e.inventoryKey()
	if key == "" {
		return nil
	}
	path := e.cache.path(key, inventorySuffix)
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	inv, err := squash.Open(f)
	if err != nil {
		os.Remove(path) // it is made again
		return nil
	}
	touch(path)
	return inv
}

func (e *engine) keepInventory(inv *squash.Inventory) error {
	key := e.inventoryKey()
	if key == "" {
		return nil
	}
	f, err := e.cache.temp()
	if err != nil {
		return err
	}
	if _, err := inv.WriteTo(f); err != nil {
		f.Close()
		os.Remove(f.Name())
		return err
	}
	return e.cache.keep(e.cache.path(key, inventorySuffix), f)
}

// collector gathers statistics from all workers.
type collector struct {
	mu         sync.Mutex
	names      []string
	extractors []ExtractorStats
	layers     map[int]LayerStats
	spools     []SpooledFile
}

// maxSpools is how many of the largest spooled files are remembered.
const maxSpools = 10

func newCollector(xs []extract.Extractor) *collector {
	c := &collector{extractors: make([]ExtractorStats, len(xs)), layers: map[int]LayerStats{}}
	for _, x := range xs {
		c.names = append(c.names, x.Name())
	}
	return c
}

func (c *collector) extracted(x, layer int, path string, packages, spooled int64, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.extractors[x]
	s.Files++
	s.Packages += packages
	s.Duration += d
	if spooled == 0 || len(c.spools) == maxSpools && c.spools[maxSpools-1].Size >= spooled {
		return
	}
	c.spools = append(c.spools, SpooledFile{Layer: layer, Path: path, Extractor: c.names[x], Size: spooled})
	slices.SortFunc(c.spools, func(a, b SpooledFile) int { return int(min(max(b.Size-a.Size, -1), 1)) })
	c.spools = c.spools[:min(len(c.spools), maxSpools)]
}

func (c *collector) layer(i int, s fragment.Stats, d time.Duration, cached bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.layers[i] = LayerStats{Index: i, Cached: cached, Duration: d, Compressed: s.Compressed, Uncompressed: s.Uncompressed,
		Entries: s.Entries, Files: s.Files, Packages: s.Packages}
}

// all are the statistics of every layer, also of those that repeat another.
func (c *collector) all(layers []*image.Layer, keys []string) []LayerStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := make(map[string]int, len(keys))
	out := make([]LayerStats, 0, len(layers))
	for i, l := range layers {
		if _, ok := first[keys[i]]; !ok {
			first[keys[i]] = i
		}
		s := c.layers[first[keys[i]]]
		s.Index, s.Digest = i, l.Digest
		out = append(out, s)
	}
	return out
}

// fill completes the statistics of a scan.
func (e *engine) fill(s *Stats, note []byte) error {
	if !s.FromCache {
		s.Layers = e.stats.all(e.layers, e.keys)
	} else if err := json.Unmarshal(note, &s.Layers); err != nil {
		return fmt.Errorf("stored inventory: %w", err)
	}
	for i := range s.Layers {
		s.Layers[i].Cached = s.Layers[i].Cached || s.FromCache
	}
	c := e.stats
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Extractors = map[string]ExtractorStats{}
	for i, x := range c.extractors {
		if x.Files > 0 {
			s.Extractors[c.names[i]] = x
		}
	}
	s.LargestSpools = c.spools
	s.PeakDisk = e.space.PeakDisk()
	return nil
}
