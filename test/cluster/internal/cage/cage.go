// Package cage is what one test cluster lives in, and the proof that nothing of
// it is left.
//
// A cage is a directory, a lock in it, and a cgroup of the same name in every
// hierarchy of this machine. Its owner holds the lock for as long as it lives;
// the kernel gives the lock back however the owner dies. So a cage whose lock is
// free is a leftover, and [Sweep] removes it: a process killed with SIGKILL is
// cleaned up after by the next one that starts.
//
// Everything that runs in a cage is in its cgroups, whatever it forked, whatever
// its parent is now: that is how a cage is emptied, pid by pid, and why no
// process of anybody else can be hit. Mounts and network devices live in
// namespaces of the cage's processes and go with the last of them.
package cage

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	prefix   = "stella-cluster-"
	lockName = "lock"
	// groupsName lists the cage's cgroups, so that a sweep from another cgroup,
	// or another session, finds them.
	groupsName = "cgroups"
)

// emptyWithin bounds how long the kernel may need to let go of killed processes:
// a process in the middle of freeing gigabytes takes seconds on a busy machine.
const emptyWithin = 30 * time.Second

// Cage is one cluster's place. It is not safe for concurrent use.
type Cage struct {
	// Dir is the directory, absolute, readable by its owner only.
	Dir        string
	lock       *os.File
	groups     []group
	namespaces map[string]bool
	held       []*os.File
}

// New makes a cage below a base directory. With cgroups it also has a cgroup in
// every hierarchy, which needs root.
func New(base string, cgroups bool) (*Cage, error) {
	c, err := claim(base)
	if err != nil {
		return nil, err
	}
	if cgroups {
		if err := c.makeGroups(); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// claim makes the directory and takes its lock. From then on no sweep touches it.
func claim(base string) (*Cage, error) {
	unlock, err := exclusively(base)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if base, err = filepath.Abs(base); err != nil {
		return nil, fmt.Errorf("make the cluster's directory: %w", err)
	}
	dir, err := os.MkdirTemp(base, prefix)
	if err != nil {
		return nil, fmt.Errorf("make the cluster's directory: %w", err)
	}
	c := &Cage{Dir: dir, namespaces: map[string]bool{}}
	if c.lock, err = tryLock(filepath.Join(dir, lockName)); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return c, nil
}

// makeGroups writes down each cgroup before it makes it.
func (c *Cage) makeGroups() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	var list strings.Builder
	for _, h := range all {
		g := group{hierarchy: h, dir: filepath.Join(h.parent, filepath.Base(c.Dir))}
		c.groups = append(c.groups, g)
		fmt.Fprintln(&list, g.dir)
	}
	if err := os.WriteFile(filepath.Join(c.Dir, groupsName), []byte(list.String()), 0o600); err != nil {
		return fmt.Errorf("write down the cluster's cgroups: %w", err)
	}
	for _, g := range c.groups {
		if err := g.make(); err != nil {
			return err
		}
	}
	return nil
}

// Close kills what is in the cage, removes it, and looks whether anything is
// left; the error names what is.
func (c *Cage) Close() error {
	if err := removeGroups(c.groupDirs()); err != nil {
		return errors.Join(err, c.lock.Close())
	}
	unlock, err := exclusively(filepath.Dir(c.Dir))
	if err != nil {
		return errors.Join(err, c.lock.Close())
	}
	defer unlock()
	return errors.Join(os.RemoveAll(c.Dir), c.lock.Close(), c.leftovers())
}

// Sweep removes this user's cages below base whose owners are gone and returns their names.
func Sweep(base string) ([]string, error) {
	unlock, err := exclusively(base)
	if err != nil {
		return nil, err
	}
	defer unlock()
	entries, err := os.ReadDir(base)
	if err != nil {
		return nil, fmt.Errorf("look for what earlier clusters left: %w", err)
	}
	var swept []string
	var errs []error
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), prefix) || !ours(entry) {
			continue
		}
		dir := filepath.Join(base, entry.Name())
		lock, err := tryLock(filepath.Join(dir, lockName))
		if errors.Is(err, errHeld) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, sweep(dir), lock.Close())
		swept = append(swept, entry.Name())
	}
	return swept, errors.Join(errs...)
}

// ours says whether this user made a directory. In one like /tmp anybody may make
// what looks like a cage, and list in it what root should kill.
func ours(entry fs.DirEntry) bool {
	info, err := entry.Info()
	if err != nil {
		return false // gone
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.IsDir() && int(stat.Uid) == os.Geteuid()
}

// readGroups returns the cgroups that a cage wrote down. A name that is not the
// cage's own is refused: what it lists is killed.
func readGroups(dir string) ([]string, error) {
	f, err := os.Open(filepath.Join(dir, groupsName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var groups []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		g := lines.Text()
		if !filepath.IsAbs(g) || g != filepath.Join(filepath.Dir(g), filepath.Base(dir)) {
			return nil, fmt.Errorf("%s: %q is not a cgroup of this cluster; remove it by hand", f.Name(), g)
		}
		groups = append(groups, g)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return groups, nil
}

// sweep removes the cgroups first, then the directory that names them: what is
// cut short here is taken up by the next sweep.
func sweep(dir string) error {
	groups, err := readGroups(dir)
	if err != nil {
		return err
	}
	if err := removeGroups(groups); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// removeGroups empties all of the cgroups, then removes them.
func removeGroups(groups []string) error {
	deadline := time.Now().Add(emptyWithin)
	for _, g := range groups {
		if err := empty(g, deadline); err != nil {
			return err
		}
	}
	for _, g := range groups {
		if err := removeTree(g, deadline); err != nil {
			return err
		}
	}
	return nil
}

var errHeld = errors.New("held by a living process")

// tryLock takes a lock that the kernel gives back when this process ends.
func tryLock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the cluster: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", name, errHeld)
		}
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f, nil
}

// exclusively waits until no other process makes, removes or sweeps cages below
// base: a directory without its lock is not a leftover yet, or not any more. What
// is locked is base itself, so that no file is left.
func exclusively(base string) (func(), error) {
	f, err := os.Open(base)
	if err != nil {
		return nil, fmt.Errorf("lock the place for clusters: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", base, err)
	}
	return func() { f.Close() }, nil
}
