// Package run runs programs on this machine, each in a memory cgroup and a session of its own, and says truly how each ended.
//
// Words: a command is the program that was asked for, and all that it starts. Its first process is the one that is waited
// for: when it has ended, the command has, and what else it started is killed. The grace is the time between SIGTERM and
// SIGKILL when somebody ends a command. A victim is a process that the kernel killed for want of memory.
//
// What a command gets: its environment is built and not inherited ([Spec].Env over a few variables that every program needs);
// no descriptors but its three; no controlling terminal; no way to more privileges (no_new_privs, so neither sudo nor ping
// with a set-user-ID bit work); a bound on its processes; and it is what the kernel kills first when the
// machine, or a cgroup above, has no memory left.
//
// Hazards:
//
//   - Without memory cgroups ([Runner.Support]) a limit is not kept, and what left the command's session outlives it.
//   - Without [Options].User a command may do all that the service may: read its files, signal it, and, as root, leave the cgroup.
//   - A victim other than the first process is known by its number alone, unless [Options].Victim says more. A first
//     process that somebody else killed by SIGKILL, after the kernel had killed a child of it, counts as out of memory.
//   - That the kernel kills it first is said of a command that runs already. What it forked in the moment before has it a moment later; were memory
//     to run out in between, the first process would be killed in place of that child.
//   - The peak and the limit count page cache; see [stella/internal/cgroup].
//   - A disk that is filled, and time on the processor, are not bounded here. The output is the writers' concern.
package run

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/cgroup"
)

const (
	// Grace is how long a command has from SIGTERM to SIGKILL. It is what docker stop gives.
	Grace = 10 * time.Second
	// MaxProcesses is how many processes and threads a command may have at once: a large build fits, a fork bomb ends there.
	MaxProcesses = 1024
	// MinMemory is the least memory limit, in bytes. Until it runs its own program, a child shares this
	// process's memory while its arguments, up to 6 MiB (execve(2)), are charged to its cgroup: were it killed then, this
	// process would be too.
	MinMemory = 16 << 20

	// drainTime bounds how long output is read after everything has been killed. What was written is in the pipes; only a
	// process that escaped can hold them open.
	drainTime = 5 * time.Second
	// lookAgain is how often it is seen whether the rest of a command has ended during the grace.
	lookAgain = 50 * time.Millisecond
)

// Options are for all commands.
type Options struct {
	// Group begins the names of the cgroups, see [cgroup.RemoveLeft]: one process at a time may use it. "" is "rdev".
	Group string
	// User is whose commands they are; nil is the service's own.
	User *User
	// Processes bounds those of a command; 0 is [MaxProcesses].
	Processes int64
	// Grace is the time between SIGTERM and SIGKILL; 0 is [Grace].
	Grace time.Duration
	// Victim says whom the kernel killed last in a cgroup, by its directory: it reads the kernel log, say. It may wait a moment for that.
	// nil, or false, is not known. It may be called by several goroutines.
	Victim func(group string) (pid int, comm string, known bool)
	Log    *slog.Logger
}

// User is whom a command runs as.
type User struct {
	UID, GID uint32
	// Groups are its further groups. None are inherited.
	Groups []uint32
	// Name and Home are for its environment.
	Name, Home string
}

// Spec is one command. One of Argv and Shell is set.
type Spec struct {
	ID   string // for logs
	Argv []string
	// Shell is a line for /bin/sh -c.
	Shell string
	// Dir is an absolute path; "" is the root directory.
	Dir string
	// Env has NAME=value; it goes over what every command has. The last of a name counts.
	Env []string
	// Stdin must have its bytes at hand, since nothing can end a Read of it. nil is none.
	Stdin io.Reader
	// Memory is the limit in bytes, at least [MinMemory]; 0 is none.
	Memory int64
	// Timeout is after what time it is ended; 0 is none.
	Timeout time.Duration
	// Stdout and Stderr are each written by one goroutine, both at once; nil discards. They must not block for long: a command
	// whose output nobody takes waits, and once it has ended, what is left in the pipe is given up after five seconds. A writer that fails
	// closes the pipe.
	Stdout, Stderr io.Writer
}

// Runner runs commands. It may be used by several goroutines.
type Runner struct {
	Options
	support cgroup.Support
}

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
