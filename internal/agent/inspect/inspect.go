// Package inspect asks applications about themselves, where they say that they may be asked: for the gauges of their metrics, and for heap
// profiles while their memory runs out.
//
// Words: a target is a cgroup with the addresses that are asked for it: metrics, in the text format of Prometheus, and pprof, a heap profile of a Go program. Targets
// are pods with annotations ([Inspector.Pod]), and cgroups of a file ([ReadFile]). A life is that of the first process of a target. A heap profile is taken once a life
// when the target has been there for a moment (the baseline), and when its working set passes 80 % and 95 % of its limit.
//
// Nothing is asked of a workload that does not say so, and nothing here grows with what one answers: each answer has a limit in bytes and in time, the
// gauges that are kept are in bounded rings, and the profiles on disk in a bounded directory.
//
// Hazards:
//
//   - Answers come from containers, and are hostile. A pod is asked at the IP that the API has for it, a cgroup of the file at a loopback address; there are no
//     redirects, no proxies and no names to resolve, so that nobody has the agent ask somebody else.
//   - Metrics of the runtime about its own memory would follow memory because they are it; they are left out.
//   - A cgroup with a network namespace of its own is not behind the loopback address of this machine.
package inspect

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"stella/internal/oom"
)

const (
	// atOnce bounds the metrics that are read at the same time. Each takes a few KiB, and milliseconds unless somebody hangs.
	atOnce = 4
	// lookEvery is how often the working sets of those with pprof are compared with their limits: what leaks 1 % of its limit a second is seen between 95 and 97 %.
	lookEvery = 2 * time.Second
	// maxTargets bounds the pods and the cgroups of the file that are asked, each.
	maxTargets = 512
	// goneAfter is how many rounds in which nothing of a target was seen end it: a process that is started again is the same target.
	goneAfter = 2
)

// Options are what an [Inspector] takes from its surroundings. All but File are needed.
type Options struct {
	// Dir keeps the heap profiles.
	Dir string
	// File are targets that are no pods.
	File []Target
	// Every is how often gauges are read.
	Every time.Duration
	// Boot is the kernel's id of this boot, Version that of the agent.
	Boot, Version string
	// Containers calls fn for each cgroup that is sampled now.
	Containers func(fn func(c oom.Container, cgroup string))
	// Newest is the newest sample of one that is sampled now.
	Newest func(cgroup string) (oom.Sample, bool)
	// Main is the first process of a cgroup.
	Main func(cgroup string) (pid int, alive, ok bool)
	Log  *slog.Logger
}

// Inspector asks. Its methods may be called from several goroutines.
type Inspector struct {
	o      Options
	fetch  *fetcher
	gauges gauges
	heaps  *heaps
	counts counts
	full   sync.Once // said

	mu      sync.Mutex
	pods    pods
	watched map[string]*watch // by cgroup
}

// watch is a target that is there.
type watch struct {
	Target
	container oom.Container
	missed    int // rounds in a row in which it was not seen

	// By the goroutine of metrics, and by that of heaps, alone.
	metrics, pprof trouble
	life           life
}

// New makes an inspector, with the heap profiles that are in its directory.
func New(o Options) *Inspector {
	kept, err := openHeaps(o.Dir)
	if err != nil {
		o.Log.Warn("the heap profiles that were kept cannot be read", "why", err)
	}
	return &Inspector{o: o, fetch: newFetcher("stella-agent/" + o.Version), heaps: kept, pods: newPods(), watched: map[string]*watch{}}
}

// Run asks until ctx ends.
func (i *Inspector) Run(ctx context.Context) error {
	var work sync.WaitGroup
	work.Go(func() { each(ctx, i.o.Every, i.round) })
	work.Go(func() { each(ctx, lookEvery, i.look) })
	work.Wait()
	return nil
}

// each does something now and then at an interval.
func each(ctx context.Context, every time.Duration, do func(context.Context)) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		do(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Gauges are those of a cgroup, with what is kept of each; nil is none.
func (i *Inspector) Gauges(cgroup string) []oom.Gauge { return i.gauges.of(cgroup) }

// Heaps are the heap profiles of a cgroup, the oldest first.
func (i *Inspector) Heaps(cgroup string) []oom.Heap { return i.heaps.of(cgroup) }

// OpenHeap opens a heap profile by its ID. It is fs.ErrNotExist where there is none.
func (i *Inspector) OpenHeap(id string) (io.ReadCloser, error) { return i.heaps.open(id) }

// Status counts what was asked.
func (i *Inspector) Status() oom.InspectStatus {
	s := i.counts.status()
	s.HeapBytes = i.heaps.size()
	i.mu.Lock()
	defer i.mu.Unlock()
	s.Targets = len(i.watched)
	return s
}

// round reads the gauges of all targets once.
func (i *Inspector) round(ctx context.Context) {
	i.find()
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(atOnce)
	for _, w := range i.targets() {
		if w.Metrics != "" && w.metrics.ready() {
			work.Go(func() error {
				i.read(ctx, w)
				return nil
			})
		}
	}
	_ = work.Wait() // none has one
}

// read reads the gauges of one.
func (i *Inspector) read(ctx context.Context, w *watch) {
	now := time.Now()
	values, err := i.fetch.gauges(ctx, w.Metrics)
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		if full := i.gauges.add(w.Cgroup, now, values); full != nil {
			i.full.Do(func() { i.o.Log.Warn("some gauges are not kept", "cgroup", w.Cgroup, "why", full) })
		}
	}
	i.counts.metrics(err)
	w.metrics.tell(i.o.Log, "metrics", w, err)
}

// targets are those that are watched now.
func (i *Inspector) targets() []*watch {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := make([]*watch, 0, len(i.watched))
	for _, w := range i.watched {
		all = append(all, w)
	}
	return all
}

// find finds out which targets are there.
func (i *Inspector) find() {
	there := map[string]*watch{}
	for _, t := range i.o.File {
		if _, ok := i.o.Newest(t.Cgroup); ok {
			there[t.Cgroup] = &watch{Target: t}
		}
	}
	if i.podsWish() {
		i.o.Containers(func(c oom.Container, cgroup string) {
			i.mu.Lock()
			defer i.mu.Unlock()
			if t, ok := i.pods.target(&c, cgroup); ok && there[cgroup] == nil {
				there[cgroup] = &watch{Target: t, container: c}
			}
		})
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for cgroup, w := range there {
		if old := i.watched[cgroup]; old != nil && old.Target == w.Target {
			old.missed = 0
			continue
		}
		i.watched[cgroup] = w
		i.o.Log.Info("asking an application about itself", "cgroup", cgroup, "container", nameOf(w), "metrics", w.Metrics, "pprof", w.Pprof)
	}
	for cgroup, w := range i.watched {
		if there[cgroup] != nil {
			continue
		}
		if w.missed++; w.missed > goneAfter {
			delete(i.watched, cgroup)
			i.gauges.gone(cgroup)
		}
	}
}

// nameOf names the container of a target for the log.
func nameOf(w *watch) string {
	c := &w.container
	if c.Pod == "" {
		return ""
	}
	return c.Namespace + "/" + c.Pod + "/" + c.Name
}
