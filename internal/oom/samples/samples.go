// Package samples keeps what containers used in the last hours, once a second, and what
// processes and the machine use now.
//
// Words: a sample is the memory of one container at one moment. Its history
// is four rings: a sample of every second for at least 7 minutes, then one of ten
// seconds for 25, of a minute for two hours and of ten minutes for 16
// hours; where little changes they reach several times as far back. What is kept of
// ten seconds is the one with the largest working set, so that a peak stays visible. A container is
// a cgroup that [Options.Wanted] chose; of all other cgroups only the
// processes are known. A cgroup below a container belongs to it. The first process is
// the one with whose end the container ends.
//
// The cost is bounded: a container takes at most 24 KiB, of which 20 are outside of the Go heap. There are at most
// [Options.MaxContainers] of them and 64 that are gone, whose histories are needed
// after their death; the eldest of those goes first, after an hour at the latest.
// Of a container whose usage hardly moves, and which is far from its limit, all but usage and working
// set is read every five seconds alone: processor time and pressure then stand still between.
// At most 8,192 processes are known, and 60 are read in a second. So what a process uses can be half a
// minute old where its container is quiet, and a process that lived shorter may
// never be seen.
//
// Hazards:
//
//   - The working set is the usage without the page cache that the kernel
//     would drop first; what counts against the limit is the usage.
//   - On cgroup v1 processor time and pids are read from the cgroup of the same path in the hierarchies
//     cpuacct and pids, as runtimes make them. Where there is none, processor time is not known of a
//     sample, and pids and the use of now are added up from the processes.
//   - Pressure (PSI) of a container is told by cgroup v2 alone.
//   - What a container wrote to its own layer is found out by walking it, slowly: the figures can
//     be minutes old. Layers that are no overlay, and those with more than 200,000 files, are not known.
//   - Pids are those of the PID namespace of this process: it must be the machine's.
package samples

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/oom/tree"
)

const (
	// defaultContainers is more than a node has: Kubernetes allows 110 pods unless told otherwise.
	defaultContainers = 1024
	// maxGone bounds the containers that have ended and are kept.
	maxGone = 64
	// goneAge is how long they are kept: until somebody has looked.
	goneAge = time.Hour
	// maxGroups bounds the cgroups whose processes are known, at some 500 bytes each.
	maxGroups = 4096
	// descriptorShare is the part of the descriptors that this process may have which may be kept open here, and
	// maxKept the most of them. Each costs 5 KiB of the kernel's memory (the page of a seq_file, an inode), which counts against the
	// limit of this process's cgroup. So many are enough for all files of 500 containers.
	descriptorShare = 2
	maxKept         = 4096
)

// Options say what to sample. Proc, Hierarchy and Log are needed.
type Options struct {
	// Proc is where the machine's proc file system is mounted.
	Proc string
	// Root is where the machine's file system is seen, for the layers of containers: "" is "/".
	Root string
	// Hierarchy is that of the memory controller.
	Hierarchy tree.Hierarchy
	// Interval is the time between two samples; 0 is a second.
	Interval time.Duration
	// MaxContainers bounds what is sampled at once; 0 is 1,024.
	MaxContainers int
	// Wanted says which cgroups are containers, by path; nil is all.
	Wanted func(path string) bool
	Log    *slog.Logger
}

// Sampler samples. Its methods may be called from several goroutines.
type Sampler struct {
	proc      string
	root      string
	hierarchy tree.Hierarchy
	interval  time.Duration
	wanted    func(string) bool
	most      int // containers
	log       *slog.Logger
	clock     clockTicks

	table table
	node  node

	// Only the goroutine that samples uses these.
	tick   int32
	cursor int      // the cgroup with which the next round of looks begins
	round  []*group // those of one round
	pids   [procsBytes]byte
	text   [statBytes]byte

	mu         sync.Mutex // guards what follows; it is held for one container at a time
	arena      *arena
	groups     map[uint64]*group // those that are there, by ID
	order      []*group          // the same
	paths      map[string]*group // the newest of each path, also of those gone
	containers []*group          // that are sampled
	ended      []*group          // that are gone and kept, the eldest first
	kept       int               // descriptors kept open
	mostKept   int
	closed     bool
	buf        [scratchBytes]byte
	// What was said once.
	toldGroups, toldContainers, toldDescriptors bool
}

// group is one cgroup.
type group struct {
	tree.Cgroup
	procs int32 // descriptor of cgroup.procs
	// container is set for one that is sampled, home is the container that it is part of:
	// itself, the nearest above, or none.
	container *container
	home      *group
	wanted    bool
	removed   bool
	looked    int32 // the tick of the last look at its processes
	main      first
}

// New makes a sampler. It sees nothing until it is told of cgroups and runs.
func New(o Options) (*Sampler, error) {
	o.Interval = cmp.Or(o.Interval, time.Second)
	o.MaxContainers = cmp.Or(o.MaxContainers, defaultContainers)
	if o.Wanted == nil {
		o.Wanted = func(string) bool { return true }
	}
	ticks, err := readClock(o.Proc)
	if err != nil {
		return nil, fmt.Errorf("sample containers: %w", err)
	}
	a, err := newArena(o.MaxContainers + maxGone)
	if err != nil {
		return nil, err
	}
	s := &Sampler{
		proc: o.Proc, root: cmp.Or(o.Root, "/"), hierarchy: o.Hierarchy, interval: o.Interval, wanted: o.Wanted, most: o.MaxContainers, log: o.Log,
		clock: ticks, arena: a, mostKept: mostDescriptors(),
		groups: map[uint64]*group{}, paths: map[string]*group{},
	}
	s.table.byPID = map[int32]*process{}
	return s, nil
}

// mostDescriptors is how many may be kept open: a share of what this process may have, so
// that it can still open others, and no more than their memory is worth.
func mostDescriptors() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0
	}
	return int(min(r.Cur/descriptorShare, maxKept))
}

// Run samples until ctx is done. It is called once.
func (s *Sampler) Run(ctx context.Context) error {
	var walking sync.WaitGroup
	walking.Go(func() { s.walkLayers(ctx) })
	defer walking.Wait()
	ticker := time.NewTicker(s.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			s.step(now)
		}
	}
}

// Close forgets all, and gives back memory and descriptors. It is called after Run.
func (s *Sampler) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.groups {
		s.closeFiles(g)
	}
	s.closed, s.order = true, nil
	s.groups, s.paths, s.containers, s.ended = map[uint64]*group{}, map[string]*group{}, nil, nil
	return s.arena.close()
}
