package worker

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/bytesize"
	"stella/internal/cgroup"
	"stella/internal/scanner"
)

// drainTime is how long the pipes of a process that has ended are still read: what
// it wrote is in them, and only a process that hangs in the kernel can hold them open.
const drainTime = 2 * time.Second

// kill ends the process; wait then ends what it started. The first reason counts.
func (p *Process) kill(why killing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killLocked(why)
}

// interrupt kills the process if it still has that attempt.
func (p *Process) interrupt(a *attempt, why killing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == a {
		p.killLocked(why)
	}
}

func (p *Process) killLocked(why killing) {
	if p.dead {
		return
	}
	if p.killed == nil {
		p.killed = &why
	}
	_ = p.cmd.Process.Kill() // already ended is what is wanted
}

// wait waits for the process, and until what it wrote has been read.
func (p *Process) wait(pipes ...*os.File) {
	// First without reaping, so that the process group cannot be anyone else's when
	// what is left of it is killed.
	pid := p.cmd.Process.Pid
	for {
		var info unix.Siginfo
		if err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != unix.EINTR {
			break
		}
	}
	p.mu.Lock()
	p.dead = true
	_ = syscall.Kill(-pid, syscall.SIGKILL) // nobody left is what is wanted
	p.mu.Unlock()
	_ = p.cmd.Wait() // its error is in ProcessState
	for _, r := range pipes {
		_ = r.SetReadDeadline(time.Now().Add(drainTime))
	}
	p.readers.Wait()
}

// finish decides how the process ended, from all there is to know.
func (p *Process) finish() {
	var stats cgroup.Stats
	if p.group != nil {
		var err error
		if stats, err = p.group.Stats(); err != nil {
			p.cfg.Log(slog.LevelError, "worker", fmt.Sprintf("whether worker %s ended for want of memory cannot be told: %v", p.cfg.Name, err))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finished = true
	e := evidence{
		kills: stats.OOMKills, peak: stats.Peak, limit: p.cfg.Limit, limited: p.group != nil,
		killed: p.killed, stderr: p.stderr,
	}
	switch w := p.cmd.ProcessState.Sys().(syscall.WaitStatus); {
	case w.Signaled():
		e.signal = w.Signal()
	default:
		e.code = w.ExitStatus()
	}
	p.exit.At, p.exit.Limit, p.exit.ExitCode = time.Now(), e.limit, e.exitCode()
	if a := p.current; a != nil {
		e.busy, e.last, e.kills = true, a.last, e.kills-a.kills
		p.exit.Job = a.task.Job
	}
	p.exit.Kills, p.exit.Peak = e.kills, e.peak
	p.outcome, p.exit.Message = e.explain()
	p.exit.Reason = reasonOf(p.outcome)
}

// evidence is all that is known of a process that has ended.
type evidence struct {
	signal syscall.Signal // 0 where it ended by itself
	code   int
	// kills counts the kernel's kills in its cgroup during the attempt, or since it
	// was started where it had none.
	kills, peak, limit int64
	limited            bool // there is a cgroup
	killed             *killing
	stderr             stderr
	busy               bool
	last               scanner.Progress
}

func (e *evidence) exitCode() int {
	if e.signal != 0 {
		return 128 + int(e.signal)
	}
	return e.code
}

// explain gives the outcome, and a sentence that says why.
func (e *evidence) explain() (scanner.Outcome, string) {
	switch {
	case e.signal == syscall.SIGKILL && e.kills > 0:
		return scanner.OutcomeOOM, e.outOfMemory()
	case e.stderr.fatal != "":
		return scanner.OutcomeOOM, fmt.Sprintf("heap exhausted: the Go runtime got no more memory (%q) with a limit of %s%s",
			e.stderr.fatal, bytesize.Text(e.limit), e.while())
	case e.killed != nil:
		return e.killed.outcome, e.killed.reason + e.while()
	case e.signal == syscall.SIGKILL:
		why := "the worker was killed (SIGKILL) by somebody else, not by the kernel for want of memory: its cgroup counted no kill"
		if !e.limited {
			why = "the worker was killed (SIGKILL), and without a cgroup nobody can tell by whom"
		}
		return scanner.OutcomeKilled, why + e.while()
	case e.signal != 0:
		return scanner.OutcomeKilled, fmt.Sprintf("the worker was ended by the signal %d (%v)%s%s", int(e.signal), e.signal, e.said(), e.while())
	}
	return scanner.OutcomeKilled, fmt.Sprintf("the worker ended by itself with exit code %d%s%s", e.code, e.said(), e.while())
}

// outOfMemory says which limit it was, as far as that shows.
func (e *evidence) outOfMemory() string {
	limit, peak := bytesize.Text(e.limit), bytesize.Text(e.peak)
	switch {
	case e.peak == 0: // cgroup v2 before Linux 5.19
		return fmt.Sprintf("out of memory: the kernel killed the worker, whose limit is %s%s", limit, e.while())
	case e.peak < e.limit/8*7:
		return fmt.Sprintf("out of memory: the kernel killed the worker at %s, well below its limit of %s: the machine, or a cgroup above, had no more%s", peak, limit, e.while())
	}
	return fmt.Sprintf("out of memory: the kernel killed the worker at its limit of %s (peak %s)%s", limit, peak, e.while())
}

// while says what the worker was at, for the end of a sentence.
func (e *evidence) while() string {
	if !e.busy {
		return ""
	}
	switch p := e.last; {
	case p.Path != "":
		return fmt.Sprintf(" while it read layer %d, file %s", p.Layer, visible(p.Path))
	case p.Layer >= 0:
		return fmt.Sprintf(" while it read layer %d", p.Layer)
	default:
		return " in the phase " + visible(cmp.Or(p.Phase, "start"))
	}
}

func (e *evidence) said() string {
	if said := cmp.Or(e.stderr.crash, e.stderr.first); said != "" {
		return fmt.Sprintf(", and said %q", said)
	}
	return ""
}

// reasonOf is why a process that ended so has to be replaced.
func reasonOf(o scanner.Outcome) scanner.RestartReason {
	switch o {
	case scanner.OutcomeOOM:
		return scanner.RestartOOM
	case scanner.OutcomeTimeout:
		return scanner.RestartTimeout
	case scanner.OutcomeCancelled:
		return scanner.RestartCancelled
	case scanner.OutcomeLost:
		return scanner.RestartRequested
	}
	return scanner.RestartCrash
}

// visible is a text of the image for a sentence: without control characters, and not too long.
func visible(s string) string {
	const most = 512
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	if quoted := strconv.Quote(s); strings.Trim(quoted, `"`) != s {
		return quoted
	}
	return s
}
