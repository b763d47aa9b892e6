package scan

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"golang.org/x/sync/semaphore"

	"stella/internal/proc"
	"stella/internal/scan/extract"
	"stella/internal/scan/stream"
)

// ErrMemory says that the image cannot be scanned within the budget. It is
// found out before the memory is used; the error names how much would do.
var ErrMemory = errors.New("the memory budget is too small")

const (
	// DefaultMemory is the budget of a scan in bytes where none is given.
	DefaultMemory = 32 << 20
	// MinMemory is the least budget that a scan accepts, in bytes.
	MinMemory = 24 << 20

	// fixedMemory is what the process has before it reads a layer: mapped pages
	// of the binary, the runtime, the garbage between two collections. Measured; see docs/memory.md.
	fixedMemory = 18 << 20
	// spoolMemory is how much of a file that needs random access stays in memory.
	spoolMemory = 128 << 10
	// workerMemory is what reading one layer takes beside its zstd window.
	workerMemory = stream.BaseMemory + spoolMemory + extract.Budget
)

// budget divides the memory of a scan: so many workers, and what is left for the zstd windows of all of them.
type budget struct {
	memory  int64
	workers int
	window  int64
	windows *semaphore.Weighted
}

func plan(memory int64, workers int) (*budget, error) {
	if memory == 0 {
		memory = DefaultMemory
	}
	if memory < MinMemory {
		return nil, fmt.Errorf("%w: a scan needs at least %d MiB, and %d MiB are allowed", ErrMemory, MinMemory>>20, memory>>20)
	}
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	rest := memory - fixedMemory
	// A worker too many would take the windows' place: half is theirs.
	workers = int(max(1, min(int64(workers), rest/2/workerMemory)))
	b := &budget{memory: memory, workers: workers, window: rest - int64(workers)*workerMemory}
	b.windows = semaphore.NewWeighted(b.window)
	return b, nil
}

// reserve waits until a window of n bytes may be allocated; the stream has refused what exceeds all of it.
func (b *budget) reserve(ctx context.Context, n int64) error { return b.windows.Acquire(ctx, n) }

// refuse words the error of a layer that needs too large a window.
func (b *budget) refuse(need *stream.NeedError) error {
	if need.Need == 0 {
		return fmt.Errorf("%w: %w; give it more with --max-memory", ErrMemory, need)
	}
	total := need.Need + fixedMemory + workerMemory
	const step = 8 << 20
	total = (total + step - 1) / step * step
	return fmt.Errorf("%w: %w; give it --max-memory %dMi", ErrMemory, need, total>>20)
}

// LimitRuntime makes the Go runtime collect garbage early enough to stay in a
// budget of so many bytes, of which the mapped pages of the binary are a part; those that only the start of the
// program needed are given back. It is a belt: what keeps the budget is that nothing grows. It is for the whole process, from then on.
func LimitRuntime(memory int64) {
	const (
		mapped = 12 << 20 // and what the runtime does not count, such as pages on their way back to the kernel
		least  = 12 << 20
	)
	debug.SetMemoryLimit(max(memory-mapped, least))
	_ = proc.Trim() // where it cannot be given back, it stays
}
