//go:build linux

// Command hog misbehaves on purpose: it is the program whose memory the tests
// watch, on this machine, in containers and in virtual machines. It is one static
// file that needs nothing beside it, so an image may hold it alone:
//
//	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o hog ./test/hog
//
// Vocabulary: a mode is one way to misbehave (hog --help lists them). A line is
// what hog prints for each step, always "hog: " and then words and whole numbers;
// tests wait for lines, not for time. A child is hog again, started from
// /proc/self/exe, with a name of its own ("hog.1") before its lines and in the kernel's log.
//
// The lines are these, without "hog: ". HOW is "exit status 3" or "signal: killed".
//
//	pauses                        pause
//	holds N bytes                 hold, leak, spike, sawtooth and children, whenever the amount has changed
//	leaks, leaked all             leak, before its first step and at its limit
//	child I started: pid P        child, child-exit, fork-storm
//	child I ended: HOW            the same
//	all children started, ended   child, fork-storm
//	wrote N bytes, read N bytes   tmpfs, page-cache
//	opened N connections          connections
//	orphan P ended: HOW           every mode, as PID 1
//	ignores terminated            every mode, with --ignore-term
//	ends: terminated              every mode, as its last, or ends: interrupt
//	exits with CODE               exit, child-exit, as their last
//
// What each kind of memory is made by:
//
//	anonymous    hold, leak, spike, sawtooth, and every child
//	shared       tmpfs (shmem in memory.stat)
//	page cache   page-cache
//	sockets      connections (sock in memory.stat of v2; v1 counts them apart)
//
// Hazards:
//
//   - A size is exact: memory is mapped without huge pages and every page is
//     touched. A cgroup counts more than that: a little over 1 MiB for each hog, a
//     512th for page tables, and sometimes the pages of hog's file.
//   - Without a limit of the kernel's, only hog's own bounds hold: 16 GiB, 512
//     children, 10,000 connections; leak stops at 1 GiB if it is not told otherwise.
//   - With memory.oom.group=1 (the default of Kubernetes on cgroup v2) the kernel
//     kills the parent together with the child.
//   - The file of tmpfs outlives a kill, as in life: it counts until hog starts again
//     in that directory, or the tmpfs goes.
//
// Exit codes: 0 after SIGTERM, SIGINT or the time given; 1 for what failed; 2 for
// misuse; that which was asked for.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
)

func init() {
	// The kernel kills children when the thread that started them ends (see
	// start): so it is the first thread, which ends with the process.
	runtime.LockOSThread()
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// exitCode is the error of a mode that was asked to exit with it.
type exitCode int

// Error names the code.
func (c exitCode) Error() string { return fmt.Sprintf("exit %d", int(c)) }

// run returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	start, settings, err := parse(args)
	if help, ok := errors.AsType[helpText](err); ok {
		fmt.Fprint(stdout, help.Error())
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	h, err := newHog(settings, stdout)
	if err == nil {
		err = start(h)
	}
	if code, ok := errors.AsType[exitCode](err); ok {
		h.say("exits with %d", int(code))
		return int(code)
	}
	if told, ok := errors.AsType[toldToEnd](err); ok {
		h.say("ends: %v", told)
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", settings.name, err)
		return 1
	}
	return 0
}
