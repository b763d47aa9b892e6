package scanner

import (
	"errors"
	"fmt"
	"time"
)

// What an error of the service can be, for errors.Is. Every error that matches
// none of them is the service's own fault, or its machine's.
var (
	ErrInvalid     = errors.New("invalid")     // the request is wrong as it stands
	ErrNotFound    = errors.New("not found")   // there is no such job, pool, worker or image
	ErrConflict    = errors.New("conflict")    // not in the state that things are in
	ErrDenied      = errors.New("denied")      // the server does not do this for this caller
	ErrUnavailable = errors.New("unavailable") // not now: the registry, or the database, does not answer
)

// Error is an error of one of these kinds. Its text is for people: what, to what, why, and what to do.
type Error struct {
	Kind    error
	Message string
	Cause   error // may be nil
}

// Errorf makes an Error; a %w in the format is its cause.
func Errorf(kind error, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Message: err.Error(), Cause: errors.Unwrap(err)}
}

// Error is the message.
func (e *Error) Error() string { return e.Message }

// Is reports whether target is the error's kind.
func (e *Error) Is(target error) bool { return target == e.Kind }

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Caller is who asks the service for something.
type Caller struct {
	// Name is for logs and audit: "key ci", "uid 0".
	Name string
	// Local says that the caller could read the server's files without the
	// server: root, or the server's own user, through the Unix socket. Others may only name
	// paths below the directories that the server allows.
	Local bool
}

// JobDetails is everything about one job.
type JobDetails struct {
	Job
	History   []Attempt    `json:"history"`
	Incidents []WorkerKill `json:"incidents,omitempty"`
	Events    []Event      `json:"events"`
	// Quarantine is there where the image is in quarantine now.
	Quarantine *Quarantine `json:"quarantine,omitempty"`
	// Progress is of the attempt that runs now.
	Progress *Progress `json:"progress,omitempty"`
}

// SettingChange is what changing a setting did.
type SettingChange struct {
	Setting
	Old string `json:"old"`
	// Workers are the names of those that run with the old value until they are restarted.
	Workers []string `json:"workers,omitempty"`
	// Warnings are sentences for people, such as that a pool that was named does not exist yet.
	Warnings []string `json:"warnings,omitempty"`
}

// PoolChange is what adding, changing, or restarting a pool did.
type PoolChange struct {
	Pool
	// Running is how many of its workers run now on the instance that answers,
	// Restarted how many of those were restarted at once, and Draining the names
	// of those that restart after the attempt that they have.
	Running   int      `json:"running"`
	Restarted int      `json:"restarted"`
	Draining  []string `json:"draining,omitempty"`
	Warnings  []string `json:"warnings,omitempty"`
}

// RestartRequest chooses workers to restart. Empty fields choose all.
type RestartRequest struct {
	Pool string `json:"pool,omitempty" doc:"only workers of this pool" maxLength:"63"`
	// Now ends attempts that run; their jobs wait again, and nothing is lost.
	Now bool `json:"now,omitempty" doc:"do not wait for running attempts; their jobs are queued again"`
}

// ServiceStatus is the service at a glance.
type ServiceStatus struct {
	Version   string     `json:"version"`
	Instances []Instance `json:"instances"`
	// Store is what keeps jobs: "sqlite" or "postgres".
	Store string `json:"store"`
	// Isolation is how workers' limits are kept; see [Worker].
	Isolation string       `json:"isolation"`
	Pools     []PoolStatus `json:"pools"`
	// Memory is what all workers of the instance that answers may use together, in
	// bytes, and Reserved what its running ones have.
	Memory    int64 `json:"memory"`
	Reserved  int64 `json:"reserved"`
	Pending   int64 `json:"pending"`
	Running   int64 `json:"running"`
	Incidents int64 `json:"incidentsLastHour"`
}

// PoolStatus counts a pool's workers over all instances.
type PoolStatus struct {
	Pool
	Idle    int   `json:"idle"`
	Busy    int   `json:"busy"`
	Waiting int   `json:"waiting"`
	Pending int64 `json:"pending"`
}

// Instance is one stellad of those that share the database.
type Instance struct {
	Name    string    `json:"name"`
	Host    string    `json:"host"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Seen    time.Time `json:"seen"`
	// Alive says that it was heard of lately enough to keep its attempts.
	Alive bool `json:"alive"`
}
