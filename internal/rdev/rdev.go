// Package rdev has the words of rdev-api, which runs commands in projects and streams
// what they print, in flat memory: what is asked for, what is answered, and the bounds of both.
//
// Words: a [Project] is where commands run: a directory of this machine, or the container of a Kubernetes pod.
// A [Command] is one run of a program, from when it was asked for until its [End]. Its output is a log of
// records, each a line or a part of one, numbered from 1: the number is the id of the record's server-sent
// event, and the cursor at which a reader goes on. A subscriber is somebody who reads a log as it grows.
//
// Below this package, [stella/internal/rdev/outlog] keeps the logs, [stella/internal/rdev/run] runs programs here
// and [stella/internal/rdev/pods] in pods, [stella/internal/rdev/stream] serves subscribers, and
// [stella/internal/rdev/service] has the commands' life. Nothing in memory grows with what commands print, with how long subscribers stay, or with how many
// commands there were.
package rdev

import (
	"time"
)

// Stream says where output was written.
type Stream string

// The streams of a command.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// ProjectKind says where the commands of a project run.
type ProjectKind string

// The kinds of projects.
const (
	Local ProjectKind = "local" // a directory of this machine
	Pod   ProjectKind = "pod"   // a container of a Kubernetes pod
)

// Project is where commands run.
type Project struct {
	// Name is the name of the directory, or of the pod: small letters, digits, dots, dashes and underscores.
	Name string      `json:"name"`
	Kind ProjectKind `json:"kind"`
	// Directory is where commands begin: in the machine, or in the container, where empty is the image's own.
	Directory string `json:"directory,omitempty"`
	// Namespace, Pod and Container are of a pod.
	Namespace string `json:"namespace,omitempty"`
	PodName   string `json:"pod,omitempty"`
	Container string `json:"container,omitempty"`
	// Ready says that commands can run there now; Reason why not.
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
}

// The bounds of what a caller may send.
const (
	MaxArguments   = 1024
	MaxArgument    = 128 << 10 // what Linux takes (MAX_ARG_STRLEN)
	MaxEnvironment = 256
	MaxStdin       = 1 << 20
	MaxRequest     = 4 << 20 // a whole request, which is in memory while it is read
	MaxTimeout     = 24 * time.Hour
)

// Status is where a command is in its life.
type Status string

// The states, in order.
const (
	Queued  Status = "queued"
	Running Status = "running"
	Ended   Status = "ended"
)

// Reason says how a command ended.
type Reason string

// The reasons.
const (
	ReasonExit      Reason = "exit"      // by itself, with a code
	ReasonSignal    Reason = "signal"    // by a signal that this service did not send
	ReasonTimeout   Reason = "timeout"   // its time was over
	ReasonCancelled Reason = "cancelled" // somebody cancelled it
	ReasonOOM       Reason = "oom"       // the kernel killed it, or a process of it, for want of memory
	ReasonFailed    Reason = "failed"    // it could not be started
	ReasonLost      Reason = "lost"      // the service ended while it ran, and ended it when it began again
)

// End is how a command ended, as far as can be told.
type End struct {
	Reason Reason `json:"reason"`
	// ExitCode is what a shell would say: the code, or 128 and the signal; -1 where there is none.
	ExitCode int `json:"exit_code"`
	// Signal is the name of the signal that ended it, such as SIGKILL.
	Signal string `json:"signal,omitempty"`
	// OOM is set where the kernel killed a process of it for want of memory, whatever the reason of the end is: the
	// command may have gone on without it, and ended with any code.
	OOM *OOM `json:"oom,omitempty"`
	// Detail is a sentence for people.
	Detail string `json:"detail,omitempty"`
}

// OOM says which limit fired, and who died.
type OOM struct {
	// Limit is in bytes; 0 is not known.
	Limit int64 `json:"limit,omitempty"`
	// Peak is the most memory that was used, in bytes; 0 is not known.
	Peak int64 `json:"peak,omitempty"`
	// Kills is how many processes the kernel killed.
	Kills int64 `json:"kills"`
	// Victim is the last of them that is known: 0 and empty are not known.
	VictimPID  int    `json:"victim_pid,omitempty"`
	VictimComm string `json:"victim_comm,omitempty"`
	// Survived says that the command itself lived on.
	Survived bool `json:"survived"`
}
