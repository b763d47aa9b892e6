package counters

import (
	"bytes"
	"iter"
	"math"

	"stella/internal/oom"
)

// keyed returns the number of the line "key number" in a text of such lines.
func keyed(text []byte, key string) (int64, bool) {
	for line := range bytes.Lines(text) {
		if len(line) > len(key) && line[len(key)] == ' ' && string(line[:len(key)]) == key {
			return number(line[len(key)+1:])
		}
	}
	return 0, false
}

// number reads the decimal number that a text begins with, which ends there, at a
// space or at a newline.
func number(text []byte) (int64, bool) {
	var n int64
	for i, c := range text {
		switch {
		case c >= '0' && c <= '9':
			d := int64(c - '0')
			if n > (math.MaxInt64-d)/10 {
				return 0, false
			}
			n = n*10 + d
		case i > 0 && (c == '\n' || c == ' ' || c == '\t'):
			return n, true
		default:
			return 0, false
		}
	}
	return n, len(text) > 0
}

// pids are the numbers in the text of cgroup.procs. A 0 is a process that this PID
// namespace does not show.
func pids(text []byte) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for line := range bytes.Lines(text) {
			n, ok := number(line)
			if ok && n > 0 && n <= math.MaxInt32 && line[len(line)-1] == '\n' && !yield(int32(n)) {
				return // a last line without newline was cut by the buffer
			}
		}
	}
}

// parseStatus reads a process's memory from the text of /proc/PID/status
// (proc_pid_status(5)): sizes in kB. One that has given its memory back has none of those lines.
func parseStatus(text []byte, p *oom.Process) {
	p.UID = -1
	for line := range bytes.Lines(text) {
		key, value, ok := bytes.Cut(bytes.TrimRight(line, "\n"), []byte(":\t"))
		if !ok {
			continue
		}
		if string(key) == "Name" {
			p.Comm = string(unescape(value))
			continue
		}
		n, ok := number(bytes.TrimLeft(value, " "))
		if !ok {
			continue
		}
		switch string(key) {
		case "Uid":
			p.UID = int(n)
		case "VmSize":
			p.Total = n << 10
		case "RssAnon":
			p.Anon = n << 10
		case "RssFile":
			p.File = n << 10
		case "RssShmem":
			p.Shmem = n << 10
		case "VmPTE":
			p.PageTables = n << 10
		}
	}
}

// unescape undoes what the kernel does to newlines and backslashes in a name
// (fs/proc/array.c, proc_task_name).
func unescape(name []byte) []byte {
	out := name[:0:0]
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c == '\\' && i+1 < len(name) {
			i++
			if c = name[i]; c == 'n' {
				c = '\n'
			}
		}
		out = append(out, c)
	}
	return out
}

// memoryCgroup returns the path of a process's memory cgroup from the text of
// /proc/PID/cgroup (cgroups(7)): "ID:controllers:path".
func memoryCgroup(text []byte, version int) (string, bool) {
	for line := range bytes.Lines(text) {
		id, rest, _ := bytes.Cut(bytes.TrimRight(line, "\n"), []byte(":"))
		controllers, path, ok := bytes.Cut(rest, []byte(":"))
		if !ok {
			continue
		}
		if version == 2 {
			if string(id) == "0" && len(controllers) == 0 {
				return string(path), true
			}
			continue
		}
		for c := range bytes.SplitSeq(controllers, []byte(",")) {
			if string(c) == "memory" {
				return string(path), true
			}
		}
	}
	return "", false
}
