package samples

import (
	"path/filepath"
	"strings"
	"time"
)

// The files of a cgroup that a sample is made of.
const (
	fileUsage = iota
	fileStat
	fileLimit
	fileKernel
	fileSock
	fileSwap
	filePressure
	fileCPU
	filePIDs
	fileCount
)

// fileNames are their names by version; "" where the version has none.
var fileNames = map[int][fileCount]string{
	1: {
		fileUsage: "memory.usage_in_bytes", fileStat: "memory.stat", fileKernel: "memory.kmem.usage_in_bytes",
		fileSock: "memory.kmem.tcp.usage_in_bytes", fileCPU: "cpuacct.usage", filePIDs: "pids.current",
	},
	2: {
		fileUsage: "memory.current", fileStat: "memory.stat", fileLimit: "memory.max", fileSwap: "memory.swap.current",
		filePressure: "memory.pressure", fileCPU: "cpu.stat", filePIDs: "pids.current",
	},
}

// controllers are the v1 hierarchies in which a file lies, where it is not that of memory.
var controllers = map[int]string{fileCPU: "cpuacct", filePIDs: "pids"}

const (
	// partsEvery is how many ticks what a sample has beside the usage is good for in a container that is
	// quiet: whose usage stays within movedKiB, and whose working set is below 7/8 of
	// its limit. memory.stat costs six times as much as the usage.
	partsEvery = 5
	// movedKiB is the least change of usage that tells anything: the kernel charges pages in batches of
	// 64 for each processor (MEMCG_CHARGE_BATCH).
	movedKiB = 256
	// aboveEvery is how many ticks pass between two looks at the limits above a container: they change when
	// somebody changes them.
	aboveEvery = 30
	// coresOver is the least time, in milliseconds, over which processor use is taken.
	coresOver = 5000
)

// container is what is kept of a cgroup that is sampled.
type container struct {
	slot    int32
	ticked  int32 // the tick of the newest sample
	files   [fileCount]int32
	history history
	trend   trend
	// above is the least limit of the cgroups above in KiB (v2), 0 for none.
	above int64
	// marks are the processor time as it was last read, and as it was some seconds before and before that.
	marks [3]point
	// top and threads are of the processes as they were last seen, cores the sum of what they use.
	top     leaders
	threads int64
	cores   float64
	// parts is the usage in KiB when all of a sample was last read, partsAt the tick, and movedAt the tick at
	// which the usage was last seen to have moved.
	parts            int64
	partsAt, movedAt int32
	gone             time.Time
	disk             disk
}

// directory is where a file of a cgroup lies.
func (s *Sampler) directory(g *group, file int) string {
	controller, other := controllers[file]
	if !other || g.Version != 1 {
		return g.Dir
	}
	return filepath.Join(filepath.Dir(s.hierarchy.Mount), controller, strings.TrimPrefix(g.Dir, s.hierarchy.Mount))
}

// openFiles opens what a sample is made of.
func (s *Sampler) openFiles(g *group) {
	c := g.container
	for i, name := range fileNames[g.Version] {
		c.files[i] = absent
		if name != "" {
			c.files[i] = s.open(s.directory(g, i) + "/" + name)
		}
	}
}

// readFile reads a file of a cgroup; nil where it cannot be read.
func (s *Sampler) readFile(g *group, file int) []byte {
	fd := g.container.files[file]
	if fd == absent {
		return nil
	}
	dir := ""
	if fd == reopen {
		dir = s.directory(g, file)
	}
	b, err := read(fd, dir, fileNames[g.Version][file], s.buf[:])
	if err != nil {
		return nil
	}
	return b
}

// sample looks at a container once. One that is not there any more has no sample: Remove will be told.
func (s *Sampler) sample(g *group, now time.Time) {
	c := g.container
	used := value(s.readFile(g, fileUsage))
	if used < 0 {
		return
	}
	next, again := c.history.last()
	f := &next.figures
	inactive := f[usage] - f[workingSet]
	f[clock], f[usage], f[workingSet] = now.UnixMilli(), used>>10, max(used>>10-inactive, 0)
	next.top = c.top
	moved := abs(f[usage]-c.parts) >= movedKiB
	if moved {
		c.movedAt = s.tick
	}
	if near := f[limit] > 0 && f[workingSet] >= f[limit]/8*7; !again || moved || near || s.tick-c.partsAt >= partsEvery {
		s.readParts(g, f)
		c.parts, c.partsAt = f[usage], s.tick
		if !again { // so that those told of together are not all read in the same tick
			c.partsAt -= c.slot % partsEvery
		}
		c.mark(point{f[clock], f[cpu]})
	}
	c.history.add(&next)
	c.trend.add(point{f[clock], f[workingSet]})
}

// readParts fills in what a sample has beside its time and usage.
func (s *Sampler) readParts(g *group, f *figures) {
	stat := parseMemoryStat(s.readFile(g, fileStat))
	psi := parsePressure(s.readFile(g, filePressure))
	f[workingSet] = max(f[usage]-kib(max(stat.inactiveFile, 0)), 0)
	f[anon], f[file], f[shmem] = kib(stat.anon), kib(stat.file), kib(stat.shmem)
	f[limit] = s.readLimit(g, stat)
	f[kernel] = kib(either(stat.kernel, s.readFile(g, fileKernel)))
	f[sock] = kib(either(stat.sock, s.readFile(g, fileSock)))
	f[swap] = kib(either(stat.swap, s.readFile(g, fileSwap)))
	f[cpu] = s.readCPU(g)
	f[pids] = value(s.readFile(g, filePIDs))
	if c := g.container; f[pids] < 0 && c.threads > 0 {
		f[pids] = c.threads
	}
	f[pressureSome], f[pressureFull] = milliseconds(psi.someTotal, 1000), milliseconds(psi.fullTotal, 1000)
}

func abs(n int64) int64 { return max(n, -n) }

// either is a figure that the one file has, or the other.
func either(n int64, text []byte) int64 {
	if n >= 0 {
		return n
	}
	return value(text)
}

func kib(n int64) int64 {
	if n < 0 {
		return unknown
	}
	return n >> 10
}

func milliseconds(n, perMillisecond int64) int64 {
	if n < 0 {
		return unknown
	}
	return n / perMillisecond
}

// readLimit is the least limit that holds for a container, in KiB: 0 is none.
func (s *Sampler) readLimit(g *group, stat memoryStat) int64 {
	if g.Version == 1 { // the kernel has done it
		if stat.limit >= noLimit {
			return 0
		}
		return kib(stat.limit)
	}
	c := g.container
	own := kib(value(s.readFile(g, fileLimit))) // "max" is no number
	switch {
	case own < 0:
		return c.above
	case c.above > 0:
		return min(own, c.above)
	}
	return own
}

// readAbove finds the least limit of the cgroups above (v2).
func (s *Sampler) readAbove(g *group) {
	if g.Version == 1 {
		return // memory.stat has it
	}
	c := g.container
	c.above = 0
	for dir := filepath.Dir(g.Dir); len(dir) > len(s.hierarchy.Mount); dir = filepath.Dir(dir) {
		if n := kib(readNumber(reopen, dir, "memory.max", s.buf[:])); n >= 0 && (c.above == 0 || n < c.above) {
			c.above = n
		}
	}
}

// readCPU is the processor time so far in milliseconds.
func (s *Sampler) readCPU(g *group) int64 {
	b := s.readFile(g, fileCPU)
	if g.Version == 1 {
		return milliseconds(value(b), 1e6)
	}
	return milliseconds(keyed(b, "usage_usec"), 1000)
}

// mark notes the processor time.
func (c *container) mark(p point) {
	if newest := c.marks[1].at; p.at-newest >= coresOver || p.at < newest {
		c.marks[1], c.marks[2] = p, c.marks[1]
	}
	c.marks[0] = p
}

// coresNow is the processor use over the last five to fifteen seconds, or where there is no counter what its processes use.
func (c *container) coresNow() float64 {
	last, then := c.marks[0], c.marks[2]
	if then.at == 0 {
		then = c.marks[1]
	}
	switch span := last.at - then.at; {
	case last.value < 0:
		return c.cores
	case span <= 0 || then.value < 0:
		return 0
	default:
		return max(float64(last.value-then.value)/float64(span), 0)
	}
}
