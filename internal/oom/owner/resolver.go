package owner

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"stella/internal/kube"
	"stella/internal/oom"
	"stella/internal/oom/tree"
)

const (
	// maxKnown bounds the cgroups that are remembered, in bytes: those of a node with 500 containers, their pods,
	// and two thousand that ended lately.
	maxKnown = 4 << 20
	// knownSize is what one takes beside its path: the structs, and the names that files tell.
	knownSize = 1 << 10
)

// Options are what a [Resolver] takes from its surroundings.
type Options struct {
	// Root is where the machine's file system is seen.
	Root string
	// Cgroups says whether a kill takes a whole container; nil leaves that open.
	Cgroups *tree.Hierarchy
	// Node is the node's name.
	Node string
	// Kube asks for the workloads of pods; nil asks nobody.
	Kube *kube.Client
	// Changed is called by [Resolver.Run] and [Resolver.Pod] when more is known of a cgroup than was told before. It may call the resolver, but for Pod.
	Changed func(cgroup string, c oom.Container)
}

// Resolver finds whose cgroups they are, and remembers it. It may be used by several goroutines.
type Resolver struct {
	o Options

	mu    sync.Mutex
	known map[string]*known
	size  int    // of known, in bytes
	clock uint64 // counts uses, for the oldest to go first
	pods  pods
	// pending are cgroups whose files are to be read, homeless UIDs of pods whose workload is to be asked for.
	pending, homeless         []string
	wakePending, wakeHomeless chan struct{} // each has room for one
	// news are cgroups of which more is known than was told. They are told without the lock, by one at a
	// time: what comes last is what is known last.
	news    []string
	telling sync.Mutex
}

// known is what is known of one cgroup.
type known struct {
	place Place
	// file is what the machine's files tell; told is that with what the API tells, as somebody has heard it.
	file, told oom.Container
	used       uint64
}

// New makes a resolver.
func New(o Options) *Resolver {
	return &Resolver{
		o: o, known: map[string]*known{}, pods: pods{byUID: map[string]*pod{}},
		wakePending: make(chan struct{}, 1), wakeHomeless: make(chan struct{}, 1),
	}
}

// Container says what is known of a cgroup's owner. It never waits: at the first call that is what the path tells, and what
// the API has told already. What is found later is told by [Options.Changed], and by the next call. So call it when a cgroup
// appears: when it is gone, the runtime's files are gone too.
func (r *Resolver) Container(cgroup string) oom.Container {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock++
	k := r.known[cgroup]
	if k == nil {
		cgroup = strings.Clone(cgroup) // callers have it in buffers
		r.makeRoom(len(cgroup))
		k = &known{place: Parse(cgroup)}
		k.file = k.place.Owner()
		k.told = r.join(k)
		r.known[cgroup] = k
		if k.place.Container != "" || k.place.PodUID != "" {
			r.pending = append(r.pending, cgroup)
			poke(r.wakePending)
		}
	}
	k.used = r.clock
	return k.told
}

// makeRoom forgets cgroups that were asked for the longest ago, until one more has room.
func (r *Resolver) makeRoom(path int) {
	r.size += path + knownSize
	for r.size > maxKnown && len(r.known) > 0 {
		var oldest string
		least := r.clock
		for cgroup, k := range r.known {
			if k.used < least {
				oldest, least = cgroup, k.used
			}
		}
		if i := slices.Index(r.pending, oldest); i >= 0 {
			r.pending = slices.Delete(r.pending, i, i+1)
		}
		delete(r.known, oldest)
		r.size -= len(oldest) + knownSize
	}
}

func poke(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// Run looks up what is not known yet, until ctx ends. Files and the API are asked apart: files can be gone soon, and the API can take long.
func (r *Resolver) Run(ctx context.Context) error {
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return loop(ctx, r.wakePending, r.readFiles) })
	work.Go(func() error { return loop(ctx, r.wakeHomeless, r.findWorkload) })
	return work.Wait()
}

// loop takes step after step until there is nothing more to do, each time that it is woken.
func loop(ctx context.Context, wake chan struct{}, step func(context.Context) bool) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		}
		for ctx.Err() == nil && step(ctx) {
		}
	}
}

// readFiles looks up one cgroup, and reports whether there was one.
func (r *Resolver) readFiles(ctx context.Context) bool {
	r.mu.Lock()
	if len(r.pending) == 0 {
		r.pending = nil
		r.mu.Unlock()
		return false
	}
	cgroup := r.pending[0]
	r.pending = r.pending[1:]
	k := r.known[cgroup]
	r.mu.Unlock()
	if k == nil {
		return true // forgotten meanwhile
	}
	found := facts(ctx, r.o.Root, k.place)
	if found.GroupKill == nil {
		found.GroupKill = r.groupKill(k.place)
	}
	r.mu.Lock()
	k.file = found
	r.noteNews(cgroup, k)
	r.shareNames(found)
	r.mu.Unlock()
	r.tell()
	return true
}

// shareNames gives the pod's own cgroup, which was made before there was any file about it, what a container's told.
func (r *Resolver) shareNames(found oom.Container) {
	if found.Pod == "" || found.PodUID == "" {
		return
	}
	for cgroup, k := range r.known {
		if k.file.PodUID == found.PodUID && k.file.Pod == "" {
			k.file.Namespace, k.file.Pod = found.Namespace, found.Pod
			r.noteNews(cgroup, k)
		}
	}
}

// changed looks for news of all cgroups of a pod.
func (r *Resolver) changed(uid string) {
	for cgroup, k := range r.known {
		if k.file.PodUID == uid {
			r.noteNews(cgroup, k)
		}
	}
}

// noteNews notes that there is more to tell of a cgroup, if there is.
func (r *Resolver) noteNews(cgroup string, k *known) {
	if now := r.join(k); !same(now, k.told) {
		k.told = now
		r.news = append(r.news, cgroup)
	}
}

// tell tells the news.
func (r *Resolver) tell() {
	r.telling.Lock()
	defer r.telling.Unlock()
	for {
		r.mu.Lock()
		if len(r.news) == 0 {
			r.news = nil
			r.mu.Unlock()
			return
		}
		cgroup := r.news[0]
		r.news = r.news[1:]
		k := r.known[cgroup]
		var now oom.Container
		if k != nil {
			now = k.told
		}
		r.mu.Unlock()
		if k != nil && r.o.Changed != nil {
			r.o.Changed(cgroup, now)
		}
	}
}

func same(a, b oom.Container) bool {
	if (a.GroupKill == nil) != (b.GroupKill == nil) || a.GroupKill != nil && *a.GroupKill != *b.GroupKill {
		return false
	}
	a.GroupKill, b.GroupKill = nil, nil
	return a == b
}

// groupFile is the file of a cgroup (v2) with 1 where a kill takes all of its processes.
const groupFile = "memory.oom.group"

// groupKill says whether a kill takes the whole container, as its cgroup has it now: a runtime makes the cgroup first, and
// writes its files then. cgroup v1 has no such thing.
func (r *Resolver) groupKill(p Place) *bool {
	if r.o.Cgroups == nil || p.ContainerPath == "" {
		return nil
	}
	whole := false
	if r.o.Cgroups.Version != 1 {
		dir := r.o.Cgroups.Dir(p.ContainerPath)
		text, err := os.ReadFile(filepath.Join(dir, groupFile))
		if dir == "" || err != nil {
			return nil
		}
		whole = strings.TrimSpace(string(text)) == "1"
	}
	return &whole
}
