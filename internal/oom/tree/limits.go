package tree

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"stella/internal/oom"
)

const (
	// maxDepth bounds a chain of cgroups. Kubernetes' has 5, or 7 with systemd; the kernel's own bound on v2 is what an administrator sets.
	maxDepth = 32
	// maxLimitFile bounds a file with a limit: a number of 64 bits and a line's end.
	maxLimitFile = 64
	// noLimitV1 is from where a limit of v1 is none: the kernel shows LONG_MAX rounded down to a page, whose size differs.
	noLimitV1 = math.MaxInt64 &^ (1<<20 - 1)
)

// Limits reads the hard memory limit of a cgroup and of each one above it, its own first, as the kernel has them at this moment. The root has
// none and is left out. An error matches [fs.ErrNotExist] where there is no such cgroup.
func (h Hierarchy) Limits(cgroup string) ([]oom.CgroupLimit, error) {
	if cgroup != path.Clean(cgroup) {
		return nil, fmt.Errorf("cgroup %q: the path is not a clean one", cgroup)
	}
	if strings.Count(cgroup, "/") > maxDepth {
		return nil, fmt.Errorf("cgroup %q is deeper than %d", cgroup, maxDepth)
	}
	chain := []oom.CgroupLimit{}
	for c := cgroup; c != "/" && c != h.Root; c = path.Dir(c) {
		dir := h.Dir(c)
		if dir == "" {
			return nil, fmt.Errorf("cgroup %q is not below %s, which is what is mounted here", cgroup, h.Root)
		}
		bytes, err := h.limit(dir)
		if err != nil {
			return nil, fmt.Errorf("cgroup %q: %w", c, err)
		}
		chain = append(chain, oom.CgroupLimit{Cgroup: c, Bytes: bytes})
	}
	return chain, nil
}

// limit reads one limit in bytes; 0 is none.
func (h Hierarchy) limit(dir string) (int64, error) {
	name := "memory.max"
	if h.Version == 1 {
		name = "memory.limit_in_bytes"
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxLimitFile))
	if err != nil {
		return 0, err
	}
	return limitOf(strings.TrimSpace(string(text)))
}

// limitOf reads what a file with a limit says.
func limitOf(text string) (int64, error) {
	if text == "max" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil || n < 0:
		return 0, errors.New("the limit is " + strconv.Quote(text) + ", which is no amount")
	case n >= noLimitV1:
		return 0, nil
	}
	return n, nil
}
