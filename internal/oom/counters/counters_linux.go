package counters

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/oom"
	"stella/internal/oom/tree"
)

const (
	// tickEvery is how often the node's counter is read: what is lost with a removed cgroup is
	// told within two ticks of its kill.
	tickEvery = 500 * time.Millisecond
	// maxWaiting bounds what waits to be told, at some 250 bytes each. Beyond it only kills are added.
	maxWaiting = 16384
)

// Options say what to count. Hierarchy is needed.
type Options struct {
	Hierarchy tree.Hierarchy
	// Proc is where the proc file system of the machine is mounted; "" is /proc.
	Proc string
	// Baseline returns the Total that was told last of a cgroup, in this boot, by an earlier
	// process. All that the counter has beyond it is new. Where it says false, the
	// value at first sight is taken for old if the cgroup existed before this process began to
	// watch. Whoever knows that an earlier process watched all cgroups in this boot should therefore
	// answer 0 and true for those that it was never told of. Nil is false for all.
	Baseline func(path string, id uint64) (total int64, ok bool)
	// Node is the same for the node's counter.
	Node func() (total int64, ok bool)
	// Descriptors bounds the descriptors that are kept open; 0 is [DefaultDescriptors].
	Descriptors int
	// Log is for what is missing or odd. Nil says nothing.
	Log *slog.Logger
}

// DefaultDescriptors bounds the descriptors that are kept open: one for each cgroup on v1 and a
// handful on v2. It is never more than a quarter of what this process may have (RLIMIT_NOFILE).
const DefaultDescriptors = 4096

// Counters watches the counters of cgroups.
type Counters struct {
	o     Options
	log   *slog.Logger
	table table
	wait  *waiter
	node  nodeCounter

	mu      sync.Mutex
	read    reader
	order   []*group // those above before those below
	byPath  map[string]*group
	waiting []oom.Rise
	told    int64         // kills of cgroups, ever
	more    chan struct{} // has room for one: there is something in waiting
	alarms  alarms
	hot     []hot
	round   round
	said    map[string]bool
	// details is of how many more processes of this batch of alarms the memory is read.
	details  int
	readProc reader
	// nested says that the counters of a cgroup have those of the cgroups below in them.
	nested bool
	// noOwn says that the kernel has no memory.events.local.
	noOwn  bool
	closed bool
	// complete says that all cgroups that there are have been added.
	complete bool
	// failed is why Run ended, other than by its context.
	failed error
}

// group is a cgroup that is watched.
type group struct {
	tree.Cgroup
	account
	above *group
	below []*group
	// known says that the counters could be read: v2 cgroups without the memory
	// controller have none, and their processes count in the nearest one above.
	known bool
	// base is the total that was told last, if any was, until the first look.
	base  int64
	told  bool
	dead  bool // removed, and still in order
	alarm alarm
	// limitHits is the counter oom of memory.events.local (v2), firedAt when the limit was seen to
	// be hit last, and fired how many of those have no kill yet.
	limitHits, fired int64
	firedAt          time.Time
	looked, killedAt time.Time // when it was looked at, and when that found a kill
	file             uint64    // see counts
	// notedAt is when its processes were noted last, and populated whether there were any.
	notedAt   time.Time
	populated bool
}

// New opens what is needed. What it returns must be run, and Run closes it.
func New(o Options) (*Counters, error) {
	if o.Proc == "" {
		o.Proc = "/proc"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Baseline == nil {
		o.Baseline = func(string, uint64) (int64, bool) { return 0, false }
	}
	if o.Node == nil {
		o.Node = func() (int64, bool) { return 0, false }
	}
	if o.Descriptors == 0 {
		o.Descriptors = DefaultDescriptors
	}
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) == nil {
		o.Descriptors = int(min(uint64(o.Descriptors), r.Cur/4))
	}
	c := &Counters{o: o, log: o.Log, byPath: map[string]*group{}, said: map[string]bool{}, more: make(chan struct{}, 1)}
	vmstat, err := os.Open(filepath.Join(o.Proc, "vmstat"))
	if err != nil {
		return nil, fmt.Errorf("count OOM kills: %w; mount the machine's /proc", err)
	}
	c.node.file, c.node.fd = vmstat, int(vmstat.Fd())
	c.round.owed = roundsAfterRise // for what happened before
	c.nested = o.Hierarchy.Version == 2 && !o.Hierarchy.LocalEvents
	if c.wait, err = newWaiter(); err != nil {
		return nil, errors.Join(fmt.Errorf("count OOM kills: %w", err), vmstat.Close())
	}
	if o.Hierarchy.Version == 2 {
		if err := c.alarms.openV2(c.wait); err != nil {
			c.log.Warn("kills are counted up to a second late", "why", err)
		}
	}
	return c, nil
}

// errEnded is the error of a second Run.
var errEnded = errors.New("this was run before; make another one, with the totals that this one told as its baseline")

// Run watches until ctx ends, which is no error, and closes what is open. It calls emit from one
// goroutine, with what happened first first. It may be called once. Its error is final, and says that this process
// cannot wait for the kernel's events at all: what cannot be read of a cgroup or of /proc is logged, and tried again.
func (c *Counters) Run(ctx context.Context, emit func(oom.Rise)) (err error) {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return fmt.Errorf("count OOM kills: %w", errEnded)
	}
	defer func() { c.close(err) }()
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with it
		ended <- c.watch(ctx)
	}()
	stop := context.AfterFunc(ctx, c.wait.wake)
	defer stop()
	for {
		select {
		case <-c.more:
			c.emitAll(emit)
		case err := <-ended:
			c.emitAll(emit)
			if err != nil {
				return fmt.Errorf("count OOM kills: %w", err)
			}
			return nil
		}
	}
}

// emitAll tells what waits to be told.
func (c *Counters) emitAll(emit func(oom.Rise)) {
	c.mu.Lock()
	told := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for _, r := range told {
		emit(r)
	}
}

// watch answers alarms and reads the node's counter until ctx ends, on a thread of its own.
func (c *Counters) watch(ctx context.Context) error {
	if err := urgent(); err != nil {
		c.log.Info("in a storm of kills some processes will not be noted before they are gone; give the capability SYS_NICE", "why", err)
	}
	base, told := c.o.Node()
	c.mu.Lock()
	c.node.total, c.node.told = base, told
	c.mu.Unlock()
	due := time.Now()
	for ctx.Err() == nil {
		c.mu.Lock()
		now := time.Now()
		c.answer(now)
		next := due
		if !now.Before(due) {
			c.tick(now)
			due = now.Add(tickEvery)
			next = due
		}
		if c.goRound(now) {
			next = now // alarms come between two parts of it
		}
		next = c.lookClosely(now, next)
		c.mu.Unlock()
		if err := c.wait.until(next); err != nil {
			return err
		}
	}
	return nil
}

// Add begins to watch a cgroup. Those above it must have been added before, as
// [tree.Hierarchy.Watch] does. It may be called before and while Run runs. After those that there are comes [Counters.Complete].
func (c *Counters) Add(cg tree.Cgroup) {
	// Whoever answers may wait for a lock that is held during Lookup.
	base, told := c.o.Baseline(cg.Path, cg.ID)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if old := c.byPath[cg.Path]; old != nil {
		if old.ID == cg.ID {
			return
		}
		c.remove(old)
	}
	g := &group{Cgroup: cg, above: c.parent(cg.Path), base: base, told: told}
	if g.above != nil {
		g.above.below = append(g.above.below, g)
	}
	c.byPath[cg.Path] = g
	c.order = append(c.order, g)
	c.arm(g) // before its first look, so that nothing falls between
	c.lookAt(g, time.Now())
}

// Complete says that all cgroups that there are have been added, as [tree.Event] does. Until then what a cgroup
// counted beyond the known ones below it can be of one that is about to be added, and nothing is told of it.
func (c *Counters) Complete() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complete = true
	c.round.owed = max(c.round.owed, roundsAfterRise)
}

// Remove ends the watch of a cgroup that was removed.
func (c *Counters) Remove(cg tree.Cgroup) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.byPath[cg.Path]; g != nil && g.ID == cg.ID && !c.closed {
		c.remove(g)
	}
}

// parent is the nearest cgroup above a path that is watched; nil for none.
func (c *Counters) parent(path string) *group {
	for path != "/" && path != "." && path != "" {
		path = filepath.Dir(path)
		if g := c.byPath[path]; g != nil {
			return g
		}
	}
	return nil
}

// say logs something the first time that it happens.
func (c *Counters) say(what string, args ...any) {
	if !c.said[what] {
		c.said[what] = true
		c.log.Warn(what, args...)
	}
}

// Report says how this witness does.
func (c *Counters) Report() oom.WitnessReport {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.o.Hierarchy
	if c.failed != nil {
		return oom.WitnessReport{Name: oom.WitnessCounter, State: "failed", Detail: c.failed.Error() + "; start this process again: it goes on from the counts that it told"}
	}
	detail := fmt.Sprintf("cgroup v%d at %s: %d cgroups, %d with an alarm", h.Version, h.Mount, len(c.byPath), c.alarms.armed)
	if n := len(c.byPath) - c.alarms.armed; n > 0 {
		detail += "; the others are polled, up to a second late"
	}
	return oom.WitnessReport{Name: oom.WitnessCounter, State: "ok", Detail: detail}
}

// close closes all that is open, for that reason.
func (c *Counters) close(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed, c.failed = true, why
	for _, g := range c.order {
		c.disarm(g)
	}
	for i := range c.hot {
		c.hot[i].close()
	}
	c.hot = nil
	c.alarms.close()
	c.node.file.Close()
	c.wait.close()
}
