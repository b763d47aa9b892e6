package run

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"stella/internal/cgroup"
	"stella/internal/rdev"
)

// What cannot be made to happen on every machine is told truly, too.
func TestEnd(t *testing.T) {
	killed := cgroup.Stats{OOMKills: 1, Limit: 64 << 20, Peak: 64 << 20}
	elsewhere := killed
	elsewhere.Peak = 8 << 20
	for name, c := range map[string]struct {
		e      evidence
		reason rdev.Reason
		limit  int64
		says   string
	}{
		"the machine":        {evidence{signal: syscall.SIGKILL, stats: elsewhere, limited: true}, rdev.ReasonOOM, 0, "the machine, or a cgroup above"},
		"no limit":           {evidence{signal: syscall.SIGKILL, stats: killed}, rdev.ReasonOOM, 0, "no limit of its own"},
		"no peak":            {evidence{signal: syscall.SIGKILL, stats: cgroup.Stats{OOMKills: 2, Limit: 1 << 20}, limited: true}, rdev.ReasonOOM, 1 << 20, "with a limit of 1.0 MiB"},
		"during the grace":   {evidence{signal: syscall.SIGKILL, stats: killed, limited: true, ended: rdev.ReasonTimeout}, rdev.ReasonOOM, 64 << 20, "at its limit"},
		"then by us":         {evidence{signal: syscall.SIGKILL, stats: killed, limited: true, ended: rdev.ReasonTimeout, why: "late", forced: true}, rdev.ReasonTimeout, 64 << 20, "late" + Forced},
		"a child, then TERM": {evidence{signal: syscall.SIGTERM, stats: killed, limited: true}, rdev.ReasonSignal, 64 << 20, "SIGTERM"},
	} {
		got := c.e.end()
		if got.Reason != c.reason || got.OOM == nil || got.OOM.Limit != c.limit || got.OOM.Survived != (c.reason != rdev.ReasonOOM) || !strings.Contains(got.Detail, c.says) {
			t.Errorf("%s: %+v, %+v", name, got, got.OOM)
		}
	}
	e := evidence{output: exec.ErrWaitDelay}
	if got := e.end(); !strings.Contains(got.Detail, "read no further") {
		t.Errorf("%+v", got)
	}
}
