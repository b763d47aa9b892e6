package run

import (
	"errors"
	"fmt"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"stella/internal/bytesize"
	"stella/internal/rdev"
)

// killedCode is what a shell ends with whose last program was killed by SIGKILL.
const killedCode = 128 + int(syscall.SIGKILL)

// end says how the command ended.
func (e *evidence) end() rdev.End {
	end := rdev.End{ExitCode: e.code}
	if e.signal != 0 {
		end.ExitCode, end.Signal = 128+int(e.signal), unix.SignalName(e.signal)
	}
	end.Reason, end.Detail = e.explain()
	if e.stats.OOMKills > 0 {
		end.OOM = e.oom(end.Reason)
	}
	switch {
	case errors.Is(e.output, exec.ErrWaitDelay):
		end.Detail += "; a process that left its session still held its output, which was read no further"
	case e.output != nil:
		end.Detail += fmt.Sprintf("; its input or output failed: %v", e.output)
	}
	return end
}

// firstKilled reports whether the kernel killed the first process, as far as can be told: it was ended by a SIGKILL that this service
// had not sent, and the kernel counted a kill.
func (e *evidence) firstKilled() bool {
	return e.signal == syscall.SIGKILL && e.stats.OOMKills > 0 && !e.forced
}

// explain gives the reason, and a sentence.
func (e *evidence) explain() (rdev.Reason, string) {
	switch kills := e.stats.OOMKills; {
	case e.firstKilled():
		return rdev.ReasonOOM, "out of memory: the kernel killed it " + e.where()
	case e.ended != "":
		return e.ended, e.explainEnded()
	case e.signal == syscall.SIGKILL:
		return rdev.ReasonSignal, "it was killed (SIGKILL) by somebody else, not by this service, nor by the kernel for want of memory"
	case e.signal != 0:
		return rdev.ReasonSignal, fmt.Sprintf("it was ended by the signal %s (%v)", unix.SignalName(e.signal), e.signal)
	case kills > 0 && e.code == killedCode:
		// A shell says so of its last program, which is what the command was about.
		return rdev.ReasonOOM, fmt.Sprintf("out of memory: the kernel killed %s of it %s, and it ended with exit code %d", processes(kills), e.where(), e.code)
	case kills > 0:
		return rdev.ReasonExit, fmt.Sprintf("it ended by itself with exit code %d, after the kernel had killed %s of it for want of memory %s",
			e.code, processes(kills), e.where())
	}
	return rdev.ReasonExit, fmt.Sprintf("it ended by itself with exit code %d", e.code)
}

func (e *evidence) explainEnded() string {
	if e.forced {
		return e.why + Forced
	}
	return e.why
}

// where says which limit it was, as far as that shows.
func (e *evidence) where() string {
	limit, peak := bytesize.Text(e.stats.Limit), bytesize.Text(e.stats.Peak)
	switch {
	case !e.limited:
		return "and since it had no limit of its own, the machine, or a cgroup above, had no more"
	case e.stats.Peak == 0: // cgroup v2 before Linux 5.19
		return "with a limit of " + limit
	case !e.own():
		return fmt.Sprintf("at %s, well below its limit of %s: the machine, or a cgroup above, had no more", peak, limit)
	}
	return fmt.Sprintf("at its limit of %s (peak %s)", limit, peak)
}

// own reports whether it was the command's own limit that fired: then the peak is about there.
func (e *evidence) own() bool {
	return e.limited && (e.stats.Peak == 0 || e.stats.Peak >= e.stats.Limit/8*7)
}

func (e *evidence) oom(reason rdev.Reason) *rdev.OOM {
	o := &rdev.OOM{Peak: e.stats.Peak, Kills: e.stats.OOMKills, Survived: reason != rdev.ReasonOOM}
	if e.own() {
		o.Limit = e.stats.Limit
	}
	switch {
	case e.firstKilled():
		o.VictimPID, o.VictimComm = e.pid, e.comm
	case e.victim.known:
		o.VictimPID, o.VictimComm = e.victim.pid, e.victim.comm
	}
	return o
}

func processes(n int64) string {
	if n == 1 {
		return "a process"
	}
	return fmt.Sprintf("%d processes", n)
}
