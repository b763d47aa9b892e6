package tree

import (
	"bytes"
	"iter"
	"slices"
	"strconv"
)

// mount is one line of mountinfo that can carry the memory controller.
type mount struct {
	version     int
	root, point string
	local       bool // v2: memory_localevents
}

// mounts are the hierarchies in the text of /proc/PID/mountinfo (proc_pid_mountinfo(5))
// that can carry the memory controller: v1 with "memory" among its options, and v2.
func mounts(text []byte) iter.Seq[mount] {
	return func(yield func(mount) bool) {
		for line := range bytes.Lines(text) {
			if m, ok := parseMount(line); ok && !yield(m) {
				return
			}
		}
	}
}

// parseMount reads a line: "ID parent dev root point options [optional…] - type source super-options".
func parseMount(line []byte) (mount, bool) {
	before, after, ok := bytes.Cut(line, []byte(" - "))
	left, right := bytes.Fields(before), bytes.Fields(after)
	if !ok || len(left) < 5 || len(right) < 3 {
		return mount{}, false
	}
	m := mount{root: unescape(left[3]), point: unescape(left[4])}
	has := func(option string) bool {
		return slices.ContainsFunc(bytes.Split(right[2], []byte(",")), func(o []byte) bool { return string(o) == option })
	}
	switch string(right[0]) {
	case "cgroup2":
		m.version, m.local = 2, has("memory_localevents")
		return m, true
	case "cgroup":
		m.version = 1
		return m, has("memory")
	}
	return mount{}, false
}

// unescape undoes the octal escapes of mountinfo: space, tab, newline and backslash.
func unescape(b []byte) string {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+3 < len(b) {
			if n, err := strconv.ParseUint(string(b[i+1:i+4]), 8, 8); err == nil {
				out = append(out, byte(n))
				i += 3
				continue
			}
		}
		out = append(out, b[i])
	}
	return string(out)
}
