package cgroup

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
)

// maxLine caps a line of the kernel files read here. The longest are overlay
// mounts in mountinfo, whose option string is limited to one page by mount(2)
// and may be escaped fourfold.
const maxLine = 64 << 10

// prefix begins the names of all groups, for people who look at the cgroup file system.
const prefix = "stella-"

// hierarchy is one mounted cgroup hierarchy.
type hierarchy struct {
	version int
	root    string // the cgroup that is visible at point
	point   string // where it is mounted
}

// parseMounts finds the hierarchies that can carry the memory controller.
func parseMounts(r io.Reader) ([]hierarchy, error) { return parseMountsOf(r, "memory") }

// parseMountsOf finds the hierarchies that can carry a controller in the
// text of /proc/PID/mountinfo (proc_pid_mountinfo(5)): v1 mounts with its name as
// super option, and v2.
func parseMountsOf(r io.Reader, controller string) ([]hierarchy, error) {
	var found []hierarchy
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	for s.Scan() {
		before, after, ok := strings.Cut(s.Text(), " - ")
		if !ok {
			continue
		}
		left, right := strings.Fields(before), strings.Fields(after)
		if len(left) < 5 || len(right) < 3 {
			continue
		}
		h := hierarchy{root: unescape(left[3]), point: unescape(left[4])}
		switch {
		case right[0] == "cgroup2":
			h.version = 2
		case right[0] == "cgroup" && hasWord(right[2], ",", controller):
			h.version = 1
		default:
			continue
		}
		found = append(found, h)
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read mountinfo: %w", err)
	}
	return found, nil
}

// parseMembership returns the paths of a process's cgroups for memory.
func parseMembership(r io.Reader) (v1, v2 string, err error) {
	return parseMembershipOf(r, "memory")
}

// parseMembershipOf returns the paths of a process's cgroups from the text of
// /proc/PID/cgroup (cgroups(7)): that of a v1 controller and that of v2;
// either may be empty.
func parseMembershipOf(r io.Reader, controller string) (v1, v2 string, err error) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	for s.Scan() {
		parts := strings.SplitN(s.Text(), ":", 3)
		if len(parts) != 3 {
			continue
		}
		switch {
		case parts[0] == "0" && parts[1] == "":
			v2 = parts[2]
		case hasWord(parts[1], ",", controller):
			v1 = parts[2]
		}
	}
	if err := s.Err(); err != nil {
		return "", "", fmt.Errorf("read cgroup membership: %w", err)
	}
	return v1, v2, nil
}

// directory maps a cgroup path as /proc shows it to a directory of the
// hierarchy. A path outside the mounted part maps to the mount point: the
// nearest cgroup that can be reached.
func (h hierarchy) directory(cgroup string) string {
	rel := path.Clean("/" + cgroup)
	if root := path.Clean("/" + h.root); root != "/" {
		switch {
		case rel == root:
			rel = "/"
		case strings.HasPrefix(rel, root+"/"):
			rel = strings.TrimPrefix(rel, root)
		}
	}
	return path.Join(h.point, rel)
}

// parseKeyed returns the number that follows key in a file of "key value" lines.
func parseKeyed(text, key string) (int64, bool) {
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || k != key {
			continue
		}
		n, err := strconv.ParseInt(v, 10, 64)
		return n, err == nil
	}
	return 0, false
}

// parseMax returns the limit that the text of memory.max sets, and false where it
// sets none ("max").
func parseMax(text string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return n, err == nil && n >= 0
}

// parseMemTotal returns the machine's memory in bytes from the text of
// /proc/meminfo (proc_meminfo(5)), whose unit is KiB.
func parseMemTotal(text string) (int64, bool) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "MemTotal:" {
			continue
		}
		n, err := strconv.ParseInt(f[1], 10, 64)
		return n << 10, err == nil && n > 0 && n < 1<<53
	}
	return 0, false
}

// leftBehind reports whether a directory has a name that New makes of name: with
// its random number behind it, and nothing else.
func leftBehind(dir, name string) bool {
	digits, ok := strings.CutPrefix(dir, prefix+name+"-")
	return ok && digits != "" && strings.Trim(digits, "0123456789") == ""
}

// unescape undoes the octal escapes of space, tab, newline and backslash in
// mountinfo.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func hasWord(list, sep, word string) bool {
	for w := range strings.SplitSeq(list, sep) {
		if w == word {
			return true
		}
	}
	return false
}
