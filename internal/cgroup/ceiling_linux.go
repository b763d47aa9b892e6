package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// MemoryCeiling is the most memory that this process and all that it starts may
// use together: the least of the machine's memory and of the limits of this
// process's cgroup and of those above it. Limits above what is mounted here, as in
// a container on v2, cannot be seen; there the container's own limit is what counts.
func MemoryCeiling() (Ceiling, error) { return ceiling("/proc") }

// ceiling is MemoryCeiling with the proc file system at procRoot.
func ceiling(procRoot string) (Ceiling, error) {
	least := Ceiling{Source: filepath.Join(procRoot, "meminfo")}
	text, err := os.ReadFile(least.Source)
	if err != nil {
		return Ceiling{}, fmt.Errorf("find out how much memory there is: %w", err)
	}
	var ok bool
	if least.Bytes, ok = parseMemTotal(string(text)); !ok {
		return Ceiling{}, fmt.Errorf("find out how much memory there is: %s has no MemTotal", least.Source)
	}
	places, err := ownPlaces(procRoot)
	if err != nil {
		return Ceiling{}, fmt.Errorf("find out how much memory this cgroup may use: %w", err)
	}
	for _, p := range places {
		bounds := boundV2
		if p.version == 1 {
			bounds = boundV1
		}
		found, err := bounds(p)
		if err != nil {
			return Ceiling{}, fmt.Errorf("find out how much memory this cgroup may use: %w", err)
		}
		if found.Bytes > 0 && found.Bytes < least.Bytes {
			least = found
		}
	}
	return least, nil
}

// boundV1 asks the kernel, which knows the limits of the whole chain, also of what
// is not mounted here.
func boundV1(p place) (Ceiling, error) {
	c := Ceiling{Source: filepath.Join(p.own, "memory.stat")}
	text, err := os.ReadFile(c.Source)
	if err != nil {
		return Ceiling{}, ignoreMissing(err)
	}
	c.Bytes, _ = parseKeyed(string(text), "hierarchical_memory_limit")
	return c, nil
}

// boundV2 walks up to the mount point. The root of all has no limit, and no file.
func boundV2(p place) (Ceiling, error) {
	var least Ceiling
	for dir := p.own; ; dir = filepath.Dir(dir) {
		name := filepath.Join(dir, "memory.max")
		text, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Ceiling{}, err
		}
		n, limited := parseMax(string(text))
		if limited && (least.Bytes == 0 || n < least.Bytes) {
			least = Ceiling{n, name}
		}
		if dir == p.point || dir == filepath.Dir(dir) {
			return least, nil
		}
	}
}
