package service

import (
	"fmt"
	"time"

	"stella/internal/bytesize"
	"stella/internal/rdev"
	"stella/internal/rdev/run"
)

// Limits bound what commands may take. A field that is 0 has its value of [DefaultLimits].
type Limits struct {
	// Running is how many commands run at the same time, PerProject and PerCaller how many of them in one
	// project and for one caller.
	Running, PerProject, PerCaller int
	// Queued is how many wait, QueuedPerCaller how many of them for one caller.
	Queued, QueuedPerCaller int
	// Memory is the memory limit of a command that asks for none, MaxMemory the most that it may ask for, and
	// TotalMemory what the limits of all running commands may be together; in bytes.
	Memory, MaxMemory, TotalMemory int64
	// Timeout and MaxTimeout are the same for its time.
	Timeout, MaxTimeout time.Duration
	// Output and MaxOutput are the same for how many bytes of its output are kept.
	Output, MaxOutput int64
	// Keep is for how long commands are known after their end, and KeepCommands how many of them.
	Keep         time.Duration
	KeepCommands int
}

// DefaultLimits are for a service with 512 MiB of its own on a small machine. A queue of 1000 commands has some 200 KiB
// of memory here; a hundred thousand ended commands some 100 MB of database.
var DefaultLimits = Limits{
	Running: 16, PerProject: 8, PerCaller: 8,
	Queued: 1000, QueuedPerCaller: 200,
	Memory: 512 << 20, MaxMemory: 4 << 30, TotalMemory: 4 << 30,
	Timeout: time.Hour, MaxTimeout: rdev.MaxTimeout,
	Output: 16 << 20, MaxOutput: 256 << 20,
	Keep: 7 * 24 * time.Hour, KeepCommands: 100_000,
}

func orDefault[T comparable](value *T, standard T) {
	var none T
	if *value == none {
		*value = standard
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits
	orDefault(&l.Running, d.Running)
	orDefault(&l.PerProject, d.PerProject)
	orDefault(&l.PerCaller, d.PerCaller)
	orDefault(&l.Queued, d.Queued)
	orDefault(&l.QueuedPerCaller, min(d.QueuedPerCaller, l.Queued))
	orDefault(&l.TotalMemory, d.TotalMemory)
	orDefault(&l.MaxMemory, l.TotalMemory)
	orDefault(&l.Memory, min(d.Memory, l.MaxMemory))
	orDefault(&l.MaxTimeout, d.MaxTimeout)
	orDefault(&l.Timeout, min(d.Timeout, l.MaxTimeout))
	orDefault(&l.MaxOutput, d.MaxOutput)
	orDefault(&l.Output, min(d.Output, l.MaxOutput))
	orDefault(&l.Keep, d.Keep)
	orDefault(&l.KeepCommands, d.KeepCommands)
	return l
}

// maxQueued bounds the queue, for which every listing computes the places: a millisecond for each ten thousand.
const maxQueued = 10_000

// Validate finds limits that contradict each other.
func (l Limits) Validate() error {
	switch {
	case min(l.Running, l.PerProject, l.PerCaller, l.Queued, l.QueuedPerCaller, l.KeepCommands) < 1:
		return fmt.Errorf("limits of commands: none of them can be below 1: %+v", l)
	case l.Queued > maxQueued:
		return fmt.Errorf("limits of commands: %d may wait; at most %d", l.Queued, maxQueued)
	case min(l.Memory, l.MaxMemory, l.TotalMemory, l.Output, l.MaxOutput) < 1 || min(l.Timeout, l.MaxTimeout, l.Keep) <= 0:
		return fmt.Errorf("limits of commands: none of them can be 0 or below: %+v", l)
	case l.Memory > l.MaxMemory || l.MaxMemory > l.TotalMemory:
		return fmt.Errorf("limits of commands: memory %s by default, at most %s, and %s together: each must be at most the next",
			bytesize.Text(l.Memory), bytesize.Text(l.MaxMemory), bytesize.Text(l.TotalMemory))
	case l.Timeout > l.MaxTimeout || l.MaxTimeout > rdev.MaxTimeout:
		return fmt.Errorf("limits of commands: timeout %v by default, at most %v: each must be at most the next, and %v", l.Timeout, l.MaxTimeout, rdev.MaxTimeout)
	case l.Output > l.MaxOutput:
		return fmt.Errorf("limits of commands: output of %s by default is above the most, %s", bytesize.Text(l.Output), bytesize.Text(l.MaxOutput))
	}
	return nil
}

// apply sets what a request leaves to the service, and refuses what is above its bounds.
func (l Limits) apply(r rdev.Request) (rdev.Request, error) {
	orDefault(&r.Memory, l.Memory)
	orDefault(&r.Timeout, l.Timeout)
	orDefault(&r.Output, l.Output)
	switch {
	case r.Memory < run.MinMemory:
		return r, rdev.Errorf(rdev.ErrInvalid, "a command needs %s of memory at least, and this one asks for %s", bytesize.Text(run.MinMemory), bytesize.Text(r.Memory))
	case r.Memory > l.MaxMemory:
		return r, rdev.Errorf(rdev.ErrInvalid, "a command may have %s of memory here, and this one asks for %s", bytesize.Text(l.MaxMemory), bytesize.Text(r.Memory))
	case r.Timeout > l.MaxTimeout:
		return r, rdev.Errorf(rdev.ErrInvalid, "a command may take %v here, and this one asks for %v", l.MaxTimeout, r.Timeout)
	case r.Output > l.MaxOutput:
		return r, rdev.Errorf(rdev.ErrInvalid, "%s of a command's output may be kept here, and this one asks for %s", bytesize.Text(l.MaxOutput), bytesize.Text(r.Output))
	}
	return r, nil
}

// ledger is the memory that all running commands together may have. The service's lock guards it.
type ledger struct{ total, reserved int64 }

// fits reports whether n bytes are free.
func (l *ledger) fits(n int64) bool { return n <= l.total-l.reserved }
