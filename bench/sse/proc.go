package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// What the kernel says of a process, and of TCP; 0 where it says nothing.

func rss(pid int) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// cpuSeconds is what it used, in ticks of which Linux has a hundred a second (proc_pid_stat(5)).
func cpuSeconds(pid int) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

func descriptors(pid int) int {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(entries)
}

// tcpMemory is what all TCP sockets of this network namespace hold, in bytes.
func tcpMemory() int64 {
	text, _ := os.ReadFile("/proc/net/sockstat")
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 10 && fields[0] == "TCP:" {
			pages, _ := strconv.ParseInt(fields[10], 10, 64)
			return pages * int64(os.Getpagesize())
		}
	}
	return 0
}
