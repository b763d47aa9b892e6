package cage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Leaf is the cgroup inside a cage that the node's own daemons are in, as they
// are in system.slice elsewhere; pods are beside it.
const Leaf = "node"

// hierarchy is one mounted cgroup hierarchy: all of v2, or one of v1's.
type hierarchy struct {
	v2 bool
	// options are what it is mounted with again: "memory", "cpu,cpuacct", "none,name=systemd".
	options string
	// root is its mount point.
	root string
	// parent is where cages go.
	parent string
}

// group is the cage's cgroup in one hierarchy.
type group struct {
	hierarchy
	dir string
}

// hierarchies finds this machine's. In v1 a cage goes below the cgroup of this
// process, so that its limits still hold; in v2 below the root, because nowhere
// else may a cgroup have both processes and controllers for its children.
func hierarchies() ([]hierarchy, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, fmt.Errorf("read the mounts of this process: %w", err)
	}
	own, err := membership()
	if err != nil {
		return nil, err
	}
	return chooseHierarchies(mounts, own)
}

// chooseHierarchies picks one mount of each hierarchy that matters, of those that
// show a process with this membership.
func chooseHierarchies(mounts []*mountinfo.Info, own map[string]string) ([]hierarchy, error) {
	var all []hierarchy
	seen := map[string]bool{} // one hierarchy may be mounted in several places
	for _, m := range mounts {
		if m.FSType == "cgroup2" {
			if !seen[m.FSType] {
				all = append(all, hierarchy{v2: true, root: m.Mountpoint, parent: m.Mountpoint})
			}
			seen[m.FSType] = true
			continue
		}
		controllers := v1Controllers(m.VFSOptions)
		path, ok := own[controllers]
		if !ok || seen[controllers] {
			continue
		}
		below, err := filepath.Rel(m.Root, path)
		if err != nil || !filepath.IsLocal(below) {
			continue // it shows other cgroups; another mount may show this one
		}
		seen[controllers] = true
		options := controllers
		if strings.HasPrefix(controllers, "name=") {
			options = "none," + controllers
		}
		all = append(all, hierarchy{options: options, root: m.Mountpoint, parent: filepath.Join(m.Mountpoint, below)})
	}
	v1 := slices.ContainsFunc(all, func(h hierarchy) bool { return h.options == "memory" })
	all = slices.DeleteFunc(all, func(h hierarchy) bool { return h.v2 == v1 }) // hybrid: the memory controller decides
	if len(all) == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted")
	}
	return all, nil
}

// membership returns the cgroup of this process in each v1 hierarchy.
func membership() (map[string]string, error) {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("read the cgroups of this process: %w", err)
	}
	return parseMembership(string(data)), nil
}

// parseMembership reads /proc/PID/cgroup, see cgroups(7): ID:controllers:path. Of
// v2 there are no controllers.
func parseMembership(lines string) map[string]string {
	own := map[string]string{}
	for line := range strings.Lines(lines) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) == 3 {
			own[fields[1]] = fields[2]
		}
	}
	return own
}

// v1Controllers picks the controllers, or the name, out of a mount's options.
func v1Controllers(options string) string {
	known := []string{"cpuset", "cpu", "cpuacct", "blkio", "memory", "devices", "freezer", "net_cls", "perf_event", "net_prio", "hugetlb", "pids", "rdma", "misc"}
	var found []string
	for option := range strings.SplitSeq(options, ",") {
		if slices.Contains(known, option) || strings.HasPrefix(option, "name=") {
			found = append(found, option)
		}
	}
	return strings.Join(found, ",")
}

// make makes the cgroup and, in it, the leaf for the node's daemons.
func (g group) make() error {
	for _, dir := range []string{g.dir, filepath.Join(g.dir, Leaf)} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("make the cluster's cgroup: %w", err)
		}
		if err := g.inherit(dir); err != nil {
			return err
		}
	}
	return nil
}

// inherit gives a new cgroup what it must have before a process may enter.
func (g group) inherit(dir string) error {
	if g.v2 {
		if dir != g.dir {
			return nil // the cage itself hands down nothing until it is free of processes, see EnterLeaf
		}
		return enableControllers(g.parent)
	}
	if !slices.Contains(strings.Split(g.options, ","), "cpuset") {
		return nil
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), value, 0)
		}
		if err != nil {
			return fmt.Errorf("give the cluster's cgroup its processors: %w", err)
		}
	}
	return nil
}

// enableControllers lets the children of a v2 cgroup have each controller it has itself.
func enableControllers(dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read the controllers of a cgroup: %w", err)
	}
	for _, controller := range strings.Fields(string(data)) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0); err != nil {
			return fmt.Errorf("enable %s below %s: %w", controller, dir, err)
		}
	}
	return nil
}

// Enter moves this process into the cage's cgroups, so that what it starts with
// a cgroup namespace has them for its root, and returns the way back.
func (c *Cage) Enter() (leave func() error, err error) {
	var back []string
	leave = func() error {
		var errs []error
		for _, dir := range back {
			errs = append(errs, join(dir))
		}
		return errors.Join(errs...)
	}
	own, err := membership()
	if err != nil {
		return nil, err
	}
	for _, g := range c.groups {
		home := g.parent
		if g.v2 {
			home = filepath.Join(g.root, own[""])
		}
		if err := join(g.dir); err != nil {
			return nil, errors.Join(err, leave())
		}
		back = append(back, home)
	}
	return leave, nil
}

// EnterLeaf moves this process, the only one in the root of its cgroup namespace,
// to the leaf for daemons. In v2 the root must be free of processes before it can
// hand controllers down to pods.
func EnterLeaf() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		if err := join(filepath.Join(h.root, Leaf)); err != nil {
			return err
		}
		if h.v2 {
			return enableControllers(h.root)
		}
	}
	return nil
}

// JoinLeaf moves this process from outside into the leaf of the cage at dir.
func JoinLeaf(dir string) error {
	groups, err := readGroups(dir)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if err := join(filepath.Join(g, Leaf)); err != nil {
			return err
		}
	}
	return nil
}

// join moves this process, with all its threads, into a cgroup.
func join(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("enter %s: %w", dir, err)
	}
	return nil
}

// empty kills every process in a cgroup and below it until there is none. This
// process itself is spared.
func empty(dir string, deadline time.Time) error {
	for {
		pids, err := processes(dir)
		if err != nil {
			return err
		}
		pids = slices.DeleteFunc(pids, func(pid int) bool { return pid == os.Getpid() || isZombie(pid) })
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("kill process %d of %s: %w", pid, dir, err)
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: processes %v did not end within %v of SIGKILL", dir, pids, emptyWithin)
		}
		time.Sleep(time.Millisecond)
	}
}

// processes lists the processes in a cgroup and below it.
func processes(dir string) ([]int, error) {
	var pids []int
	err := walk(dir, func(sub string) error {
		data, err := os.ReadFile(filepath.Join(sub, "cgroup.procs"))
		if err != nil {
			return ignoreGone(err)
		}
		for field := range strings.FieldsSeq(string(data)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return fmt.Errorf("%s/cgroup.procs: %w", sub, err)
			}
			if pid > 0 { // 0 is a process of another pid namespace
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids, err
}

// removeTree removes a cgroup and those below it, children first.
func removeTree(dir string, deadline time.Time) error {
	for {
		var dirs []string
		if err := walk(dir, func(sub string) error { dirs = append(dirs, sub); return nil }); err != nil {
			return err
		}
		var failed error
		for _, sub := range slices.Backward(dirs) {
			if err := ignoreGone(unix.Rmdir(sub)); err != nil && failed == nil {
				failed = fmt.Errorf("remove %s: %w", sub, err)
			}
		}
		if failed == nil || time.Now().After(deadline) {
			return failed
		}
		time.Sleep(time.Millisecond) // EBUSY: the kernel is still letting go of a process
	}
}

// walk calls f for a directory and each one below it, parents first. What is
// gone in the meantime is passed over.
func walk(dir string, f func(string) error) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return ignoreGone(err)
		}
		if !entry.IsDir() {
			return nil
		}
		return f(path)
	})
}

// ignoreGone drops the errors of a cgroup that was removed meanwhile.
func ignoreGone(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// EmptyOwn kills every other process in the cage that this process is in the
// cgroup namespace of.
func EmptyOwn() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(emptyWithin)
	var errs []error
	for _, h := range all {
		errs = append(errs, empty(h.root, deadline))
	}
	return errors.Join(errs...)
}
