package cage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"stella/internal/testkit"
)

func TestACageIsItsOwnersOnly(t *testing.T) {
	c := newCage(t, t.TempDir(), false)
	info, err := os.Stat(c.Dir)
	if err != nil || info.Mode() != os.ModeDir|0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	closed(t, c)
}

// The daemons of a cluster run in its directory, where a relative name of it means nothing.
func TestDirIsAbsolute(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, base := range []string{".", "below"} {
		if err := os.MkdirAll(base, 0o700); err != nil {
			t.Fatal(err)
		}
		c := newCage(t, base, false)
		if !filepath.IsAbs(c.Dir) {
			t.Errorf("a cage in %q is at %q", base, c.Dir)
		}
		closed(t, c)
	}
}

func TestABaseThatTakesNothing(t *testing.T) {
	dir := t.TempDir()
	full, locked := filepath.Join(dir, "file"), filepath.Join(dir, "read-only")
	if err := errors.Join(os.WriteFile(full, nil, 0o600), os.Mkdir(locked, 0o500)); err != nil {
		t.Fatal(err)
	}
	bases := map[string]error{filepath.Join(dir, "none"): os.ErrNotExist, full: unix.ENOTDIR, locked: os.ErrPermission}
	if os.Geteuid() == 0 { // who may write anywhere else
		mountTmpfs(t, locked, unix.MS_RDONLY, "")
		bases[locked] = unix.EROFS
	}
	for base, want := range bases {
		_, made := New(base, false)
		_, swept := Sweep(base)
		if base == locked {
			if swept != nil { // there is nothing to sweep
				t.Errorf("sweep %s: %v", base, swept)
			}
			swept = made
		}
		for _, err := range []error{made, swept} {
			if !errors.Is(err, want) || !strings.Contains(err.Error(), base) {
				t.Errorf("%s: want %v, got %v", base, want, err)
			}
		}
	}
}

// What fails half way leaves nothing, holds nothing, and says which file did not fit.
func TestAFullDisk(t *testing.T) {
	needCgroups(t)
	for _, c := range []struct{ name, size string }{
		{"no place", "size=64k"},
		{"no inodes", "nr_inodes=4"}, // for the base, a file, the cage and its lock
	} {
		t.Run(c.name, func(t *testing.T) {
			base := t.TempDir()
			mountTmpfs(t, base, 0, c.size)
			if f, err := os.Create(filepath.Join(base, "filler")); err != nil {
				t.Fatal(err)
			} else {
				_, _ = f.Write(make([]byte, 64<<10)) // up to the end
				f.Close()
			}
			_, err := New(base, true)
			if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), base) {
				t.Errorf("want %v below %s, got %v", unix.ENOSPC, base, err)
			}
			if left := cages(t, base); !slices.Equal(left, []string{"filler"}) {
				t.Errorf("left behind: %q", left)
			}
			if swept, err := Sweep(base); err != nil || len(swept) > 0 {
				t.Errorf("swept %v, %v", swept, err)
			}
		})
	}
}

func TestSweepTakesOnlyWhatIsFree(t *testing.T) {
	needCgroups(t)
	base := t.TempDir()
	held, free := newCage(t, base, true), newCage(t, base, true)
	inHeld, inFree, outside := start(t, held, exec.Command("cat")), start(t, free, exec.Command("cat")), start(t, nil, exec.Command("cat"))
	if where := everyHierarchy(t, filepath.Base(free.Dir)); !slices.Equal(slices.Sorted(slices.Values(where)), slices.Sorted(slices.Values(free.groupDirs()))) {
		t.Errorf("cgroups %v are not those that the cage knows of: %v", where, free.groupDirs())
	}
	abandon(t, free)
	swept, err := Sweep(base)
	if err != nil || !slices.Equal(swept, []string{filepath.Base(free.Dir)}) {
		t.Errorf("swept %v, %v", swept, err)
	}
	gone(t, free)
	if !inFree.killed(t) {
		t.Errorf("the process of the free cage: %v", inFree.ProcessState)
	}
	if !inHeld.livesOn(t) || !outside.livesOn(t) {
		t.Errorf("the process of the held cage: %v; one outside: %v", inHeld.ProcessState, outside.ProcessState)
	}
	closed(t, held)
	if swept, err := Sweep(base); err != nil || len(swept) > 0 {
		t.Errorf("swept %v, %v", swept, err)
	}
}

// A cage's owner may die at any point of making it.
func TestSweepOfWhatIsHalfMade(t *testing.T) {
	for name, make := range map[string]func(dir string) error{
		"without a lock":  func(string) error { return nil },
		"without cgroups": func(dir string) error { return os.WriteFile(filepath.Join(dir, lockName), nil, 0o600) },
		"cgroups that are not made": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, groupsName), []byte(filepath.Join("/sys/fs/cgroup", filepath.Base(dir))+"\n"), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			base := filepath.Join(t.TempDir(), "a [strange] base*")
			dir := filepath.Join(base, prefix+"1")
			if err := errors.Join(os.MkdirAll(dir, 0o700), make(dir)); err != nil {
				t.Fatal(err)
			}
			if swept, err := Sweep(base); err != nil || !slices.Equal(swept, []string{prefix + "1"}) {
				t.Errorf("swept %v, %v", swept, err)
			}
			if left := cages(t, base); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// In a directory like /tmp anybody may make what looks like a cage, and name in
// it the processes that root should kill.
func TestSweepLeavesWhatIsNotACage(t *testing.T) {
	base, elsewhere := t.TempDir(), t.TempDir()
	victim := start(t, nil, exec.Command("cat"))
	fake := filepath.Join(elsewhere, prefix+"2")
	if err := errors.Join(
		os.Mkdir(filepath.Join(base, prefix+"2"), 0o700),
		os.WriteFile(filepath.Join(base, prefix+"2", groupsName), []byte(fake+"\n"), 0o600),
		os.Mkdir(fake, 0o700),
		os.WriteFile(filepath.Join(fake, "cgroup.procs"), fmt.Appendln(nil, victim.Process.Pid), 0o600),
		os.Symlink(elsewhere, filepath.Join(base, prefix+"3")),
		os.WriteFile(filepath.Join(base, prefix+"4"), nil, 0o600),
	); err != nil {
		t.Fatal(err)
	}
	kept := []string{prefix + "3", prefix + "4"}
	if os.Geteuid() == 0 {
		kept = append([]string{prefix + "2"}, kept...)
		if err := os.Chown(filepath.Join(base, prefix+"2"), 65534, 65534); err != nil {
			t.Fatal(err)
		}
	} else if err := os.RemoveAll(filepath.Join(base, prefix+"2")); err != nil {
		t.Fatal(err)
	}
	swept, err := Sweep(base)
	if err != nil || len(swept) > 0 {
		t.Errorf("swept %v, %v", swept, err)
	}
	if left := cages(t, base); !slices.Equal(left, kept) {
		t.Errorf("want %q untouched, got %q", kept, left)
	}
	if left := cages(t, elsewhere); !slices.Equal(left, []string{prefix + "2"}) {
		t.Errorf("something was made through a link: %q", left)
	}
	if !victim.livesOn(t) {
		t.Errorf("a process of nobody's cage: %v", victim.ProcessState)
	}
}

func TestReadGroups(t *testing.T) {
	const name = prefix + "5"
	const own = "/sys/fs/cgroup/memory/" + name
	long := "/" + strings.Repeat("x", 70<<10) // more than a bufio.Scanner takes
	for _, c := range []struct {
		what, content string
		want          []string
		refused       bool
	}{
		{what: "nothing"},
		{what: "two", content: own + "\n/a/" + name + "\n", want: []string{own, "/a/" + name}},
		{what: "no newline", content: own, want: []string{own}},
		{what: "a space in the name", content: "/a b/" + name + "\n", want: []string{"/a b/" + name}},
		{what: "a long one", content: own + "\n" + long + "/" + name + "\n", refused: true},
		{what: "a long one of somebody else", content: own + "\n" + long + "\n", refused: true},
		{what: "the parent", content: "/sys/fs/cgroup/memory\n", refused: true},
		{what: "a neighbour", content: own + "6\n", refused: true},
		{what: "below it", content: own + "/node\n", refused: true},
		{what: "up from it", content: own + "/..\n", refused: true},
		{what: "up to another", content: "/sys/fs/cgroup/memory/../pids/" + name + "\n", refused: true},
		{what: "with a slash at the end", content: own + "/\n", refused: true},
		{what: "relative", content: name + "\n", refused: true},
		{what: "relative, with a dot", content: "./" + name + "\n", refused: true},
		{what: "an empty line", content: own + "\n\n", refused: true},
		{what: "cut short", content: own + "\n/sys/fs/cgroup/cpu/stella-clu", refused: true},
		{what: "a NUL", content: own + "\x00\n", refused: true},
		{what: "spaces around", content: " " + own + " \n", refused: true},
	} {
		dir := filepath.Join(t.TempDir(), name)
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, groupsName), []byte(c.content), 0o600)); err != nil {
			t.Fatal(err)
		}
		got, err := readGroups(dir)
		if c.refused {
			if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, groupsName)) || len(got) > 0 {
				t.Errorf("%s: %q, %v", c.what, got, err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: want %q, got %q, %v", c.what, c.want, got, err)
		}
	}
	if got, err := readGroups(t.TempDir()); err != nil || len(got) > 0 {
		t.Errorf("no list: %q, %v", got, err)
	}
}

// What Sweep cannot judge it leaves, with its list, for a person.
func TestSweepKeepsAListThatItRefuses(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, prefix+"6")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, groupsName), []byte("/sys/fs/cgroup\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	other := newCage(t, base, false)
	abandon(t, other)
	_, err := Sweep(base)
	if err == nil || !strings.Contains(err.Error(), "remove it by hand") {
		t.Error(err)
	}
	if left := cages(t, base); !slices.Equal(left, []string{filepath.Base(dir)}) {
		t.Errorf("left: %q", left)
	}
}

func TestTryLock(t *testing.T) {
	name := filepath.Join(t.TempDir(), lockName)
	first, err := tryLock(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tryLock(name); !errors.Is(err, errHeld) || !strings.Contains(err.Error(), name) {
		t.Errorf("a held lock: %v", err)
	}
	first.Close()
	second, err := tryLock(name)
	if err != nil {
		t.Errorf("a lock that was given back: %v", err)
	}
	second.Close()
}

// Four who make, close and sweep at once, and now and then die, do so as if alone:
// nobody's cage goes early, and each that was abandoned goes once.
func TestCagesDoNotDisturbEachOther(t *testing.T) {
	const loops, rounds = 4, 8
	base := t.TempDir()
	cgroups := os.Geteuid() == 0
	if cgroups {
		testkit.Need(t, testkit.MemoryCgroup)
	}
	var mu sync.Mutex
	times := map[string]int{} // how often each was swept
	sweepAll := func() {
		swept, err := Sweep(base)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, name := range swept {
			times[name]++
		}
	}
	var abandoned []string
	var wg sync.WaitGroup
	for range loops {
		wg.Go(func() {
			for round := range rounds {
				c, err := New(base, cgroups)
				if err != nil {
					t.Error(err)
					return
				}
				sweepAll()
				for _, dir := range append(c.groupDirs(), filepath.Join(c.Dir, lockName)) {
					if _, err := os.Lstat(dir); err != nil {
						t.Errorf("a cage that is held: %v", err)
					}
				}
				if round%2 == 0 {
					mu.Lock()
					abandoned = append(abandoned, filepath.Base(c.Dir))
					mu.Unlock()
					c.lock.Close()
				} else if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	sweepAll()
	for _, name := range abandoned {
		if times[name] != 1 {
			t.Errorf("%s was swept %d times", name, times[name])
		}
		delete(times, name)
	}
	if len(times) > 0 {
		t.Errorf("swept, though never abandoned: %v", times)
	}
	if left := cages(t, base); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
