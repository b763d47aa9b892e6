package run

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"stella/internal/cgroup"
)

// New makes a runner. It marks all descriptors of this process as not to be inherited.
func New(o Options) (*Runner, error) {
	if o.Group == "" {
		o.Group = "rdev"
	}
	if o.Processes == 0 {
		o.Processes = MaxProcesses
	}
	if o.Grace == 0 {
		o.Grace = Grace
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := keepDescriptors(); err != nil {
		return nil, fmt.Errorf("keep the descriptors of this process from its commands: %w", err)
	}
	support, err := cgroup.Probe()
	if err != nil {
		return nil, fmt.Errorf("run commands: %w", err)
	}
	if support.Verdict != cgroup.Yes {
		o.Log.Warn("memory limits of commands are not kept", "reason", support.Reason)
	}
	return &Runner{Options: o, support: support}, nil
}

// Support says whether memory limits are kept, and if not, why.
func (r *Runner) Support() cgroup.Support { return r.support }

// RemoveLeft ends what an earlier process left running, and says how many commands that were. It is for the start, before the first Run.
func (r *Runner) RemoveLeft() (int, error) {
	n, err := cgroup.RemoveLeft(r.Group)
	if err != nil {
		return n, fmt.Errorf("end the commands of an earlier process: %w", err)
	}
	return n, nil
}

// keepDescriptors marks all descriptors but the first three as not to be inherited. Go opens its own so; this is about those that this
// process was given.
func keepDescriptors() error {
	err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) // since Linux 5.11
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range open {
		if fd, err := strconv.Atoi(filepath.Base(e.Name())); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
