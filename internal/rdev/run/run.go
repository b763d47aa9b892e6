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
	"io"
	"log/slog"
	"time"

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
)

// Forced is for the end of a sentence about a command that had to be killed.
const Forced = ", and since it did not end in time after SIGTERM, it was killed"

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
