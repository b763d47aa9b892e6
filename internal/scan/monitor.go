package scan

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Phase is what a scan is doing as a whole.
type Phase string

// The phases of a scan, in order.
const (
	PhaseLayers Phase = "layers" // layers are decompressed and extracted
	PhaseLinks  Phase = "links"  // layers are read again for what links lead to
	PhaseSquash Phase = "squash" // results of all layers become one inventory
	PhaseDone   Phase = "done"
)

// NoticeSize is how large a file is, in bytes, before whose reading [Monitor.Notify]
// is called: large enough to be what a scan dies of, and so large that the calls are few.
const NoticeSize = 4 << 20

// Monitor lets another goroutine see how a scan is doing, at any time and
// without slowing it: the scan writes, the reader asks for a [Snapshot]. The zero value is ready; one Monitor belongs to one scan.
type Monitor struct {
	// Notify, where not nil, is called when a phase has begun and before an
	// extractor reads a file of NoticeSize or more, so that whoever watches knows
	// it even if the process does not survive. It is called by several goroutines, which
	// wait for it. It must be set before the scan begins.
	Notify func()

	phase    atomic.Value // Phase
	total    atomic.Int64
	read     atomic.Int64
	layers   atomic.Int64
	done     atomic.Int64
	cached   atomic.Int64
	packages atomic.Int64

	mu     sync.Mutex
	active map[int]*activity
}

type activity struct {
	file    atomic.Pointer[reading]
	entries atomic.Int64
}

// reading is a file that an extractor has.
type reading struct {
	path string
	size int64
}

// Snapshot is a scan at one moment.
type Snapshot struct {
	Phase Phase
	// Layers is how many distinct layers there are, Done how many are
	// finished, Cached how many of those came from the cache.
	Layers, Done, Cached int
	// Read of Total compressed bytes of the layers that must be decoded.
	Read, Total int64
	Packages    int64
	Active      []Active
}

// Active is a layer that is being read now.
type Active struct {
	Layer   int
	Entries int64
	// Path is the file that an extractor has now, empty between files, and Size
	// its bytes.
	Path string
	Size int64
}

func (m *Monitor) enter(p Phase) {
	m.phase.Store(p)
	m.notify()
}

// allCached says that none of so many layers has to be read.
func (m *Monitor) allCached(layers int) {
	for _, n := range []*atomic.Int64{&m.layers, &m.done, &m.cached} {
		n.Store(int64(layers))
	}
}

func (m *Monitor) notify() {
	if m.Notify != nil {
		m.Notify()
	}
}

// extracting says that an extractor gets a file of the layer that a belongs to.
func (m *Monitor) extracting(a *activity, path string, size int64) {
	a.file.Store(&reading{path, size})
	if size >= NoticeSize {
		m.notify()
	}
}

func (m *Monitor) begin(layer int) *activity {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.active == nil {
		m.active = map[int]*activity{}
	}
	a := new(activity)
	m.active[layer] = a
	return a
}

func (m *Monitor) end(layer int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.active, layer)
}

// Snapshot is the scan as it is now.
func (m *Monitor) Snapshot() Snapshot {
	s := Snapshot{
		Layers: int(m.layers.Load()), Done: int(m.done.Load()), Cached: int(m.cached.Load()),
		Read: m.read.Load(), Total: m.total.Load(), Packages: m.packages.Load(),
	}
	s.Phase, _ = m.phase.Load().(Phase)
	m.mu.Lock()
	defer m.mu.Unlock()
	for layer, a := range m.active {
		x := Active{Layer: layer, Entries: a.entries.Load()}
		if f := a.file.Load(); f != nil {
			x.Path, x.Size = f.path, f.size
		}
		s.Active = append(s.Active, x)
	}
	slices.SortFunc(s.Active, func(a, b Active) int { return a.Layer - b.Layer })
	return s
}
