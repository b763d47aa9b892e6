// Package scanner is the vocabulary and the rules of the scanner service: many
// scans, each run by a worker with a memory limit, none of them ever lost.
//
// Words: a [Job] is one scan that was asked for, of one image by digest; requests
// for the same image share it. An [Attempt] is one try of a job by one [Worker], a
// child process in a memory cgroup of its own. A [Pool] is a number of workers with
// one limit. An incident is what people deal with when the kernel's OOM killer ended attempts of a job; a [WorkerKill] is one such
// attempt, with the evidence and what was done. An image is in quarantine when it has killed a
// worker of the largest pool: it is not tried again until a larger pool exists, the
// way it is scanned has changed, or a person says so. An instance is one stellad;
// several share one database.
//
// The packages below: queue keeps jobs, attempts and results in a database, worker
// runs one attempt at a time in a child process, service has the pools and decides
// what runs, client talks to a server. This package runs nothing and stores
// nothing: what [Route] decides, it decides from its arguments.
//
// Hazards:
//
//   - Exit code 137 is not an OOM kill. Only the counter of the worker's cgroup,
//     read after the worker was waited for, makes an outcome [OutcomeOOM].
//   - An attempt can outlive its instance's claim on it, for instance when the
//     instance was stopped for a while. Ending an attempt is fenced: only the one
//     that is current can end, once.
//   - The JSON of these types is the HTTP API's.
package scanner

import "time"

// Status is where a job stands.
type Status string

// The statuses of a job. All but the first two are final.
const (
	StatusPending   Status = "pending"   // waits for a worker
	StatusRunning   Status = "running"   // a worker has it
	StatusSucceeded Status = "succeeded" // there is a result, which may be partial
	StatusFailed    Status = "failed"    // Reason and Message say why
	StatusTimeout   Status = "timeout"   // not done within timeouts.scan, or the request's own time
	StatusCancelled Status = "cancelled" // somebody cancelled it
)

// Statuses are all of them, in the order in which a job goes through them.
var Statuses = []Status{StatusPending, StatusRunning, StatusSucceeded, StatusFailed, StatusTimeout, StatusCancelled}

// Final reports whether a job with this status has ended.
func (s Status) Final() bool { return s != StatusPending && s != StatusRunning }

// Outcome is how an attempt ended.
type Outcome string

// The outcomes of an attempt.
const (
	OutcomeSucceeded Outcome = "succeeded"
	OutcomeOOM       Outcome = "oom"       // killed by the kernel for want of memory (the cgroup's counter says so), or by the runtime: "fatal error: runtime: out of memory"; where no cgroup keeps the limit, by stellad
	OutcomeMemory    Outcome = "memory"    // refused before it was tried: the image needs more than the budget
	OutcomeError     Outcome = "error"     // the scan failed: an image that cannot be read, a digest that is wrong, a full disk
	OutcomeTimeout   Outcome = "timeout"   // the time was up
	OutcomeCancelled Outcome = "cancelled" // somebody cancelled the job, or restarted the worker at once
	OutcomeKilled    Outcome = "killed"    // the worker ended otherwise: a signal from elsewhere, a crash
	OutcomeLost      Outcome = "lost"      // the instance that had it ended, or was not heard of; or the worker had ended before it began
)

// Outcomes are all of them.
var Outcomes = []Outcome{OutcomeSucceeded, OutcomeOOM, OutcomeMemory, OutcomeError, OutcomeTimeout, OutcomeCancelled, OutcomeKilled, OutcomeLost}

// Request asks for a scan.
type Request struct {
	// Image is the reference, as the user wrote it.
	Image string `json:"image" doc:"the image's reference, such as debian:12" maxLength:"4096" minLength:"1"`
	// Platform chooses from an index: os/architecture[/variant]. Empty is the server's own.
	Platform string `json:"platform,omitempty" doc:"os/architecture[/variant], for an index of several platforms" maxLength:"64"`
	// Pool is the pool that tries first. Empty leaves it to the routing.
	Pool string `json:"pool,omitempty" doc:"the pool that tries first; empty leaves it to the routing" maxLength:"63"`
	// Timeout bounds each attempt, 0 is timeouts.scan.
	Timeout Duration `json:"timeout,omitempty" doc:"the most time of each attempt, such as 30m; empty is timeouts.scan"`
	// Retry takes the image out of quarantine and tries the last failed job of it again.
	Retry bool `json:"retry,omitempty" doc:"try the last failed job of this image again, also one in quarantine"`
	// Attach pushes the SBOM to the image's registry, as an OCI referrer.
	Attach bool `json:"attach,omitempty" doc:"push the SBOM to the image's registry as a referrer"`
}

// Target is what a reference led to when the scan was asked for.
type Target struct {
	// Digest is of the chosen manifest; "" where there is none (docker-archive:, dir:).
	Digest string `json:"digest,omitempty"`
	// Size is the sum of the layers as they are stored, in bytes; -1 where nothing says.
	Size int64 `json:"size"`
	// Layers is how many there are.
	Layers int `json:"layers"`
}

// Job is one scan that was asked for.
type Job struct {
	ID       int64  `json:"id"`
	Image    string `json:"image"`
	Platform string `json:"platform,omitempty"`
	Target
	Status Status `json:"status"`
	// Reason is the outcome of the attempt that decided, or "quarantined"; empty
	// unless the job failed.
	Reason string `json:"reason,omitempty"`
	// Message says in a sentence why the job failed, and what would help.
	Message string `json:"message,omitempty"`
	// Pool is where the job waits, runs, or ended.
	Pool string `json:"pool"`
	// Attempts is how many there were or are.
	Attempts int `json:"attempts"`
	// Requests is how many asked for it.
	Requests int `json:"requests"`
	// Timeout bounds each attempt; 0 is timeouts.scan.
	Timeout Duration `json:"timeout,omitempty"`
	Attach  bool     `json:"attach,omitempty"`
	// Local says that who asked for it could read the server's files anyway; see [Caller].
	Local bool `json:"-"`
	// NotBefore is when the next attempt may begin; zero is at once.
	NotBefore time.Time `json:"notBefore,omitzero"`
	Submitted time.Time `json:"submitted"`
	Started   time.Time `json:"started,omitzero"` // of the first attempt
	Ended     time.Time `json:"ended,omitzero"`
	// Result is there when the job has succeeded.
	Result *Result `json:"result,omitempty"`
}

// Result describes what a job found. The inventory itself is kept under its digest.
type Result struct {
	// Inventory is the SHA-256 of the inventory, "sha256:…", and Size its bytes.
	Inventory string `json:"inventory"`
	Size      int64  `json:"size"`
	// Components is how many the SBOM lists.
	Components int64 `json:"components"`
	// Problems is how many places in the image could not be read; above 0 the result is partial.
	Problems int `json:"problems,omitempty"`
	// Attached is the digest of the referrer that was pushed, "" where none was asked for.
	Attached string `json:"attached,omitempty"`
}

// Attempt is one try of a job.
type Attempt struct {
	Job      int64  `json:"job"`
	Number   int    `json:"number"` // from 1
	Pool     string `json:"pool"`
	Worker   string `json:"worker"`
	Instance string `json:"instance"`
	// Limit is the worker's memory limit in bytes.
	Limit   int64     `json:"limit"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	// Outcome is empty while the attempt runs.
	Outcome Outcome `json:"outcome,omitempty"`
	End
}

// End is what is known of an attempt that has ended.
type End struct {
	// ExitCode is the worker's where it ended: its own, or 128 and the signal's
	// number. It is nil where the worker lives on.
	ExitCode *int `json:"exitCode,omitempty"`
	// Kills counts the processes of the worker's cgroup that the kernel killed for want of memory.
	Kills int64 `json:"kills,omitempty"`
	// Peak is the highest memory of the worker's cgroup during the attempt, page
	// cache included, and RSS the highest resident set of the worker, in bytes; 0 where unknown.
	Peak int64 `json:"peak,omitempty"`
	RSS  int64 `json:"rss,omitempty"`
	// Progress is the last that the worker told.
	Progress Progress `json:"progress,omitzero"`
	// Message says in a sentence what went wrong.
	Message string `json:"message,omitempty"`
}

// Progress is how far an attempt is.
type Progress struct {
	// Phase is the scan's: opening, layers, links, squash, done.
	Phase string `json:"phase,omitempty"`
	// Layers is how many distinct ones there are, Done how many are finished, and
	// Cached how many of those came from the cache.
	Layers int `json:"layers,omitempty"`
	Done   int `json:"done,omitempty"`
	Cached int `json:"cached,omitempty"`
	// Read of Total bytes of the layers that must be decoded.
	Read     int64 `json:"read,omitempty"`
	Total    int64 `json:"total,omitempty"`
	Packages int64 `json:"packages,omitempty"`
	// Layer is the index of a layer being read, from 0, and Path the file in it
	// that an extractor has; -1 and "" where there is none.
	Layer int    `json:"layer"`
	Path  string `json:"path,omitempty"`
	// RSS is the worker's resident set in bytes when it told this.
	RSS int64 `json:"rss,omitempty"`
}

// WorkerKill is an attempt that was OOM-killed, as the incident of its job tells it: its evidence, and what was done. One job has one incident, with all its kills.
type WorkerKill struct {
	// ID is the incident's, such as job-7.
	ID     string    `json:"id"`
	At     time.Time `json:"at"`
	Job    int64     `json:"job"`
	Number int       `json:"attempt"`
	Image  string    `json:"image"`
	Digest string    `json:"digest,omitempty"`
	Pool   string    `json:"pool"`
	Worker string    `json:"worker"`
	Limit  int64     `json:"limit"`
	End
	// Action is what was done: "re-routed to POOL", "quarantined", "failed".
	Action string `json:"action"`
}

// Quarantine is an image that killed a worker of the largest pool.
type Quarantine struct {
	Digest string `json:"digest"`
	// Limit is the most memory in bytes that it has been killed in.
	Limit int64 `json:"limit"`
	// Mode is how it was scanned then; see [Mode].
	Mode     Mode      `json:"mode"`
	Incident string    `json:"incident"`
	At       time.Time `json:"at"`
}

// Mode is how an image is scanned.
type Mode string

// The two ways to scan an image.
const (
	// ModeStreaming needs 32 MiB, whatever the image, and temporary files.
	ModeStreaming Mode = "streaming"
	// ModeMemory keeps in memory what would be temporary files: as much as the
	// image's largest file that must be read at random, and what is sorted.
	ModeMemory Mode = "memory"
)
