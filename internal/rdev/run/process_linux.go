package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/cgroup"
	"stella/internal/rdev"
)

// lookAgain is how often it is seen whether the rest of a command has ended during the grace.
const lookAgain = 50 * time.Millisecond

// Run runs a command to its end. It calls started, if that is not nil, once the program runs. When ctx ends, the command is cancelled: SIGTERM to its process group,
// and after [Grace] SIGKILL to all of it. When Run returns, nothing of the command is left, and nothing writes to its
// writers any more.
func (r *Runner) Run(ctx context.Context, s Spec, started func()) rdev.End {
	ctx, cancel := Until(ctx, s.Timeout)
	defer cancel()
	if ctx.Err() != nil {
		reason, why := EndedBy(ctx)
		return rdev.End{Reason: reason, ExitCode: -1, Detail: why + " before it was started"}
	}
	p, err := r.start(s)
	if err != nil {
		return rdev.End{Reason: rdev.ReasonFailed, ExitCode: -1, Detail: strings.ReplaceAll(err.Error(), "\n", "; ")}
	}
	if started != nil {
		started()
	}
	var e evidence
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		await(p.cmd.Process.Pid)
	}()
	select {
	case <-exited:
	case <-ctx.Done():
		e.ended, e.why = EndedBy(ctx)
		e.forced = p.end(exited)
	}
	return p.finish(exited, e)
}

// await returns when a child has ended, and does not reap it: its number, and that of its process group, stay its own.
func await(pid int) {
	for {
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// end asks the command to end, and returns when it has, or at the end of its grace. forced says that the first process lives on.
func (p *process) end(exited <-chan struct{}) (forced bool) {
	p.signal(syscall.SIGTERM)
	p.signal(syscall.SIGCONT) // one that was stopped hears nothing else
	grace := time.NewTimer(p.runner.Grace)
	defer grace.Stop()
	select {
	case <-exited:
	case <-grace.C:
		return true
	}
	// A shell ends at once; what it started may be tidying up.
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for p.others() {
		select {
		case <-again.C:
		case <-grace.C:
			return false
		}
	}
	return false
}

// signal sends a signal to the command's process group. It must not have been reaped.
func (p *process) signal(s syscall.Signal) {
	_ = syscall.Kill(-p.cmd.Process.Pid, s) // nobody left is what is wanted
}

// others reports whether anything but the first process is still in the cgroup.
func (p *process) others() bool {
	if p.group == nil {
		return false // nobody can tell
	}
	pids, err := p.group.PIDs()
	return err == nil && len(pids) > 0 && (len(pids) > 1 || pids[0] != p.cmd.Process.Pid)
}

// finish kills what is left, reads what was written, and tells the end.
func (p *process) finish(exited <-chan struct{}, e evidence) rdev.End {
	log := p.runner.Log.With("id", p.spec.ID)
	p.signal(syscall.SIGKILL)
	if p.group != nil {
		if err := p.group.Kill(); err != nil {
			log.Error("a command would not end", "error", err)
		}
	}
	<-exited
	e.pid = p.cmd.Process.Pid
	e.comm = nameOf(e.pid)
	e.output = outputError(p.cmd.Wait())
	switch w, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus); {
	case w.Signaled():
		e.signal = w.Signal()
	default:
		e.code = w.ExitStatus()
	}
	if p.group != nil {
		e.limited = p.spec.Memory > 0
		var err error
		if e.stats, err = p.group.Stats(); err != nil {
			log.Error("whether the kernel killed a command for want of memory cannot be told", "error", err)
		}
		if e.stats.OOMKills > 0 && p.runner.Victim != nil {
			e.victim.pid, e.victim.comm, e.victim.known = p.runner.Victim(p.group.Dir())
		}
	}
	if err := p.close(); err != nil {
		log.Error("the cgroup of a command stays", "error", err)
	}
	return e.end()
}

// nameOf is the name of a process that has not been reaped, or "".
func nameOf(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)) // a machine without it has no names
	return strings.TrimSuffix(string(text), "\n")
}

// outputError is what went wrong with a command's input and output, of what Wait said.
func outputError(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil // how it ended is told elsewhere
	}
	return err
}

// evidence is all that is known of a command that has ended.
type evidence struct {
	pid    int
	comm   string
	signal syscall.Signal // 0 where it ended by itself
	code   int
	stats  cgroup.Stats
	// limited says that it had a limit of its own.
	limited bool
	victim  struct {
		pid   int
		comm  string
		known bool
	}
	// ended is why this service ended it, "" where it did not, and why a sentence; forced, that it took SIGKILL.
	ended  rdev.Reason
	why    string
	forced bool
	output error
}
