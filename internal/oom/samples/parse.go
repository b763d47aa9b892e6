package samples

import (
	"bytes"
	"math"
)

// The parsers here take what a kernel file says, or the beginning of it, and
// allocate nothing. What is missing, or makes no sense, stays unknown.

// number is the decimal number that b begins with, and what follows it. Without a digit, or beyond int64, it is unknown.
func number(b []byte) (n int64, rest []byte) {
	i := 0
	for ; i < len(b) && b[i]-'0' <= 9; i++ {
		digit := int64(b[i] - '0')
		if n > (math.MaxInt64-digit)/10 {
			return unknown, b
		}
		n = n*10 + digit
	}
	if i == 0 {
		return unknown, b
	}
	return n, b[i:]
}

// value is the number that b begins with.
func value(b []byte) int64 {
	n, _ := number(b)
	return n
}

// line cuts the first line off b, without its end. A last line that does not end is dropped: it may be cut.
func line(b []byte) (first, rest []byte, ok bool) {
	return bytes.Cut(b, []byte{'\n'})
}

// pair takes a line "key value", "key: value" or "key:\tvalue kB" apart.
func pair(b []byte) (key, value []byte) {
	i := 0
	for i < len(b) && !separates(b[i]) {
		i++
	}
	key = b[:i]
	for i < len(b) && separates(b[i]) {
		i++
	}
	return key, b[i:]
}

func separates(c byte) bool { return c == ' ' || c == ':' || c == '\t' }

// noLimit is beyond any limit that is one: v1 says "none" by the highest number of pages.
const noLimit = 1 << 62

// memoryStat is what memory.stat tells, in bytes.
type memoryStat struct {
	anon, file, shmem, inactiveFile, kernel, sock, swap, limit int64
}

// parseMemoryStat reads memory.stat of cgroup v2, or of v1, where the figures of a cgroup with those
// below it begin with total_ and cache is that of files and of shmem.
func parseMemoryStat(b []byte) memoryStat {
	s := memoryStat{unknown, unknown, unknown, unknown, unknown, unknown, unknown, unknown}
	cache := int64(unknown)
	slab, stacks, tables := int64(unknown), int64(unknown), int64(unknown)
	for l, rest, ok := line(b); ok; l, rest, ok = line(rest) {
		key, v := pair(l)
		switch string(key) {
		case "anon", "total_rss":
			s.anon = value(v)
		case "file", "total_cache":
			cache = value(v)
		case "shmem", "total_shmem": // v1 has both, and the total comes last
			s.shmem = value(v)
		case "inactive_file", "total_inactive_file": // the same
			s.inactiveFile = value(v)
		case "kernel": // since Linux 5.18
			s.kernel = value(v)
		case "slab":
			slab = value(v)
		case "kernel_stack":
			stacks = value(v)
		case "pagetables": // since Linux 5.16
			tables = value(v)
		case "sock":
			s.sock = value(v)
		case "total_swap":
			s.swap = value(v)
		case "hierarchical_memory_limit":
			s.limit = value(v)
		}
	}
	if s.kernel < 0 && slab >= 0 {
		s.kernel = slab + max(stacks, 0) + max(tables, 0)
	}
	if cache >= 0 {
		s.file = max(cache-max(s.shmem, 0), 0)
	}
	return s
}

// pressure is what a file of PSI tells.
type pressure struct {
	someTotal, fullTotal int64   // microseconds so far
	some10, full10       float64 // percent of the last ten seconds
}

// parsePressure reads memory.pressure and /proc/pressure/memory: lines such as
// "some avg10=0.00 avg60=0.00 avg300=0.00 total=0".
func parsePressure(b []byte) pressure {
	p := pressure{unknown, unknown, unknown, unknown}
	for l, rest, ok := line(b); ok; l, rest, ok = line(rest) {
		kind, _ := pair(l)
		total, share := after(l, "total="), after(l, "avg10=")
		switch string(kind) {
		case "some":
			p.someTotal, p.some10 = value(total), percent(share)
		case "full":
			p.fullTotal, p.full10 = value(total), percent(share)
		}
	}
	return p
}

// after is what follows the key in b.
func after(b []byte, key string) []byte {
	i := bytes.Index(b, []byte(key))
	if i < 0 {
		return nil
	}
	return b[i+len(key):]
}

// percent reads a number with two decimals.
func percent(b []byte) float64 {
	whole, rest := number(b)
	if whole < 0 {
		return unknown
	}
	if len(rest) < 3 || rest[0] != '.' {
		return float64(whole)
	}
	return float64(whole) + float64(max(value(rest[1:3]), 0))/100
}

// keyed is the number of a key in a file of "key value" lines.
func keyed(b []byte, key string) int64 {
	for l, rest, ok := line(b); ok; l, rest, ok = line(rest) {
		if k, v := pair(l); string(k) == key {
			return value(v)
		}
	}
	return unknown
}

// processStat is what /proc/PID/stat tells (proc_pid_stat(5)).
type processStat struct {
	comm    comm
	state   byte
	ticks   int64 // processor time in ticks of the kernel's clock
	threads int64
	start   int64 // when it began, in ticks since boot
}

// The fields of /proc/PID/stat after the name, the first of them being 3, the state.
const (
	statUser, statSystem, statThreads, statStart = 14 - 3, 15 - 3, 20 - 3, 22 - 3
)

// parseProcessStat reads "PID (NAME) STATE ...", where the name can have anything in it.
func parseProcessStat(b []byte) (s processStat, ok bool) {
	begin, end := bytes.IndexByte(b, '('), bytes.LastIndex(b, []byte(") "))
	if begin < 0 || end < begin {
		return s, false
	}
	s.comm.set(b[begin+1 : min(end, begin+1+commLength)])
	rest := b[end+2:]
	if len(rest) == 0 {
		return s, false
	}
	s.state = rest[0]
	field := 0
	for ; field <= statStart && len(rest) > 0; field++ {
		var f []byte
		f, rest, _ = bytes.Cut(rest, []byte{' '})
		switch field {
		case statUser, statSystem:
			s.ticks += max(value(f), 0)
		case statThreads:
			s.threads = value(f)
		case statStart:
			s.start = value(f)
		}
	}
	return s, field > statStart && s.start >= 0
}

// ended reports whether it runs no more and only waits for its parent to notice.
func (s *processStat) ended() bool { return s.state == 'Z' || s.state == 'X' }

// processStatus is what /proc/PID/status tells (proc_pid_status(5)). Memory is in KiB, 0 where there is none (kernel
// threads, processes that have ended).
type processStatus struct {
	uid                                  int64
	first                                bool // it is process 1 of a PID namespace of its own
	total, anon, file, shmem, pageTables int64
}

func parseProcessStatus(b []byte) processStatus {
	s := processStatus{uid: unknown}
	split := false // it tells of what the resident set consists: since Linux 4.5
	for l, rest, ok := line(b); ok; l, rest, ok = line(rest) {
		key, v := pair(l)
		kib := max(value(v), 0)
		switch string(key) {
		case "Uid": // real, effective, saved, file system
			s.uid = value(v)
		case "NSpid": // its pid in each namespace, the outermost first
			i := bytes.LastIndexByte(v, '\t')
			s.first = i > 0 && string(v[i+1:]) == "1"
		case "VmSize":
			s.total = kib
		case "VmPTE":
			s.pageTables = kib
		case "VmRSS":
			if !split {
				s.anon = kib
			}
		case "RssAnon":
			s.anon, split = kib, true
		case "RssFile":
			s.file = kib
		case "RssShmem":
			s.shmem = kib
		}
	}
	return s
}

// upperDirectory is the writable directory of the overlay that is mounted at / in the text of
// /proc/PID/mountinfo (proc_pid_mountinfo(5)), as the file system above has it.
func upperDirectory(b []byte) (dir string, ok bool) {
	for l, rest, more := line(b); more; l, rest, more = line(rest) {
		mount, super, _ := bytes.Cut(l, []byte(" - "))
		fields := bytes.Fields(mount)
		if len(fields) < 5 || string(fields[4]) != "/" || !bytes.HasPrefix(super, []byte("overlay ")) {
			continue
		}
		upper := after(super, ",upperdir=")
		if upper == nil {
			return "", false // mounted read only
		}
		upper, _, _ = bytes.Cut(upper, []byte{','})
		if bytes.IndexByte(upper, '\\') >= 0 || len(upper) == 0 || upper[0] != '/' {
			return "", false // no runtime names its directories so
		}
		return string(upper), true
	}
	return "", false
}
