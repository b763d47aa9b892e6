package explain

import "stella/internal/oom"

// kind is one kind of memory.
type kind struct {
	name   string
	sample func(*oom.Sample) float64 // in bytes, below 0 is not known
	kill   func(*oom.Memory) int64   // in bytes
	untold bool                      // kernels do not all log it at a kill: cgroup v1 logs no sockets
}

var (
	anonymous = kind{"anonymous memory",
		func(s *oom.Sample) float64 { return float64(s.Anon) }, func(m *oom.Memory) int64 { return m.Anon }, false}
	files = kind{"the page cache",
		inUse, func(m *oom.Memory) int64 { return m.File }, false}
	shared = kind{"tmpfs and shared memory",
		func(s *oom.Sample) float64 { return float64(s.Shmem) }, func(m *oom.Memory) int64 { return m.Shmem }, false}
	kernels = kind{"the kernel's own memory (slab, page tables, stacks)",
		func(s *oom.Sample) float64 { return float64(s.Kernel) }, func(m *oom.Memory) int64 { return max(m.Kernel, m.Slab+m.PageTables+m.Stack) }, true}
	sockets = kind{"buffers of connections",
		func(s *oom.Sample) float64 { return float64(s.Sock) }, func(m *oom.Memory) int64 { return m.Sock }, true}
)

// inUse is what of the page cache is in the working set: the kernel does not take it back at once.
func inUse(s *oom.Sample) float64 {
	if s.File < 0 || s.Anon < 0 || s.WorkingSet < 0 {
		return -1
	}
	return min(float64(s.File), float64(s.WorkingSet)-needed(s))
}

// needed is what the kernel cannot take back, in bytes: the working set less the pages of files in it. Where kinds are not known it is the working set.
func needed(s *oom.Sample) float64 {
	whole := s.WorkingSet
	if whole < 0 {
		whole = s.Usage
	}
	if s.Anon < 0 {
		return float64(whole)
	}
	return float64(min(whole, s.Anon+max(s.Shmem, 0)+max(s.Kernel, 0)+max(s.Sock, 0)))
}
