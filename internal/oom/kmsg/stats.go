package kmsg

import (
	"bytes"

	"stella/internal/oom"
)

// gauge is a line such as "memory: usage 65540kB, limit 65536kB, failcnt 208", in bytes.
type gauge struct {
	usage, limit, failures int64
	told                   bool
}

func (g *gauge) parse(text []byte) {
	g.usage, g.told = kilobytes(text, "usage ")
	g.limit, _ = kilobytes(text, "limit ")
	if rest, ok := after(text, "failcnt "); ok {
		g.failures, _, _ = number(rest)
	}
}

// full reports whether usage had reached the limit.
func (g *gauge) full() bool { return g.limit > 0 && g.limit < unlimited && g.usage >= g.limit }

// key is a figure of memory.stat that a report has.
type key int

const (
	keyAnon key = iota
	keyFile
	keyShmem
	keyKernel
	keySlab
	keySock
	keyPageTables
	keyStack
	keySwap
	// v1: of the cgroup alone, and with all below it.
	keyRSS
	keyCache
	keyTotalRSS
	keyTotalCache
	keyTotalShmem
	keyTotalSwap
	keys
)

func keyOf(word []byte) (key, bool) {
	switch string(word) {
	case "anon":
		return keyAnon, true
	case "file":
		return keyFile, true
	case "shmem":
		return keyShmem, true
	case "kernel":
		return keyKernel, true
	case "slab":
		return keySlab, true
	case "sock":
		return keySock, true
	case "pagetables":
		return keyPageTables, true
	case "kernel_stack":
		return keyStack, true
	case "swap":
		return keySwap, true
	case "rss":
		return keyRSS, true
	case "cache":
		return keyCache, true
	case "total_rss":
		return keyTotalRSS, true
	case "total_cache":
		return keyTotalCache, true
	case "total_shmem":
		return keyTotalShmem, true
	case "total_swap":
		return keyTotalSwap, true
	}
	return 0, false
}

// stats are the statistics of the cgroup whose limit was hit, in bytes.
type stats struct {
	path  []byte // of the first cgroup that is told of, whose limit it is
	value [keys]int64
	told  [keys]bool
}

func (s *stats) reset() { *s = stats{path: s.path[:0]} }

// head reads "Memory cgroup stats for PATH:", which until 5.2 goes on with " cache:0KB rss:4KB …", once for the cgroup
// and once for each below it: then the sum counts.
func (s *stats) head(text []byte) bool {
	rest, ok := cutPrefix(text, "Memory cgroup stats for ")
	if !ok {
		return false
	}
	path, whole := bytes.CutSuffix(rest, []byte(":"))
	if i := bytes.LastIndex(rest, []byte(": cache:")); i >= 0 && !whole {
		path, whole = rest[:i], true
		s.sum(rest[i+1:])
	}
	if whole && len(s.path) == 0 { // a path that was cut is a wrong path
		s.path = append(s.path, path[:min(len(path), maxPath)]...)
	}
	return true
}

// sum adds " cache:0KB rss:4KB …".
func (s *stats) sum(text []byte) {
	for len(text) > 0 {
		var word []byte
		word, text = token(text)
		name, value, _ := bytes.Cut(word, []byte(":"))
		n, unit, ok := number(value)
		if k, known := keyOf(name); ok && known && string(unit) == "KB" {
			s.value[k] += product(n, 1024)
			s.told[k] = true
		}
	}
}

// line reads "anon 4096" (since 5.3), and reports whether it may be a line of the statistics.
func (s *stats) line(text []byte) bool {
	word, rest := token(text)
	n, rest, ok := number(space(rest))
	if !ok || len(rest) > 0 {
		return false
	}
	if k, known := keyOf(word); known {
		s.value[k], s.told[k] = product(n, 1), true
	}
	return true
}

// memory is the use by kind. Those of v1 that count all below come first, for a limit is hit by all below.
func (s *stats) memory(kernel, swap gauge) oom.Memory {
	m := oom.Memory{
		Anon: s.value[keyAnon], File: s.value[keyFile], Shmem: s.value[keyShmem], Kernel: s.value[keyKernel],
		Slab: s.value[keySlab], Sock: s.value[keySock], PageTables: s.value[keyPageTables], Stack: s.value[keyStack],
		Swap: s.value[keySwap],
	}
	switch {
	case s.told[keyTotalRSS]:
		m.Anon, m.File = s.value[keyTotalRSS], s.value[keyTotalCache]
		m.Shmem, m.Swap = s.value[keyTotalShmem], s.value[keyTotalSwap]
	case s.told[keyRSS]:
		m.Anon, m.File = s.value[keyRSS], s.value[keyCache]
	}
	m.File = max(0, m.File-m.Shmem) // the kernel counts shared memory as files
	if m.Kernel == 0 {
		m.Kernel = kernel.usage
	}
	if m.Swap == 0 {
		m.Swap = swap.usage
	}
	return m
}

// node is what "Mem-Info:" says, in pages unless it says otherwise.
type node struct {
	told                                           bool
	anon, file, shmem, slab, tables, free          int64
	ram, reserved, stackBytes, swapBytes, swapFree int64
}

// line reads one line of it.
func (n *node) line(text []byte) bool {
	if rest, ok := cutPrefix(text, "Node "); ok {
		// Of the node and of its zones; only one of the two has stacks. In kB.
		if stack, ok := kilobytes(rest, " kernel_stack:"); ok {
			n.stackBytes += stack
		}
		return true
	}
	if swap, ok := kilobytes(text, "Free swap  = "); ok {
		n.swapFree = swap
		return true
	}
	if swap, ok := kilobytes(text, "Total swap = "); ok {
		n.swapBytes = swap
		return true
	}
	if pages, rest, ok := number(text); ok {
		switch string(rest) {
		case " pages RAM":
			n.ram, n.told = pages, true
		case " pages reserved":
			n.reserved = pages
		}
		return true
	}
	return n.counts(text)
}

// counts reads "active_anon:1 inactive_anon:2 …".
func (n *node) counts(text []byte) bool {
	found := false
	for len(text) > 0 {
		var word []byte
		word, text = token(text)
		name, value, ok := bytes.Cut(word, []byte(":"))
		pages, rest, numeric := number(value)
		if !ok || !numeric || len(rest) > 0 {
			return found
		}
		found = true
		switch string(name) {
		case "active_anon", "inactive_anon":
			n.anon += pages
			n.told = true
		case "active_file", "inactive_file":
			n.file += pages
		case "shmem":
			n.shmem = pages
		case "slab_reclaimable", "slab_unreclaimable":
			n.slab += pages
		case "pagetables":
			n.tables = pages
		case "free":
			n.free = pages
		}
	}
	return found
}

// memory is the use by kind.
func (n *node) memory(page int64) oom.Memory {
	return oom.Memory{
		// The lists of anonymous pages have shared memory as well.
		Anon: product(max(0, n.anon-n.shmem), page), File: product(n.file, page), Shmem: product(n.shmem, page),
		Slab: product(n.slab, page), PageTables: product(n.tables, page), Stack: n.stackBytes,
		Swap: max(0, n.swapBytes-n.swapFree),
	}
}

// limit is the node's memory, and what of it was not free.
func (n *node) limit(page int64) oom.Limit {
	total := product(max(0, n.ram-n.reserved), page)
	l := oom.Limit{Scope: oom.ScopeNode, Bytes: total}
	if total > 0 && n.told && n.anon > 0 {
		l.Usage = max(0, total-product(n.free, page))
	}
	return l
}
