package cage

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Furnish makes the mount namespace of this process look like a node of its own:
// an empty /run, a /var inside dir, and a /sys that shows its network and, as
// the root of every cgroup hierarchy, the cage. Everything else is the machine's.
//
// This process must already have mount, network and cgroup namespaces of its
// own; without them Furnish would change the machine's.
func Furnish(dir string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	links, err := symlinks("/sys/fs/cgroup")
	if err != nil {
		return err
	}
	for _, hidden := range []string{"/var", "/run", "/sys"} {
		if strings.HasPrefix(dir+"/", hidden+"/") {
			return fmt.Errorf("the cluster's directory %s would be hidden by the node's own %s: set TMPDIR to a directory elsewhere", dir, hidden)
		}
	}
	// Nothing reaches the machine; pods' mounts reach the kubelet, which needs shared mounts.
	for _, propagation := range []uintptr{unix.MS_PRIVATE, unix.MS_SHARED} {
		if err := (mount{to: "/", flags: unix.MS_REC | propagation}).do(); err != nil {
			return err
		}
	}
	steps := []mount{
		{from: "tmpfs", to: "/run", fstype: "tmpfs", data: "mode=755"},
		{from: filepath.Join(dir, "var"), to: "/var", flags: unix.MS_BIND},
		{from: "sysfs", to: "/sys", fstype: "sysfs"},
	}
	for _, name := range []string{"lib", "log", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, "var", name), 0o755); err != nil {
			return fmt.Errorf("make the node's /var: %w", err)
		}
	}
	if err := os.Symlink("/run", filepath.Join(dir, "var", "run")); err != nil {
		return fmt.Errorf("make the node's /var: %w", err)
	}
	// The machine's /sys goes first: what lies below a mount point is still listed
	// in mountinfo, where the kubelet and cAdvisor look for hierarchies.
	if err := unix.Unmount("/sys", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the machine's /sys: %w", err)
	}
	for _, step := range append(steps, cgroupMounts(all)...) {
		if err := step.do(); err != nil {
			return err
		}
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join("/sys/fs/cgroup", name)); err != nil {
			return fmt.Errorf("name a cgroup hierarchy: %w", err)
		}
	}
	return nil
}

// mount is one call of mount(2).
type mount struct {
	from, to, fstype, data string
	flags                  uintptr
}

func (m mount) do() error {
	if m.fstype == "cgroup" {
		if err := os.Mkdir(m.to, 0o755); err != nil {
			return fmt.Errorf("make a mount point: %w", err)
		}
	}
	if err := unix.Mount(m.from, m.to, m.fstype, m.flags, m.data); err != nil {
		return fmt.Errorf("mount %s on %s (%s): %w", m.from, m.to, m.data, err)
	}
	return nil
}

// cgroupMounts mounts the hierarchies again, which shows them from the root of
// this process's cgroup namespace.
func cgroupMounts(all []hierarchy) []mount {
	const at = "/sys/fs/cgroup"
	if all[0].v2 {
		return []mount{{from: "cgroup2", to: at, fstype: "cgroup2"}}
	}
	mounts := []mount{{from: "tmpfs", to: at, fstype: "tmpfs", data: "mode=755"}}
	for _, h := range all {
		mounts = append(mounts, mount{from: "cgroup", to: filepath.Join(at, filepath.Base(h.root)), fstype: "cgroup", data: h.options})
	}
	return mounts
}

// symlinks lists the symbolic links of a directory: in v1 cpu often is one to cpu,cpuacct.
func symlinks(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the cgroup hierarchies: %w", err)
	}
	links := map[string]string{}
	for _, entry := range entries {
		if entry.Type()&os.ModeSymlink == 0 {
			continue
		}
		target, err := os.Readlink(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("read the cgroup hierarchies: %w", err)
		}
		links[entry.Name()] = target
	}
	return links, nil
}
