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
	// Limit is the limit that fired; its scope is ScopeNode, ScopeCpuset or ScopeCgroup (owner says what a
	// cgroup is), and without a header ScopeUnknown, unless the line itself says that it was the node.
	Limit        Limit
	Invoker      string
	Memory       Memory
	Tasks        []Process
	TasksLeftOut int
	// Group is the pid that the kernel chose where it kills a whole cgroup, 0 else.
	Group int
	// Header says that the kernel logged who asked for memory and for which limit.
	Header bool
	// Repeated is how many more lines told of this kill: a group kill can name its victim twice, and counts it twice. Read
	// live, such a line is a report of its own, with the same PID soon after; and that the whole group is
	// killed is one with the Seq of the victim's, and its Group.
	Repeated int
}

// Lost says that the kernel log was not read whole.
type Lost struct {
	// Records is how many are missing between two that were read.
	Records uint64
	Time    time.Time
}

// Rise is what a counter tells: a cgroup, or the node, counted more kills than at
// the last look. Those of cgroups tell each kill once, those of the node all of them again.
type Rise struct {
	// Cgroup is the path; empty is the node (/proc/vmstat).
	Cgroup string
	// CgroupID is the inode of its directory: another cgroup with the same path has another.
	CgroupID uint64
	// Kills is how many kills this tells of, which no other Rise of a cgroup does. It is 0
	// where only Total is told: at first sight, at the end, and on v2 of the cgroups above one with a kill.
	Kills int64
	// Local is how many of Kills were of processes in this very cgroup: all of them, or none
	// where Gone is set; -1 where the kernel does not tell (v2 before Linux 5.2).
	Local int64
	// Total is the counter's value now: on v1 of this cgroup alone, on v2 with all below. It is what
	// a baseline is compared with after a restart.
	Total int64
	// LimitCgroup is whose limit fired: this cgroup, or one above it. It is empty where the
	// counters do not tell, as when several fired at the same time, or the node's.
	LimitCgroup string
	// LimitHit says that it was this very cgroup's.
	LimitHit bool
	// Limit is the limit of LimitCgroup in bytes, 0 where that is not known.
	Limit int64
	// Since and Time are the last look before and this one.
	Since, Time time.Time
	// Born is a time before which the cgroup was not there, zero where that is not known: no kill before it was in it.
	Born time.Time
	// Gone says that a cgroup was removed: with Kills 0 this one, whose Total is no longer
	// needed; with Kills more than 0, on v2, some below this one, which counted them before they were seen.
	Gone bool
	// Processes are who was in the cgroup just before or at the kill, those with the most memory
	// first, where that could be read.
	Processes []Process
}

// Notice is what a runtime, the kubelet or the API tells: of a container, without a count.
type Notice struct {
	Witness Witness
	Time    time.Time
	// Container has at least an ID, or a pod and a name; empty for a SystemOOM.
	Container Container
	// Cgroup is set where the source names it: systemd-oomd does.
	Cgroup string
	// Process is set where the source names it.
	Process Process
	// ExitCode and Reason are of a pod's status. The reason systemd-oomd says that it was not the kernel that killed.
	ExitCode int
	Reason   string
}

// Victim is what the kernel noted of a process at the moment at which it killed it for want of memory.
type Victim struct {
	// Monotonic is the time since boot (CLOCK_MONOTONIC), and Time the wall clock then, by what both
	// are now.
	Monotonic time.Duration
	Time      time.Time
	// Process has the PID, the name, and the user, -1 where that is not known.
	Process Process
	// Cgroup is the victim's, empty where it is not known; CgroupID is the inode of its directory.
	Cgroup   string
	CgroupID uint64
	// Limit is the limit that fired: ScopeCgroup with its cgroup and size, or ScopeNode.
	Limit Limit
}
