package oom

import (
	"path/filepath"
	"time"
)

// Filter chooses kills. Empty fields choose all.
type Filter struct {
	Since     time.Time
	Namespace string
	// Pod, Container, Workload are names; Workload is Kind/name or the name alone.
	Pod, Container, Workload string
	// Cgroup is a path: kills in it and below it.
	Cgroup string
	// Limit is the most kills, the newest; 0 is [MaxKills].
	Limit int
}

// MaxKills bounds the kills of one answer.
const MaxKills = 10_000

// Sample is the memory of one cgroup or container at one moment. Values are bytes unless they say otherwise, -1
// is not known.
type Sample struct {
	Time       time.Time `json:"time"`
	Usage      int64     `json:"usage"`
	WorkingSet int64     `json:"working_set"`
	Limit      int64     `json:"limit"` // the least of its own and of those above it; 0 is none
	Anon       int64     `json:"anon"`
	File       int64     `json:"file"`
	Shmem      int64     `json:"shmem"`
	Kernel     int64     `json:"kernel"` // slab, stacks, page tables and the rest
	Sock       int64     `json:"sock"`
	Swap       int64     `json:"swap"`
	PIDs       int64     `json:"pids"`
	// CPU is the processor time used so far.
	CPU time.Duration `json:"cpu_ns"`
	// PressureSome and PressureFull are the time so far in which some, or all, processes waited for memory (PSI); -1 where the kernel has none.
	PressureSome time.Duration `json:"pressure_some_ns"`
	PressureFull time.Duration `json:"pressure_full_ns"`
	// Top are the processes with the most memory, at most [TopProcesses].
	Top []Process `json:"top,omitempty"`
}

// TopProcesses bounds the processes that a sample names.
const TopProcesses = 3

// Usage is what a container uses now.
type Usage struct {
	Container Container `json:"container"`
	Cgroup    string    `json:"cgroup"`
	Sample    Sample    `json:"sample"`
	// Cores is the processor use over the last seconds, 1 is one core.
	Cores float64 `json:"cores"`
	// Trend is the change of the working set in bytes a minute, over the last minutes; TrendSpan says over how long.
	Trend     int64         `json:"trend"`
	TrendSpan time.Duration `json:"trend_span_ns"`
	// Disk and Inodes are what the container wrote into its own layer; -1 where that is not known.
	Disk   int64 `json:"disk"`
	Inodes int64 `json:"inodes"`
	// Kills are those of the ledger in this container, and LastKill the newest.
	Kills    int64     `json:"kills"`
	LastKill time.Time `json:"last_kill,omitzero"`
	// Started is when its first process began; zero is not known.
	Started time.Time `json:"started,omitzero"`
	// Gone is when the container ended, zero while it runs.
	Gone time.Time `json:"gone,omitzero"`
}

// ProcessUsage is what a process uses now.
type ProcessUsage struct {
	Process
	Container Container `json:"container,omitzero"`
	Cgroup    string    `json:"cgroup"`
	Cores     float64   `json:"cores"`
	Started   time.Time `json:"started,omitzero"`
}

// NodeUsage is what the machine uses now, in bytes as /proc/meminfo has it.
type NodeUsage struct {
	Name      string    `json:"name"`
	Time      time.Time `json:"time"`
	Total     int64     `json:"total"`
	Available int64     `json:"available"`
	Free      int64     `json:"free"`
	Buffers   int64     `json:"buffers"`
	Cached    int64     `json:"cached"`
	Slab      int64     `json:"slab"`
	SwapTotal int64     `json:"swap_total"`
	SwapFree  int64     `json:"swap_free"`
	Cores     float64   `json:"cores"` // in use
	CPUs      int       `json:"cpus"`
	// Trend is the change of Available in bytes a minute.
	Trend int64 `json:"trend"`
	// PressureSome and PressureFull are the shares of the last ten seconds in percent, -1 where the kernel has no PSI.
	PressureSome float64 `json:"pressure_some"`
	PressureFull float64 `json:"pressure_full"`
	// Kills counts all OOM kills since boot (oom_kill of /proc/vmstat).
	Kills int64 `json:"kills"`
	// GroupKill says of how many containers a kill takes all processes, of how many one, and of how many it is not known.
	GroupKill [3]int `json:"group_kill"`
	// DiskTotal, DiskFree, InodesTotal and InodesFree are of the file system of the runtime's data, -1 where that is not known.
	DiskTotal   int64 `json:"disk_total"`
	DiskFree    int64 `json:"disk_free"`
	InodesTotal int64 `json:"inodes_total"`
	InodesFree  int64 `json:"inodes_free"`
}

// WitnessReport says how one witness does.
type WitnessReport struct {
	Name Witness `json:"name"`
	// State is ok, off (it is not here), or failed.
	State string `json:"state"`
	// Detail says where it reads, or what is lost without it and what to do.
	Detail string `json:"detail"`
}

// LedgerStatus says what the ledger holds and has dropped.
type LedgerStatus struct {
	Kills   int64     `json:"kills"`
	Oldest  time.Time `json:"oldest,omitzero"`
	Bytes   int64     `json:"bytes"`
	Dropped int64     `json:"dropped"` // kills dropped for age or space, ever
	// Unattributed counts kills of which nothing but a count is known.
	Unattributed int64 `json:"unattributed"`
	// LostRecords counts records of the kernel log that were overwritten before they were read.
	LostRecords uint64 `json:"lost_records"`
	// Fault says why the ledger cannot be written at the moment; empty is well.
	Fault string `json:"fault,omitempty"`
}

// Gauge is one of an application's own metrics, as it was read from it: the sum over its labels.
type Gauge struct {
	Name   string       `json:"name"`
	Points []GaugePoint `json:"points"`
}

// GaugePoint is a value at a time. It is finite.
type GaugePoint struct {
	Time  time.Time `json:"time"`
	Value float64   `json:"value"`
}

// MaxHeap bounds one heap profile, in bytes as it is stored. A program with 100,000 places that allocate has some 3 MiB.
const MaxHeap = 8 << 20

// Heap is a heap profile that the agent took of a program.
type Heap struct {
	ID        string    `json:"id"`
	Time      time.Time `json:"time"`
	Cgroup    string    `json:"cgroup"`
	Container Container `json:"container,omitzero"`
	// Life tells the processes of one cgroup apart: profiles of the same life are of the same process.
	Life string `json:"life"`
	// Reason is baseline, 80% or 95%: of the limit, in its working set.
	Reason     string `json:"reason"`
	WorkingSet int64  `json:"working_set"`
	Limit      int64  `json:"limit"` // 0 is none
	// Bytes is what the profile takes on disk.
	Bytes int64 `json:"bytes"`
}

// InspectStatus counts what an agent asked of applications.
type InspectStatus struct {
	// Targets are cgroups that it asks now.
	Targets int `json:"targets"`
	// Metrics and Heaps were read since the agent began, the others could not be.
	Metrics       int64 `json:"metrics"`
	MetricsFailed int64 `json:"metrics_failed"`
	Heaps         int64 `json:"heaps"`
	HeapsFailed   int64 `json:"heaps_failed"`
	// HeapBytes is what all heap profiles take on disk.
	HeapBytes int64 `json:"heap_bytes"`
}

// IncidentsStatus says how an agent's incidents do.
type IncidentsStatus struct {
	// Going have not ended.
	Going int `json:"going"`
	// Bytes is what all take on disk.
	Bytes int64 `json:"bytes"`
	// Fault says why they cannot be kept at the moment; empty is well.
	Fault string `json:"fault,omitempty"`
	// Queued events wait to be sent to stellad; the others were sent since the agent began, were refused there, or were dropped before they got there.
	Queued  int64 `json:"queued"`
	Sent    int64 `json:"sent"`
	Refused int64 `json:"refused"`
	Dropped int64 `json:"dropped"`
}

// AgentStatus is what an agent says of itself.
type AgentStatus struct {
	Version    string          `json:"version"`
	Node       string          `json:"node"`
	Boot       string          `json:"boot"`
	Started    time.Time       `json:"started"`
	Containers int             `json:"containers"`
	Witnesses  []WitnessReport `json:"witnesses"`
	Ledger     LedgerStatus    `json:"ledger"`
	Inspect    InspectStatus   `json:"inspect"`
	Incidents  IncidentsStatus `json:"incidents"`
	Resident   int64           `json:"resident"` // of the agent itself, in bytes
}

// KillEvent is an event of the stream of kills. Its ID is the cursor to go on from.
type KillEvent struct {
	Kill Kill `json:"kill"`
	// Updated says that the kill was told before, and more is known of it now.
	Updated bool `json:"updated"`
	// Missed counts events that were left out before this one, because the reader was slow: ask for the list.
	Missed int64 `json:"missed,omitempty"`
}

// Socket is where an agent listens for commands of the same machine unless it is
// told otherwise; "" where there is no place for it.
func Socket(uid int, runtimeDir string) string {
	switch {
	case uid == 0:
		return "/run/stella/agent.sock"
	case runtimeDir == "":
		return ""
	}
	return filepath.Join(runtimeDir, "stella", "agent.sock")
}
