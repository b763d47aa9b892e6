package daemon

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is USER_HZ, which every Linux that Go runs on has at 100.
const clockTick = time.Second / 100

// Usage is what a process uses.
type Usage struct {
	// RSS is its resident set now, Peak the highest ever (VmHWM), in bytes.
	RSS, Peak int64
	// CPU is the processor time that it has used so far, in steps of 10 ms.
	CPU time.Duration
	// Threads is how many it has.
	Threads int64
}

// UsageOf asks the kernel about a process (proc(5)).
func UsageOf(pid int) (Usage, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return Usage{}, err
	}
	u := Usage{RSS: -1, Peak: -1, Threads: -1}
	for line := range strings.Lines(string(status)) {
		key, rest, _ := strings.Cut(line, ":")
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			continue // not a number, and none of these three
		}
		switch key {
		case "VmRSS":
			u.RSS = n << 10
		case "VmHWM":
			u.Peak = n << 10
		case "Threads":
			u.Threads = n
		}
	}
	if u.RSS < 0 || u.Peak < 0 {
		return Usage{}, fmt.Errorf("%s/status: no VmRSS or VmHWM: the process has ended", dir)
	}
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return Usage{}, err
	}
	u.CPU, err = cpuOf(string(stat))
	return u, err
}

// cpuOf adds fields 14 and 15 of /proc/PID/stat. The second one, the program's
// name in parentheses, may hold spaces.
func cpuOf(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const utime, stime = 14 - 3, 15 - 3
	if len(fields) <= stime {
		return 0, fmt.Errorf("/proc/PID/stat is in no known format: %q", stat)
	}
	user, err := strconv.ParseInt(fields[utime], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[stime], 10, 64)
	return time.Duration(user+system) * clockTick, err
}
