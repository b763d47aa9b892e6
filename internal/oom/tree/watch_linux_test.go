package tree_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"stella/internal/oom/tree"
	"stella/internal/oom/tree/treetest"
	"stella/internal/testkit"
)

const many = 100_000 // more than any test makes

func TestWatchTellsWhatIsThereAndWhatComes(t *testing.T) {
	own := treetest.Own(t)
	h := own.Hierarchy
	mkdir(t, h.Mount+"/old/below")
	r, _ := watch(t, h, many, many)
	r.until(t, "old/below", func(a map[string]tree.Cgroup) bool { return a[h.Root+"/old/below"].ID != 0 })
	mkdir(t, h.Mount+"/new/a/b/c")
	after := time.Now()
	r.until(t, "new/a/b/c", func(a map[string]tree.Cgroup) bool { return a[h.Root+"/new/a/b/c"].ID != 0 })
	alive, _ := r.snapshot()
	for path, existed := range map[string]bool{"": true, "/old": true, "/old/below": true, "/new": false, "/new/a/b/c": false} {
		c := alive[h.Root+path]
		var st syscall.Stat_t
		if err := syscall.Stat(h.Mount+path, &st); err != nil {
			t.Fatal(err)
		}
		want := tree.Cgroup{Path: h.Root + path, Dir: h.Mount + path, ID: st.Ino, Version: h.Version, Existed: existed}
		if !c.Born.IsZero() && (existed || c.Born.After(after)) {
			t.Errorf("%s was born at %v, and was there at %v", path, c.Born, after)
		}
		c.Born = time.Time{}
		if c != want {
			t.Errorf("told %+v, want %+v", c, want)
		}
	}
	own.RemoveAll("/new")
	r.until(t, "new is removed", func(a map[string]tree.Cgroup) bool { return len(a) == 3 })
	var order []string
	for _, e := range r.events {
		if strings.Contains(e.Path, "/new") {
			order = append(order, fmt.Sprint(e.Added, strings.TrimPrefix(e.Path, h.Root)))
		}
	}
	want := []string{"true /new", "true /new/a", "true /new/a/b", "true /new/a/b/c",
		"false /new/a/b/c", "false /new/a/b", "false /new/a", "false /new"}
	for i := range want {
		want[i] = strings.Replace(want[i], " ", "", 1)
	}
	if !slices.Equal(order, want) {
		t.Errorf("order %q, want %q", order, want)
	}
}

// Of a new cgroup it is told since when it can have been there: never later than it was, whatever the net below inotify finds, and not before the
// events of those before it were read.
func TestBorn(t *testing.T) {
	own := treetest.Own(t)
	h := own.Hierarchy
	r, _ := watch(t, h, many, many)
	before := time.Now()
	for i := range 50 {
		path := fmt.Sprintf("/pod%d", i)
		mkdir(t, h.Mount+path+"/container")
		after := time.Now()
		r.until(t, path, func(a map[string]tree.Cgroup) bool { return a[h.Root+path+"/container"].ID != 0 })
		alive, _ := r.snapshot()
		pod, container := alive[h.Root+path], alive[h.Root+path+"/container"]
		if container.Born.Before(pod.Born) || container.Born.After(after) {
			t.Errorf("%s was born at %v, what is in it at %v, and both were there at %v", path, pod.Born, container.Born, after)
		}
		if i > 10 && pod.Born.Before(before) {
			t.Errorf("%s was born at %v, and other events were read since %v", path, pod.Born, before)
		}
	}
}

// Without inotify nobody knows.
func TestBornIsUnknown(t *testing.T) {
	h := treetest.Own(t).Hierarchy
	r, _ := watch(t, h, many, 0)
	mkdir(t, h.Mount+"/new/below")
	r.until(t, "new/below", func(a map[string]tree.Cgroup) bool { return a[h.Root+"/new/below"].ID != 0 })
	alive, _ := r.snapshot()
	for path, c := range alive {
		if !c.Born.IsZero() {
			t.Errorf("%s was born at %v", path, c.Born)
		}
	}
}

// A name is any bytes but / and NUL; v1 and v2 refuse a newline alone (kernel/cgroup/cgroup.c, cgroup_mkdir).
func TestHostileNames(t *testing.T) {
	h := treetest.Own(t).Hierarchy
	r, _ := watch(t, h, many, many)
	names := []string{"with space", "tab\there", `back\slash \040`, "é-日本語-🙂", "\xff\xfe not UTF-8", "x (deleted)", "a,b=c:d", "-rf", "*?[", "..x", "quote'\"",
		strings.Repeat("n", 255)}
	if err := os.Mkdir(h.Mount+"/new\nline", 0o755); err == nil {
		names = append(names, "new\nline")
	}
	for _, n := range names {
		mkdir(t, h.Mount+"/"+n)
	}
	r.until(t, "all names", func(a map[string]tree.Cgroup) bool { return len(a) == len(names)+1 })
	alive, _ := r.snapshot()
	for _, n := range names {
		if alive[h.Root+"/"+n].ID == 0 {
			t.Errorf("%q was not told", n)
		}
		if got := h.Dir(h.Root + "/" + n); got != h.Mount+"/"+n {
			t.Errorf("Dir is %q, want %q", got, h.Mount+"/"+n)
		}
	}
}

// Cgroups come and go, at times with the same name, faster than they can be looked at. What
// is left must be known in the end, and nothing else.
func TestNoneIsMissed(t *testing.T) {
	own := treetest.Own(t)
	h := own.Hierarchy
	r, _ := watch(t, h, many, many)
	for i := range 300 {
		pod := fmt.Sprintf("/pod%d", i%10)
		mkdir(t, h.Mount+pod+"/container/inner", fmt.Sprintf("%s%s/%d", h.Mount, pod, i))
		if i%3 != 0 {
			own.RemoveAll(pod + "/container")
		}
		if i%7 == 0 && i < 150 {
			own.RemoveAll(pod)
		}
	}
	want := real(t, h)
	r.until(t, "the state that is there", func(a map[string]tree.Cgroup) bool { return sameState(t, h, a, want) })
	if len(want) < 100 {
		t.Errorf("only %d cgroups are left, so this tests little", len(want))
	}
}

// sameState reports whether what was told is what is there, by path and by ID.
func sameState(t *testing.T, h tree.Hierarchy, told map[string]tree.Cgroup, want map[string]bool) bool {
	t.Helper()
	if len(told) != len(want) {
		return false
	}
	for path := range want {
		c, err := h.Lookup(path)
		if err != nil {
			t.Fatal(err)
		}
		if told[path].ID != c.ID {
			return false
		}
	}
	return true
}

// While the watch is held up, more events come than the kernel queues.
func TestLostEventsAreMadeUpFor(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Fatal(err)
	}
	var queue int
	if _, err := fmt.Sscan(string(text), &queue); err != nil {
		t.Fatal(err)
	}
	own := treetest.Own(t)
	h := own.Hierarchy
	mkdir(t, h.Mount+"/removed/below", h.Mount+"/stays")
	r, said := watch(t, h, many, many)
	r.until(t, "the start", func(a map[string]tree.Cgroup) bool { return len(a) == 4 })
	r.held.Lock()
	mkdir(t, h.Mount+"/hold")
	const read = 64 << 10 / 32 // events that the watch may have read already: its buffer, by the size of one
	for range (queue+read)/2 + 100 {
		if err := os.Mkdir(h.Mount+"/churn", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(h.Mount + "/churn"); err != nil {
			t.Fatal(err)
		}
	}
	mkdir(t, h.Mount+"/late/below", h.Mount+"/stays/below") // events of these are lost
	own.RemoveAll("/removed")
	r.held.Unlock()
	want := real(t, h)
	r.until(t, "the state that is there", func(a map[string]tree.Cgroup) bool { return sameState(t, h, a, want) })
	alive, _ := r.snapshot()
	if alive[h.Root+"/late"].Existed {
		t.Error("what was made after the start is told as if it had existed")
	}
	said.until(t, "dropped inotify events")
}

// A cgroup is removed and another one of its name made before anybody looks.
func TestSameNameAgain(t *testing.T) {
	own := treetest.Own(t)
	h := own.Hierarchy
	mkdir(t, h.Mount+"/a/below")
	r, _ := watch(t, h, many, many)
	r.until(t, "the start", func(a map[string]tree.Cgroup) bool { return len(a) == 3 })
	r.held.Lock()
	mkdir(t, h.Mount+"/hold")
	own.RemoveAll("/a")
	mkdir(t, h.Mount+"/a/below")
	r.held.Unlock()
	want := real(t, h)
	r.until(t, "the state that is there", func(a map[string]tree.Cgroup) bool { return sameState(t, h, a, want) })
}

// Without inotify, or with too few watches, cgroups are found by polling, and that is said.
func TestPollsWithoutWatches(t *testing.T) {
	for _, watches := range []int{0, 2} {
		t.Run(fmt.Sprint(watches), func(t *testing.T) {
			own := treetest.Own(t)
			h := own.Hierarchy
			mkdir(t, h.Mount+"/a/b", h.Mount+"/c/d")
			r, said := watch(t, h, many, watches)
			mkdir(t, h.Mount+"/a/b/new/below", h.Mount+"/c/d/new", h.Mount+"/e")
			own.RemoveAll("/c/d/new")
			mkdir(t, h.Mount+"/c/d/other") // as many as before
			want := real(t, h)
			r.until(t, "the state that is there", func(a map[string]tree.Cgroup) bool { return sameState(t, h, a, want) })
			said.until(t, "polling")
		})
	}
}

func TestBoundOnCgroups(t *testing.T) {
	own := treetest.Own(t)
	h := own.Hierarchy
	for i := range 20 {
		mkdir(t, fmt.Sprintf("%s/%d", h.Mount, i))
	}
	r, said := watch(t, h, 10, many)
	r.until(t, "ten", func(a map[string]tree.Cgroup) bool { return len(a) == 10 })
	said.until(t, "more cgroups than are watched")
	mkdir(t, h.Mount+"/0/below")
	own.RemoveAll("/1")
	r.until(t, "one fewer, or another one", func(a map[string]tree.Cgroup) bool { return a[h.Root+"/1"].ID == 0 })
	if n := strings.Count(said.String(), "more cgroups than are watched"); n != 1 {
		t.Errorf("it was said %d times: %s", n, said.String())
	}
}

// A container with a cgroup namespace makes cgroups through a mount of its own.
func TestFindsWhatOtherNamespacesMake(t *testing.T) {
	testkit.Need(t, testkit.Namespaces)
	h := treetest.Own(t).Hierarchy
	r, _ := watch(t, h, many, many)
	mkdir(t, h.Mount+"/container")
	inside(t, "make", h.Version, h.Mount+"/container")
	r.until(t, "foreign", func(a map[string]tree.Cgroup) bool { return a[h.Root+"/container/foreign"].ID != 0 })
}

// In a cgroup namespace, as on a node that is a container, everything has the path that it has outside.
func TestFindsItselfInANamespace(t *testing.T) {
	testkit.Need(t, testkit.Namespaces)
	own := treetest.Own(t)
	own.Delegate("")
	h := own.Hierarchy
	mkdir(t, h.Mount+"/container/below")
	var st syscall.Stat_t
	if err := syscall.Stat(h.Mount+"/container/below", &st); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%d %s/container %d true", h.Version, h.Root, st.Ino)
	if got := inside(t, "find", h.Version, h.Mount+"/container"); got != want {
		t.Errorf("found %q, want %q", got, want)
	}
}

// Only v1 can rename a cgroup. It keeps its ID, and what is below it its own.
func TestRename(t *testing.T) {
	h := treetest.Own(t).Hierarchy
	mkdir(t, h.Mount+"/old/below")
	r, _ := watch(t, h, many, many)
	r.until(t, "the start", func(a map[string]tree.Cgroup) bool { return len(a) == 3 })
	before, _ := r.snapshot()
	if err := os.Rename(h.Mount+"/old", h.Mount+"/new"); h.Version == 2 {
		if err == nil {
			t.Error("v2 renamed a cgroup")
		}
		return
	} else if err != nil {
		t.Fatal(err)
	}
	mkdir(t, h.Mount+"/new/below/more")
	want := real(t, h)
	r.until(t, "the state that is there", func(a map[string]tree.Cgroup) bool { return sameState(t, h, a, want) })
	after, _ := r.snapshot()
	if now := after[h.Root+"/new"]; now.ID != before[h.Root+"/old"].ID || !now.Existed {
		t.Errorf("after: %+v, before: %+v", now, before[h.Root+"/old"])
	}
}

// From mkdir to Event is a race with the first process of a container.
func TestLatency(t *testing.T) {
	h := treetest.Own(t).Hierarchy
	r, _ := watch(t, h, many, many)
	var took []time.Duration
	for i := range 200 {
		path := fmt.Sprintf("/c%d", i)
		begin := time.Now()
		mkdir(t, h.Mount+path)
		r.until(t, path, func(a map[string]tree.Cgroup) bool { return a[h.Root+path].ID != 0 })
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	t.Logf("mkdir to event: p50 %v, p99 %v, most %v", took[100], took[198], took[199])
	if took[100] > 10*time.Millisecond {
		t.Errorf("half of the events took longer than %v", took[100])
	}
}
