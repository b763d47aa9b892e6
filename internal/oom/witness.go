package oom

import "time"

// Report is what the kernel log tells of one kill. A report without a header (the
// kernel logs ten in five seconds) has a process and nothing else.
type Report struct {
	// Seq is the sequence number of the record "Killed process" in /dev/kmsg; 0 in files.
	Seq uint64
	// Monotonic is the time since boot of that line, 0 where the format has none.
	Monotonic time.Duration
	// Time is the wall clock; zero where the format has only a time since boot.
	Time time.Time
	// Node is the host's name, where the format has it.
	Node    string
	Process Process
	// Cgroup is the victim's (task_memcg, or "Task in"); empty without a header.
	Cgroup string
	// Limit is the limit that fired; its scope is ScopeUnknown without a header, and
	// otherwise ScopeNode, ScopeCpuset or ScopeCgroup: owner says what a cgroup is.
	Limit        Limit
	Invoker      string
	Memory       Memory
	Tasks        []Process
	TasksLeftOut int
	// Group is the pid that the kernel chose where it kills a whole cgroup, 0 else.
	Group int
	// Header says that the kernel logged who asked for memory and for which limit.
	Header bool
	// Repeated is how many more lines told of this kill: a group kill can name its victim twice, and counts it twice.
	Repeated int
}

// Lost says that the kernel log was not read whole.
type Lost struct {
	// Records is how many are missing between two that were read.
	Records uint64
	Time    time.Time
}

// Rise is what a counter tells: a cgroup, or the node, counted more kills than at
// the last look.
type Rise struct {
	// Cgroup is the path; empty is the node (/proc/vmstat).
	Cgroup string
	// Kills is by how many the counter rose: on v1 in this cgroup alone, on v2 with all below. Local is
	// the rise in this cgroup alone, -1 where the kernel does not tell.
	Kills, Local int64
	// Total is the counter's value now.
	Total int64
	// LimitHit says that the limit of this very cgroup was hit (oom in memory.events.local; v1: the topmost cgroup that was notified).
	LimitHit bool
	// Limit is the cgroup's limit in bytes, 0 without one.
	Limit int64
	// Since and Time are the last look before and this one.
	Since, Time time.Time
	// Gone says that the cgroup was removed: this is its last value, or what the one above lost by it.
	Gone bool
	// Processes are who was in the cgroup at the moment of the kill, where that could be read.
	Processes []Process
}

// Notice is what a runtime, the kubelet or the API tells: of a container, without a count.
type Notice struct {
	Witness Witness
	Time    time.Time
	// Container has at least an ID, or a pod and a name; empty for a SystemOOM.
	Container Container
	// Process is set where the source names it.
	Process Process
	// ExitCode and Reason are of a pod's status.
	ExitCode int
	Reason   string
}
