package counters

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"stella/internal/oom"
	"stella/internal/oom/tree"
)

// kernel is a model of what the kernel counts on v2, in files, with cgroups coming and going.
type kernel struct {
	t        *testing.T
	random   *rand.Rand
	h        tree.Hierarchy
	proc     string
	all, own map[string]int64 // by path
	ids      map[string]uint64
	killed   int64
	rest     string       // where the last kill is still to be counted, and in all above; "/" for nowhere
	removed  string       // a directory: there the removed ones keep their inodes
	events   []tree.Event // that were not delivered yet
}

func newKernel(t *testing.T, seed uint64) *kernel {
	k := &kernel{t: t, random: rand.New(rand.NewPCG(seed, 1)), proc: t.TempDir(), all: map[string]int64{}, own: map[string]int64{}, ids: map[string]uint64{}, rest: "/", removed: t.TempDir()}
	k.h = tree.Hierarchy{Version: 2, Mount: t.TempDir(), Root: "/"}
	k.put(k.proc+"/vmstat", "nr_free_pages 1\noom_kill 0\n")
	k.make("/top")
	return k
}

func (k *kernel) put(name, text string) {
	// In place, since /proc/vmstat is held open, and without emptying it, for which some file systems wait for the disk.
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

func (k *kernel) cgroup(path string) tree.Cgroup {
	return tree.Cgroup{Path: path, Dir: k.h.Mount + path, ID: k.ids[path], Version: 2}
}

func (k *kernel) make(path string) {
	if err := os.Mkdir(k.h.Mount+path, 0o755); err != nil {
		k.t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Lstat(k.h.Mount+path, &st); err != nil {
		k.t.Fatal(err)
	}
	k.all[path], k.own[path], k.ids[path] = 0, 0, st.Ino
	k.write(path)
	k.events = append(k.events, tree.Event{Added: true, Cgroup: k.cgroup(path)})
}

func (k *kernel) write(path string) {
	k.put(k.h.Mount+path+"/memory.events", fmt.Sprintf("low 0\noom 0\noom_kill %06d\noom_group_kill 0\n", k.all[path]))
	k.put(k.h.Mount+path+"/memory.events.local", fmt.Sprintf("low 0\noom %06d\noom_kill %06d\n", k.own[path], k.own[path]))
}

// kill counts a kill: for the node, in the cgroup and in those above it. At times it is not done with those above
// before somebody looks.
func (k *kernel) kill(path string) {
	k.killed++
	k.put(k.proc+"/vmstat", fmt.Sprintf("nr_free_pages 1\noom_kill %d\n", k.killed))
	k.own[path]++
	k.write(path)
	k.rest = path
	for k.rest != "/" && k.random.IntN(4) > 0 {
		k.up()
	}
}

// up counts the last kill one cgroup further up.
func (k *kernel) up() {
	k.all[k.rest]++
	k.write(k.rest)
	k.rest = filepath.Dir(k.rest)
}

// finish counts the last kill to the end.
func (k *kernel) finish() {
	for k.rest != "/" {
		k.up()
	}
}

// remove removes a cgroup with what is below it.
func (k *kernel) remove(path string) {
	for _, below := range slices.Sorted(maps.Keys(k.all)) {
		if filepath.Dir(below) == path {
			k.remove(below)
		}
	}
	cg := k.cgroup(path)
	if err := os.Rename(k.h.Mount+path, fmt.Sprint(k.removed, "/", cg.ID)); err != nil {
		k.t.Fatal(err)
	}
	delete(k.all, path)
	delete(k.own, path)
	delete(k.ids, path)
	k.events = append(k.events, tree.Event{Cgroup: cg})
}

// any returns a cgroup. Those right below the root stay, because nothing above them has counters.
func (k *kernel) any(but string) string {
	var paths []string
	for path := range k.all {
		if path != but {
			paths = append(paths, path)
		}
	}
	if len(paths) == 0 {
		return ""
	}
	slices.Sort(paths) // the same each time
	return paths[k.random.IntN(len(paths))]
}

func (k *kernel) has(path string) bool {
	_, ok := k.all[path]
	return ok
}

// step does one thing.
func (k *kernel) step() {
	k.finish()
	switch k.random.IntN(4) {
	case 0:
		if parent := k.any(""); len(k.all) < 12 && strings.Count(parent, "/") < 4 {
			if path := fmt.Sprintf("%s/c%d", parent, k.random.IntN(7)); !k.has(path) { // names come again
				k.make(path)
			}
		}
	case 1:
		if path := k.any("/top"); path != "" {
			k.remove(path)
		}
	default:
		k.kill(k.any(""))
	}
}

// observer is a Counters whose Run is driven by hand.
type observer struct {
	*Counters
	told   int64
	totals map[string]int64
	known  map[string]tree.Cgroup
	node   int64
	now    time.Time
}

func (k *kernel) observe(before *observer) *observer {
	o := &observer{totals: map[string]int64{}, known: map[string]tree.Cgroup{}, now: time.Now()}
	options := Options{Hierarchy: k.h, Proc: k.proc, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if before != nil {
		o.told, o.now = before.told, before.now
		options.Baseline = func(path string, id uint64) (int64, bool) { return before.totals[fmt.Sprint(path, id)], true }
	}
	var err error
	if o.Counters, err = New(options); err != nil {
		k.t.Fatal(err)
	}
	return o
}

// deliver hands an event on as a watch does, which looks at what is there now before it tells, and tells of
// what is below a new cgroup too.
func (o *observer) deliver(k *kernel, e tree.Event) {
	if e.Complete {
		o.Complete()
		return
	}
	now := k.ids[e.Path]
	if old, known := o.known[e.Path]; known && old.ID != now {
		for _, path := range slices.Backward(slices.Sorted(maps.Keys(o.known))) { // those below first
			if path == e.Path || strings.HasPrefix(path, e.Path+"/") {
				o.Remove(o.known[path])
				delete(o.known, path)
			}
		}
	}
	parent := filepath.Dir(e.Path)
	if now != 0 && o.known[parent].ID == k.ids[parent] {
		for _, path := range slices.Sorted(maps.Keys(k.all)) {
			if _, known := o.known[path]; !known && (path == e.Path || strings.HasPrefix(path, e.Path+"/")) {
				cg := k.cgroup(path)
				cg.Existed = e.Existed
				o.known[path] = cg
				o.Add(cg)
			}
		}
	}
	o.collect()
}

func (o *observer) tickOnce() {
	o.now = o.now.Add(tickEvery)
	o.tick(o.now)
	for o.goRound(o.now) {
	}
	o.collect()
}

// alarm is what an alarm of a cgroup makes.
func (o *observer) alarm(path string) {
	o.lookUp(o.byPath[path], o.now)
	o.collect()
}

func (o *observer) collect() {
	o.emitAll(func(r oom.Rise) {
		if r.Cgroup == "" {
			o.node += r.Kills
			return
		}
		o.told += r.Kills
		o.totals[fmt.Sprint(r.Cgroup, r.CgroupID)] = r.Total
	})
}

// A kill in a cgroup that was made known after the rounds that looked for it must not stand for the next one,
// of which no alarm tells: that would be found with the kill after it only, or never.
func TestKillFoundLateHidesNoOther(t *testing.T) {
	k := newKernel(t, 1)
	kill := func(path string) {
		k.kill(path)
		k.finish()
	}
	kill("/top")
	o := k.observe(nil)
	o.Complete()
	for range 3 {
		o.tickOnce()
	}
	o.deliver(k, k.events[0])
	k.make("/top/c0")
	o.deliver(k, k.events[1])
	kill("/top/c0")
	k.remove("/top/c0")
	o.deliver(k, k.events[2])
	for range 3 {
		o.tickOnce()
	}
	if o.told != 2 {
		t.Errorf("told %d kills of 2", o.told)
	}
	o.close(nil)
}

// After a start, kills below are nobody's only when all cgroups are known, however long that takes.
func TestStartTakesLong(t *testing.T) {
	k := newKernel(t, 1)
	k.make("/top/c0")
	before := k.observe(nil)
	for _, e := range k.events {
		before.deliver(k, e)
	}
	before.Complete()
	before.close(nil)
	k.kill("/top/c0")
	k.finish()
	o := k.observe(before)
	o.Add(k.cgroup("/top"))
	for range 3 {
		o.tickOnce()
	}
	if o.told != 0 {
		t.Errorf("told %d kills before the cgroup was known that had them", o.told)
	}
	o.Add(k.cgroup("/top/c0"))
	o.Complete()
	for range 3 {
		o.tickOnce()
	}
	if o.told != 1 || o.totals[fmt.Sprint("/top/c0", k.ids["/top/c0"])] != 1 {
		t.Errorf("told %d kills of 1: %v", o.told, o.totals)
	}
	o.close(nil)
}

// Whatever comes and goes, however late it is made known, and whenever this process is
// started anew: in the end each kill was told once, and never one too many.
func TestEachKillIsToldOnce(t *testing.T) {
	most := uint64(150)
	if testing.Short() {
		most = 30
	}
	seeds := []uint64{842, 4821} // in which kills that were found late once stood for newer ones
	for seed := range most {
		seeds = append(seeds, seed)
	}
	for _, seed := range seeds {
		k := newKernel(t, seed)
		o := k.observe(nil)
		k.events = append(k.events, tree.Event{Complete: true})
		for range 120 {
			switch n := k.random.IntN(10); {
			case n < 5:
				k.step()
			case n < 7 && len(k.events) > 0:
				o.deliver(k, k.events[0])
				k.events = k.events[1:]
			case n == 7:
				o.alarm(k.any(""))
				k.finish()
			case n == 8:
				o.tickOnce()
				k.finish() // it takes less than a tick
			case n == 9 && k.random.IntN(10) == 0:
				k.finish()
				for _, e := range k.events { // as if it had run until now
					o.deliver(k, e)
				}
				k.events = nil
				for range 3 {
					o.tickOnce()
				}
				k.step() // and this nobody sees
				k.step()
				k.finish()
				k.events = nil
				o.close(nil)
				o = k.observe(o)
				for depth := range 6 {
					for _, path := range slices.Sorted(maps.Keys(k.all)) {
						if strings.Count(path, "/") == depth {
							cg := k.cgroup(path)
							cg.Existed = true
							k.events = append(k.events, tree.Event{Added: true, Cgroup: cg})
						}
					}
				}
				k.events = append(k.events, tree.Event{Complete: true})
			}
			if o.told > k.killed {
				t.Fatalf("seed %d: told %d kills of %d", seed, o.told, k.killed)
			}
		}
		k.finish()
		for _, e := range k.events {
			o.deliver(k, e)
		}
		for range 3 {
			o.tickOnce()
		}
		if o.told != k.killed {
			t.Errorf("seed %d: told %d kills, and there were %d", seed, o.told, k.killed)
		}
		o.close(nil)
	}
}
