// Package oom is the vocabulary of OOM kills: what a kill is, who saw it, which
// limit fired, and whose container it was.
//
// Words: a [Kill] is one process that the kernel's OOM killer killed. The victim is
// that process; the limit that fired is that of the cgroup which had no memory
// left, which is the victim's own, one above it, or none (the node itself). A
// [Witness] is a source that tells of kills: the kernel log, counters of cgroups, a
// container runtime, the kubelet. No single one sees all: the log leaves out
// cgroups in a burst and counters leave out processes. A [Report] is what the log
// tells of one kill, a [Rise] what a counter tells, a [Notice] what a runtime or
// Kubernetes tells. The ledger joins them: each kill once.
//
// The packages below are kmsg (the kernel log, live and in files), counters,
// trace and notice (the other witnesses), owner (whose cgroup it is), samples (memory over
// time), ledger (joins, keeps) and analyze (files of logs, offline). This package runs nothing.
//
// Hazards:
//
//   - Exit code 137 and the reason OOMKilled are no proof of an OOM kill; a line of
//     the kernel log or a counter is.
//   - On cgroup v1 a kill is counted in the victim's own cgroup and nowhere above; on
//     v2 in it and in all above.
//   - With memory.oom.group the kernel counts, and can log, the victim twice.
//   - A path of a cgroup here is as the kernel log has it: from the root of the
//     hierarchy of the machine, whatever is mounted here.
//   - The JSON of these types is the agent's HTTP API.
package oom

import "time"

// Witness is a source that told of a kill.
type Witness string

// The witnesses.
const (
	WitnessLog     Witness = "kernel-log"     // the line "Killed process"
	WitnessCounter Witness = "cgroup-counter" // oom_kill of the victim's cgroup, or of one above it
	WitnessNode    Witness = "node-counter"   // oom_kill of /proc/vmstat
	WitnessTrace   Witness = "tracepoint"     // oom:mark_victim
	WitnessBPF     Witness = "bpf"            // what a program in the kernel noted of each victim
	WitnessRuntime Witness = "runtime"        // containerd's TaskOOM, CRI-O's oom file
	WitnessKubelet Witness = "kubelet"        // its log, or the event SystemOOM
	WitnessStatus  Witness = "pod-status"     // reason OOMKilled
	WitnessSystemd Witness = "systemd"        // "killed by the OOM killer", systemd-oomd
)

// Confidence grades how sure it is that there was this kill, of this process, in this cgroup.
type Confidence string

// The grades, the surest first.
const (
	// Certain: the kernel logged or noted the process, and the log, the note, a counter or the
	// process itself (read before it was gone) names the cgroup.
	Certain Confidence = "certain"
	// Strong: the kernel logged or counted it, but which of several cgroups it was, or
	// which process, follows from counts and time alone; Kill.Doubt says what.
	Strong Confidence = "strong"
	// Weak: no witness in the kernel; a runtime or Kubernetes says so.
	Weak Confidence = "weak"
)

// Scope says whose limit fired.
type Scope string

// The scopes.
const (
	ScopeContainer Scope = "container" // the container's own limit
	ScopePod       Scope = "pod"       // the pod's: of all its containers together
	ScopeParent    Scope = "parent"    // a cgroup above: a QoS class, all pods, a systemd slice
	ScopeCgroup    Scope = "cgroup"    // the victim's own cgroup, which is no container
	ScopeNode      Scope = "node"      // the machine had no memory left
	ScopeCpuset    Scope = "cpuset"    // the NUMA nodes that the process may use had none left
	ScopeUnknown   Scope = "unknown"   // nothing that is left tells
)

// CgroupLimit is the memory limit of one cgroup, as the kernel has it.
type CgroupLimit struct {
	Cgroup string `json:"cgroup"`
	// Bytes is 0 for none.
	Bytes int64 `json:"bytes"`
}

// Limit is the limit that fired.
type Limit struct {
	Scope Scope `json:"scope"`
	// Cgroup is the path of the cgroup whose limit it is; empty for the node.
	Cgroup string `json:"cgroup,omitempty"`
	// Bytes is the limit; 0 is not known. For the node it is its memory.
	Bytes int64 `json:"bytes,omitempty"`
	// Usage is what was used below it, in bytes, as the kernel logged it; 0 is not known.
	Usage int64 `json:"usage,omitempty"`
	// Failures is how often the limit had been hit (failcnt, v1); 0 is not known.
	Failures int64 `json:"failures,omitempty"`
}

// Process is the memory of a process at its death, in bytes; 0 where it is not told.
type Process struct {
	PID  int    `json:"pid"`
	Comm string `json:"comm"`
	// UID is -1 where it is not told.
	UID        int   `json:"uid"`
	Total      int64 `json:"total,omitempty"` // address space (total-vm)
	Anon       int64 `json:"anon,omitempty"`
	File       int64 `json:"file,omitempty"`
	Shmem      int64 `json:"shmem,omitempty"`
	PageTables int64 `json:"page_tables,omitempty"`
	// RSS is the resident set where its kinds are not told (the task table before Linux 6.8); 0 where they are.
	RSS int64 `json:"rss,omitempty"`
	// ScoreAdj is oom_score_adj.
	ScoreAdj int `json:"score_adj,omitempty"`
}

// Resident is the resident set in bytes.
func (p Process) Resident() int64 { return max(p.RSS, p.Anon+p.File+p.Shmem) }

// Memory is what a cgroup or the node used by kind, in bytes, as the kernel logged it;
// kinds that it did not log are 0.
type Memory struct {
	Anon       int64 `json:"anon,omitempty"`
	File       int64 `json:"file,omitempty"`  // page cache, tmpfs and shared memory not counted
	Shmem      int64 `json:"shmem,omitempty"` // tmpfs, shared memory
	Kernel     int64 `json:"kernel,omitempty"`
	Slab       int64 `json:"slab,omitempty"`
	Sock       int64 `json:"sock,omitempty"`
	PageTables int64 `json:"page_tables,omitempty"`
	Stack      int64 `json:"kernel_stack,omitempty"`
	Swap       int64 `json:"swap,omitempty"`
}

// MaxTasks bounds the processes that a kill keeps of the task table: the victim and those with the most memory.
const MaxTasks = 32

// Kill is one process killed for want of memory, or several that were only counted.
type Kill struct {
	// ID is short and stays the same for ever.
	ID string `json:"id"`
	// Boot is the boot id of the kernel; empty for a kill read from a file.
	Boot string `json:"boot,omitempty"`
	// Time is when it happened; for counted kills, when the counter was seen to have risen.
	Time time.Time `json:"time"`
	// Since is for counted kills the last look at which the counter had not risen.
	Since time.Time `json:"since,omitzero"`
	// Count is 1, or how many kills a counter told of that no line explains.
	Count int64 `json:"count"`
	// Process is the victim. Its PID is 0 where only a counter tells of the kill.
	Process Process `json:"process"`
	// Cgroup is the path of the victim's cgroup; empty where it is not known.
	Cgroup string `json:"cgroup,omitempty"`
	Limit  Limit  `json:"limit"`
	// Invoker is the process that asked for memory, where the log names it.
	Invoker string `json:"invoker,omitempty"`
	// Memory is what was used below the limit that fired, by kind.
	Memory Memory `json:"memory,omitzero"`
	// Tasks are processes that could have been the victim, the largest first, at most [MaxTasks].
	Tasks []Process `json:"tasks,omitempty"`
	// TasksLeftOut is how many more the kernel logged.
	TasksLeftOut int `json:"tasks_left_out,omitempty"`
	// Group is set where the kernel killed a whole cgroup: the pid that it chose.
	Group int `json:"group,omitempty"`
	// Container is whose cgroup it is.
	Container Container `json:"container,omitzero"`
	// MainSurvived says whether the container's first process lived on: then no
	// restart shows the kill. Nil is not known.
	MainSurvived *bool `json:"main_survived,omitempty"`
	// Witnesses are who told of it, in the order of the constants.
	Witnesses  []Witness  `json:"witnesses"`
	Confidence Confidence `json:"confidence"`
	// Doubt says in a sentence what is not certain, and why.
	Doubt string `json:"doubt,omitempty"`
}

// Unattributed reports whether nothing but a count is known of the kill: no process and no cgroup.
func (k *Kill) Unattributed() bool { return k.Process.PID == 0 && k.Cgroup == "" }

// Container is whose cgroup it is, as far as it is known. All but the IDs may be empty.
type Container struct {
	ID        string `json:"id,omitempty"` // 64 hexadecimal digits, as in the cgroup's path
	Runtime   string `json:"runtime,omitempty"`
	Name      string `json:"name,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty"`
	PodUID    string `json:"pod_uid,omitempty"`
	QoS       string `json:"qos,omitempty"`
	// Workload is the owner furthest up, such as Deployment/web or CronJob/backup. WorkloadGuessed
	// says that it follows from the pod's name alone.
	Workload        string `json:"workload,omitempty"`
	WorkloadGuessed bool   `json:"workload_guessed,omitempty"`
	Image           string `json:"image,omitempty"`
	Node            string `json:"node,omitempty"`
	// Unit is the systemd unit, for what is no container.
	Unit string `json:"unit,omitempty"`
	// Request and LimitBytes are memory in bytes, as the pod asks for; 0 is none or not known.
	Request    int64 `json:"request,omitempty"`
	LimitBytes int64 `json:"limit,omitempty"`
	// GroupKill says whether a kill takes the whole container (memory.oom.group); nil is not known.
	GroupKill *bool `json:"group_kill,omitempty"`
}
