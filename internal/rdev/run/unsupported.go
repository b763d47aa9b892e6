//go:build !linux

package run

import (
	"context"
	"fmt"
	"runtime"

	"stella/internal/cgroup"
	"stella/internal/rdev"
)

// New says no: only Linux can keep a command within its limits, and find all of it again to end it.
func New(Options) (*Runner, error) {
	return nil, fmt.Errorf("run commands: that needs Linux, and this is %s", runtime.GOOS)
}

// Support says no.
func (r *Runner) Support() cgroup.Support { return r.support }

// RemoveLeft finds none.
func (r *Runner) RemoveLeft() (int, error) { return 0, nil }

// Run runs nothing.
func (r *Runner) Run(context.Context, Spec, func()) rdev.End {
	return rdev.End{Reason: rdev.ReasonFailed, ExitCode: -1, Detail: "commands run on Linux alone"}
}
