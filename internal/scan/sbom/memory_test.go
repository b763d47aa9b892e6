package sbom

import (
	"context"
	"iter"
	"runtime"
	"testing"

	"stella/internal/scan/inventory"
	"stella/internal/scan/sbom/sbomtest"
)

// maxHeap is the most that writing a document may keep alive at any time.
const maxHeap = 1 << 20

// heapWatch is a writer to nowhere that looks at the live heap now and then.
type heapWatch struct {
	every, next, written int64
	start, peak          uint64
}

func watchHeap(every int64) *heapWatch { return &heapWatch{every: every, next: every, start: live()} }

func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func (h *heapWatch) Write(p []byte) (int, error) {
	h.written += int64(len(p))
	if h.written >= h.next {
		h.next += h.every
		h.peak = max(h.peak, live())
	}
	return len(p), nil
}

func (h *heapWatch) growth() int64 { return int64(h.peak) - int64(h.start) }

func TestFlatMemory(t *testing.T) {
	sizes := map[string]int{
		"cyclonedx-json@1.7": 1_000_000, "spdx-json": 1_000_000, "json": 1_000_000, "table": 1_000_000,
		"cyclonedx-json@1.6": 100_000, // the code of 1.7
	}
	for format, n := range sizes {
		if reduced() {
			n = 20_000
		}
		t.Run(format, func(t *testing.T) {
			f, _ := ParseFormat(format)
			w := watchHeap(int64(n) * 30)
			if err := Write(context.Background(), w, f, document(sbomtest.Generated{N: n})); err != nil {
				t.Fatal(err)
			}
			if w.peak == 0 {
				t.Fatal("the heap was never looked at")
			}
			if g := w.growth(); g > maxHeap {
				t.Errorf("%d components: the live heap grew by %d KiB, want at most %d", n, g>>10, maxHeap>>10)
			} else {
				t.Logf("%d components, %d MiB: the live heap grew by %d KiB", n, w.written>>20, g>>10)
			}
		})
	}
}

// One component with very many locations, and one very long text.
func TestFlatMemoryInOneComponent(t *testing.T) {
	for _, format := range []string{"cyclonedx-json@1.7", "spdx-json", "json", "table"} {
		f, _ := ParseFormat(format)
		w := watchHeap(4 << 20)
		if err := Write(context.Background(), w, f, document(endless{200_000})); err != nil {
			t.Fatal(err)
		}
		if g := w.growth(); w.peak != 0 && g > maxHeap {
			t.Errorf("%s: the live heap grew by %d KiB, want at most %d", format, g>>10, maxHeap>>10)
		}
	}
}

type endless struct{ locations int }

func (e endless) Components() iter.Seq2[*inventory.Component, error] {
	return func(yield func(*inventory.Component, error) bool) {
		c := inventory.Component{Ref: "r", LocationCount: e.locations}
		c.Locations = func(yield func(inventory.Location, error) bool) {
			for range e.locations {
				if !yield(inventory.Location{Path: "some/path"}, nil) {
					return
				}
			}
		}
		yield(&c, nil)
	}
}

func (endless) Edges() iter.Seq2[inventory.Edge, error] {
	return func(func(inventory.Edge, error) bool) {}
}
func (endless) Problems() []inventory.Problem { return nil }
func (endless) Release() *inventory.Release   { return nil }
func (endless) Count() map[inventory.Type]int { return nil }

func BenchmarkWrite(b *testing.B) {
	const n = 100_000
	for _, format := range []string{"cyclonedx-json@1.7", "spdx-json", "json", "table"} {
		b.Run(format, func(b *testing.B) {
			f, _ := ParseFormat(format)
			d := document(sbomtest.Generated{N: n})
			w := &counter{}
			b.ReportAllocs()
			for b.Loop() {
				if err := Write(context.Background(), w, f, d); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "components/s")
		})
	}
}
