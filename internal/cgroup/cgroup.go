// Package cgroup runs a child process inside a memory cgroup of its own, on
// cgroup v2 and on v1.
//
// Vocabulary: a [Group] is one cgroup directory made by this package, with a
// memory limit and no swap. [Probe] says whether this process may make one,
// where, and if not why not. The working set is the usage without the page cache
// that the kernel would drop first. [MemoryCeiling] is what this process and all
// that it starts may use together.
//
// Hazards:
//
//   - A process must be in its group before it runs a single instruction of its
//     own, or what it allocated earlier is charged elsewhere. On v2 the kernel
//     does that itself (clone3 with CLONE_INTO_CGROUP). On v1 there is no such
//     call; see [Group.Start] for what is done instead.
//   - The peak and current usage of a group count its page cache as well as its
//     anonymous memory. A program that writes a temporary file reaches its limit
//     without being in danger: the kernel reclaims clean cache before it kills.
//     Resident set size is a different figure; take it from rusage.
//   - On v2 a cgroup that holds processes cannot hand controllers to children,
//     so groups are made beside this process's cgroup before they are made in it.
//   - The kill counter is read from the group itself and is gone after Close.
//   - A counted kill need not come from the group's own limit: the kernel also counts
//     there when a cgroup above, or the whole machine, had no memory left. Then the
//     peak is well below the limit.
//   - Do not start a process in a group that others have filled to its limit. Until it runs its own
//     program it shares this process's memory (vfork), and if the kernel kills it, alone or with
//     its group, it kills with it every process that has the same memory, which is this one
//     (mm/oom_kill.c, __oom_kill_process). Give each child a group of its own, or start one
//     child in the group that starts the others: then it is that one's risk.
package cgroup

import (
	"errors"
	"fmt"
)

// Verdict is the answer of a probe.
type Verdict int

const (
	// Unknown means that the probe could not tell, and Reason says why.
	Unknown Verdict = iota
	// Yes means that a trial group could be made and removed.
	Yes
	// No means that this process cannot make memory cgroups here.
	No
)

// String returns "yes", "no" or "could not tell".
func (v Verdict) String() string {
	switch v {
	case Yes:
		return "yes"
	case No:
		return "no"
	}
	return "could not tell"
}

// Support says whether memory cgroups can be made by this process.
type Support struct {
	Verdict Verdict
	// Reason explains any verdict in one sentence; for No it ends with what
	// would change it.
	Reason string
	// Version is 1 or 2, or 0 where no memory controller was found.
	Version int
	// Parent is the directory below which groups are made; empty unless Yes.
	Parent string
}

// Limit is what a group may use.
type Limit struct {
	// Memory is the limit in bytes, rounded down to a page by the kernel.
	// Swap is always denied, so that the limit is a limit of real memory.
	Memory int64
	// High is the usage in bytes from which the kernel reclaims page cache in the
	// processes' own time and slows them down; 0 is none. Only v2 has it.
	High int64
	// KillGroup makes the kernel kill all processes of the group when it kills
	// one for want of memory. Only v2 has it; on v1 it kills one.
	KillGroup bool
}

// Stats are the counters of one group.
type Stats struct {
	// Peak is the highest usage in bytes, page cache included, since the group was
	// made or since [Group.ResetPeak]. It is 0 where the kernel keeps none (cgroup v2
	// before Linux 5.19).
	Peak int64
	// Current is the usage now in bytes, page cache included.
	Current int64
	// WorkingSet is Current without the page cache that was not used lately
	// (inactive_file of memory.stat), in bytes: what the kernel cannot drop at once.
	WorkingSet int64
	// OOMKills counts the processes of this group that the kernel killed for
	// want of memory, whichever limit fired. Where memory.oom.group makes the
	// kernel kill a whole group (v2), it can count the victim twice. On v1 it
	// needs Linux 4.13.
	OOMKills int64
	// Limit is the limit in bytes as the kernel rounded it.
	Limit int64
}

// ErrUnsupported is matched by every error that means that this process cannot
// make memory cgroups here.
var ErrUnsupported = errors.New("memory cgroups cannot be used here")

// ErrNoReset says that the kernel cannot begin a new peak (cgroup v2 before Linux
// 6.12), so that peaks are since the group was made.
var ErrNoReset = errors.New("this kernel cannot begin a new peak of a cgroup")

// ErrNoProcessLimit says that the number of a group's processes cannot be bounded here.
var ErrNoProcessLimit = errors.New("there is no pids controller that this process may use")

// Ceiling is a bound on memory, and where it comes from.
type Ceiling struct {
	// Bytes is the least of all bounds that were found.
	Bytes int64
	// Source is the file that says so.
	Source string
}

// UnsupportedError carries the probe that failed; it matches [ErrUnsupported].
type UnsupportedError struct {
	Support Support
}

// Error gives the verdict's reason.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%v: %s", ErrUnsupported, e.Support.Reason)
}

// Is reports whether target is [ErrUnsupported].
func (e *UnsupportedError) Is(target error) bool { return target == ErrUnsupported }
