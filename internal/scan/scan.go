// Package scan turns one image into one inventory, in memory that does not
// depend on the image.
//
// Every layer is read once, as a stream: bytes are hashed, decompressed and
// walked in a pipeline of fixed buffers; extractors are asked for each file
// from its header alone, and what they find goes to disk as the layer's
// fragment, together with the paths that hide something in the layers below.
// When all fragments are there, the squash sorts them on disk and keeps what a
// container made from the image would see.
//
// A fragment depends on nothing but the layer's digest and the set of
// extractors, so fragments are also the cache, and the way in which a scan that was killed goes on where it was.
//
// Hazards: the memory budget holds because nothing here grows with the number
// of files, packages or layers; every slice or map in this package that lives for longer
// than one file has a bound, named where it is declared.
package scan

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"stella/internal/scan/extract"
	"stella/internal/scan/image"
	"stella/internal/scan/inventory"
	"stella/internal/scan/squash"
)

// Options says what to scan and with how much.
type Options struct {
	Image      *image.Image
	Extractors []extract.Extractor

	// TempDir is for spooled files and sorting; it must exist, and should not be a
	// tmpfs. With spool.InMemory there are no temporary files: what would be in them
	// is memory, which comes on top of Memory and has no bound but the machine's or the cgroup's.
	TempDir string
	// CacheDir keeps fragments and inventories for later scans; empty means that nothing is kept.
	CacheDir string
	// CacheSize is the most bytes kept in CacheDir; the least recently used go first.
	CacheSize int64

	// Memory is the budget of the whole process in bytes; see [Budget].
	Memory int64
	// Workers is the most layers read at the same time; the budget may allow fewer. 0 means as many as there are processors.
	Workers int

	// Monitor, where not nil, shows the scan's progress to another goroutine.
	Monitor *Monitor
	Log     *slog.Logger
}

// Result is a finished scan. Its inventory reads from files until Close.
type Result struct {
	inventory.Inventory
	Stats Stats
	inv   *squash.Inventory
}

// Stats says what a scan did.
type Stats struct {
	Layers []LayerStats
	// Extractors is by name of extractor, over the layers that were decoded in this scan.
	Extractors map[string]ExtractorStats
	// Phases holds the wall time of each phase.
	Phases map[Phase]time.Duration
	// PeakDisk is the most bytes of temporary disk space in use at once, without what the cache keeps.
	PeakDisk int64
	// LargestSpools are the largest files that had to be spooled, at most ten, largest first.
	LargestSpools []SpooledFile
	// FromCache says that the whole inventory was kept from an earlier scan of the same image.
	FromCache bool
}

// LayerStats is about one layer, by its index in the image.
type LayerStats struct {
	Index  int
	Digest string
	// Cached says that the layer was not decoded in this scan.
	Cached   bool
	Duration time.Duration
	// Compressed and Uncompressed are bytes of the stream; Entries are all tar entries, Files the regular ones.
	Compressed, Uncompressed int64
	Entries, Files           int64
	Packages                 int64
}

// ExtractorStats is about one extractor.
type ExtractorStats struct {
	Files, Packages int64
	Duration        time.Duration
}

// SpooledFile is a file that needed random access.
type SpooledFile struct {
	Layer     int
	Path      string
	Extractor string
	Size      int64
}

// Run scans. An error means that there is no result: the image cannot be read, a
// digest is not what the manifest promised, the budget or the disk is too small ([ErrMemory]), or ctx ended. What an extractor could
// not read is no error: the result then has problems.
func Run(ctx context.Context, o Options) (*Result, error) {
	e, err := newEngine(o)
	if err != nil {
		return nil, err
	}
	defer e.store.close()
	r := &Result{Stats: Stats{Phases: map[Phase]time.Duration{}}}
	if inv := e.keptInventory(); inv != nil {
		r.Inventory, r.inv, r.Stats.FromCache = inv, inv, true
		e.monitor.allCached(len(e.distinct()))
		e.monitor.enter(PhaseDone)
		return r, e.finish(r)
	}
	inv, err := e.make(ctx, r.Stats.Phases)
	for tries := 1; errors.Is(err, errGone) && tries < maxTries; tries++ {
		inv, err = e.make(ctx, r.Stats.Phases)
	}
	if err != nil {
		return nil, err
	}
	r.Inventory, r.inv = inv, inv
	e.monitor.enter(PhaseDone)
	return r, e.finish(r)
}

// maxTries bounds how often a scan begins again because another process
// pruned the cache under it.
const maxTries = 3

// make makes the inventory, and adds to the times of the phases.
func (e *engine) make(ctx context.Context, times map[Phase]time.Duration) (inv *squash.Inventory, err error) {
	timed := func(p Phase, fn func() error) {
		if err != nil {
			return
		}
		e.monitor.enter(p)
		start := time.Now()
		err = fn()
		times[p] += time.Since(start)
	}
	var databases map[int]string
	timed(PhaseLayers, func() error { return e.readLayers(ctx) })
	timed(PhaseLinks, func() (err error) { databases, err = e.databaseKeys(ctx); return err })
	timed(PhaseSquash, func() (err error) { inv, err = e.squash(ctx, databases); return err })
	return inv, err
}

// finish keeps the result for the next scan, where there is a cache, and completes the statistics.
func (e *engine) finish(r *Result) error {
	if err := e.fill(&r.Stats, r.inv.Note()); err != nil {
		return err
	}
	if e.cache == nil {
		return nil
	}
	if !r.Stats.FromCache {
		// A cache that cannot be written costs the next scan time, and this one nothing.
		if err := e.keepInventory(r.inv); err != nil {
			e.log.Warn("the result was not kept in the cache", "error", err)
		}
	}
	if err := e.cache.prune(e.cacheSize); err != nil {
		e.log.Warn("the cache was not pruned", "error", err)
	}
	return nil
}

// WriteTo writes the inventory as [squash.Open] reads it.
func (r *Result) WriteTo(w io.Writer) (int64, error) { return r.inv.WriteTo(w) }

// Close releases the files behind the inventory.
func (r *Result) Close() error { return r.inv.Close() }
