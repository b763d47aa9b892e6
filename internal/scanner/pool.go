package scanner

import (
	"fmt"
	"regexp"
	"time"

	"stella/internal/bytesize"
)

// DefaultPool is the pool whose memory and count are the settings
// worker.memory_limit and worker.count. It cannot be removed.
const DefaultPool = "default"

const (
	// MinWorkerMemory is the least limit of a pool: a scan's budget of 32 MiB, and
	// 16 MiB for page tables, inodes and page cache, which a cgroup counts too.
	MinWorkerMemory = 48 << 20
	// MaxPools is the most pools that there can be.
	MaxPools = 64
	// MaxCount is the most workers of one pool.
	MaxCount = 256
)

// Pool is a number of workers with one memory limit. Each instance has them.
type Pool struct {
	Name string `json:"name"`
	// Memory is the limit of each worker in bytes.
	Memory int64 `json:"memory"`
	Count  int   `json:"count"`
	// Generation grows when the pool's workers are to be restarted.
	Generation int64 `json:"generation"`
}

var poolName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckPoolName refuses a name that is no DNS label (RFC 1123), as it becomes a
// part of names of cgroups, workers and metrics. The error ends a sentence that
// begins "NAME is".
func CheckPoolName(name string) error {
	if !poolName.MatchString(name) {
		return fmt.Errorf("no name of a pool: lower-case letters, digits and dashes, at most 63")
	}
	return nil
}

// Check finds what is wrong with a pool on a machine that has so many bytes for
// workers, where 0 is unknown.
func (p Pool) Check(machine int64) error {
	if err := CheckPoolName(p.Name); err != nil {
		return fmt.Errorf("pool %q is %w", p.Name, err)
	}
	switch {
	case p.Memory < MinWorkerMemory:
		return fmt.Errorf("pool %s: %s is less than a worker needs, %s", p.Name, bytesize.Text(p.Memory), bytesize.Text(MinWorkerMemory))
	case machine > 0 && p.Memory > machine:
		return fmt.Errorf("pool %s: a worker with %s does not fit on this machine, which has %s for all workers", p.Name, bytesize.Text(p.Memory), bytesize.Text(machine))
	case p.Count < 1 || p.Count > MaxCount:
		return fmt.Errorf("pool %s: %d workers: must be 1 to %d", p.Name, p.Count, MaxCount)
	}
	return nil
}

// WorkerState is what a worker does.
type WorkerState string

// The states of a worker.
const (
	WorkerStarting WorkerState = "starting"
	WorkerIdle     WorkerState = "idle"
	WorkerBusy     WorkerState = "busy"
	WorkerDraining WorkerState = "draining" // ends after its attempt
	WorkerWaiting  WorkerState = "waiting"  // not started: there is no memory for it now
)

// Worker is one worker of an instance, as it is now.
type Worker struct {
	// Name is POOL-NUMBER, numbered from 0 in each instance; the process behind it changes.
	Name     string      `json:"name"`
	Instance string      `json:"instance"`
	Pool     string      `json:"pool"`
	State    WorkerState `json:"state"`
	PID      int         `json:"pid,omitempty"`
	Started  time.Time   `json:"started,omitzero"`
	// Limit is what it runs with, in bytes; Wanted is the pool's limit where that
	// differs, because the worker has not been restarted since it was set.
	Limit  int64 `json:"limit"`
	Wanted int64 `json:"wanted,omitempty"`
	// Isolation is how the limit is kept: "cgroup v2", "cgroup v1", or "fallback:
	// resident set watched".
	Isolation string `json:"isolation"`
	// Memory is the use of its cgroup now without page cache that can be dropped
	// (of the process, in the fallback), and Peak the highest use during this attempt, in bytes.
	Memory int64 `json:"memory"`
	Peak   int64 `json:"peak"`
	// CPU is the share of one processor since the last sample, 1 is all of it.
	CPU float64 `json:"cpu"`
	// Job is what it works on, 0 for nothing; Image is the job's.
	Job      int64    `json:"job,omitempty"`
	Image    string   `json:"image,omitempty"`
	Progress Progress `json:"progress,omitzero"`
	// Moved is when its attempt last got further: when Progress, apart from RSS, last
	// changed, or when the attempt began. It is zero without an attempt.
	Moved time.Time `json:"moved,omitzero"`
	// Restarts counts the processes that ended under this name, by reason, since the instance started.
	Restarts map[RestartReason]int64 `json:"restarts,omitempty"`
	// LastExit is how the process before this one ended, nil where there was none.
	LastExit *Exit `json:"lastExit,omitempty"`
}

// Exit is how a worker's process ended.
type Exit struct {
	At       time.Time     `json:"at"`
	ExitCode int           `json:"exit_code"` // runbooks read this name
	Reason   RestartReason `json:"reason"`
	Job      int64         `json:"job,omitempty"`
	Kills    int64         `json:"kills,omitempty"`
	Limit    int64         `json:"limit"`
	Peak     int64         `json:"peak,omitempty"`
	Message  string        `json:"message,omitempty"`
}

// RestartReason is why a worker's process was replaced.
type RestartReason string

// The reasons, which are the values of a metric's label.
const (
	RestartOOM       RestartReason = "oom"
	RestartCrash     RestartReason = "crash"     // ended by itself, or by a signal from elsewhere
	RestartTimeout   RestartReason = "timeout"   // killed, because its attempt took too long
	RestartCancelled RestartReason = "cancelled" // killed, because its job was cancelled
	RestartRequested RestartReason = "requested" // somebody restarted the workers, or changed the pool
)

// RestartReasons are all of them.
var RestartReasons = []RestartReason{RestartOOM, RestartCrash, RestartTimeout, RestartCancelled, RestartRequested}
