package scanner_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scanner"
)

const mib = 1 << 20

func plan() scanner.Plan {
	s := scanner.DefaultSettings()
	s.LargePool = "large"
	return scanner.Plan{
		Pools: []scanner.Pool{
			{Name: "large", Memory: 512 * mib, Count: 1},
			{Name: "default", Memory: 64 * mib, Count: 2},
			{Name: "middle", Memory: 128 * mib, Count: 1},
		},
		Settings: s,
	}
}

func TestFirst(t *testing.T) {
	p := plan()
	for _, c := range []struct {
		asked  string
		target scanner.Target
		want   string
	}{
		{"", scanner.Target{Size: 1, Layers: 1}, "default"},
		{"", scanner.Target{Size: 2 << 30, Layers: 1}, "large"},
		{"", scanner.Target{Size: 2<<30 - 1, Layers: 99}, "default"},
		{"", scanner.Target{Size: 1, Layers: 100}, "large"},
		{"", scanner.Target{Size: -1, Layers: 1}, "default"},
		{"middle", scanner.Target{Size: 2 << 30}, "middle"},
		{"gone", scanner.Target{Size: 1}, "default"},
	} {
		if got := p.First(c.asked, c.target); got != c.want {
			t.Errorf("First(%q, %+v) = %s; want %s", c.asked, c.target, got, c.want)
		}
	}
	p.Settings.LargePool = "none"
	if got := p.First("", scanner.Target{Size: 1 << 40}); got != "default" {
		t.Errorf("with a pool for large images that does not exist: %s; want default", got)
	}
	p.Settings.LargePool, p.Settings.LargeThreshold, p.Settings.LargeLayers = "large", 0, 0
	if got := p.First("", scanner.Target{Size: 1 << 40, Layers: 1000}); got != "default" {
		t.Errorf("with both thresholds off: %s; want default", got)
	}
}

func TestMode(t *testing.T) {
	p := plan()
	p.Settings.StreamingThreshold = 1000
	for _, c := range []struct {
		size   int64
		cgroup bool
		want   scanner.Mode
	}{
		{999, true, scanner.ModeMemory},
		{1000, true, scanner.ModeStreaming},
		{-1, true, scanner.ModeStreaming},
		{999, false, scanner.ModeStreaming}, // nobody would notice memory of files
	} {
		if got := p.Mode(scanner.Target{Size: c.size}, c.cgroup); got != c.want {
			t.Errorf("Mode(%d, %v) = %s; want %s", c.size, c.cgroup, got, c.want)
		}
	}
}

func TestRoute(t *testing.T) {
	job := scanner.Job{ID: 1, Pool: "default"}
	for name, c := range map[string]struct {
		pool      string
		outcome   scanner.Outcome
		limit     int64
		retryable bool
		failures  int
		want      scanner.Decision
	}{
		"a success ends":                  {"default", scanner.OutcomeSucceeded, 64 * mib, false, 0, scanner.Decision{Status: scanner.StatusSucceeded, Pool: "default"}},
		"a kill goes to the next larger":  {"default", scanner.OutcomeOOM, 64 * mib, false, 1, scanner.Decision{Status: scanner.StatusPending, Pool: "middle", Action: "re-routed to pool middle (128Mi)"}},
		"and to the next":                 {"middle", scanner.OutcomeOOM, 128 * mib, false, 2, scanner.Decision{Status: scanner.StatusPending, Pool: "large", Action: "re-routed to pool large (512Mi)"}},
		"however many there were":         {"middle", scanner.OutcomeOOM, 128 * mib, false, 99, scanner.Decision{Status: scanner.StatusPending, Pool: "large", Action: "re-routed to pool large (512Mi)"}},
		"the largest is the end":          {"large", scanner.OutcomeOOM, 512 * mib, false, 3, scanner.Decision{Status: scanner.StatusFailed, Pool: "large", Reason: "oom", Message: "m", Quarantine: true, Action: "quarantined: no pool has more memory"}},
		"an old limit counts":             {"default", scanner.OutcomeOOM, 32 * mib, false, 1, scanner.Decision{Status: scanner.StatusPending, Pool: "default", Action: "re-routed to pool default (64Mi)"}},
		"a refusal is no incident":        {"default", scanner.OutcomeMemory, 64 * mib, false, 1, scanner.Decision{Status: scanner.StatusPending, Pool: "middle"}},
		"refused by the largest":          {"large", scanner.OutcomeMemory, 512 * mib, false, 1, scanner.Decision{Status: scanner.StatusFailed, Pool: "large", Reason: "memory", Message: "m"}},
		"what may pass is tried again":    {"default", scanner.OutcomeError, 64 * mib, true, 1, scanner.Decision{Status: scanner.StatusPending, Pool: "default", Delay: 2 * time.Second}},
		"later each time":                 {"default", scanner.OutcomeError, 64 * mib, true, 2, scanner.Decision{Status: scanner.StatusPending, Pool: "default", Delay: 4 * time.Second}},
		"but not for ever":                {"default", scanner.OutcomeError, 64 * mib, true, 3, scanner.Decision{Status: scanner.StatusFailed, Pool: "default", Reason: "error", Message: "m"}},
		"what is wrong stays wrong":       {"default", scanner.OutcomeError, 64 * mib, false, 1, scanner.Decision{Status: scanner.StatusFailed, Pool: "default", Reason: "error", Message: "m"}},
		"a dead worker is tried at once":  {"default", scanner.OutcomeKilled, 64 * mib, true, 1, scanner.Decision{Status: scanner.StatusPending, Pool: "default"}},
		"a dead worker is not for ever":   {"default", scanner.OutcomeKilled, 64 * mib, true, 3, scanner.Decision{Status: scanner.StatusFailed, Pool: "default", Reason: "killed", Message: "m"}},
		"a lost attempt counts as none":   {"default", scanner.OutcomeLost, 64 * mib, true, 99, scanner.Decision{Status: scanner.StatusPending, Pool: "default"}},
		"the pool was removed meanwhile":  {"gone", scanner.OutcomeLost, 64 * mib, true, 0, scanner.Decision{Status: scanner.StatusPending, Pool: "default"}},
		"a timeout is the end":            {"default", scanner.OutcomeTimeout, 64 * mib, true, 1, scanner.Decision{Status: scanner.StatusTimeout, Pool: "default", Reason: "timeout", Message: "m"}},
		"who cancels gets what they want": {"default", scanner.OutcomeCancelled, 64 * mib, true, 1, scanner.Decision{Status: scanner.StatusCancelled, Pool: "default", Message: "m"}},
	} {
		job.Pool = c.pool
		got := plan().Route(job, c.outcome, c.limit, c.retryable, c.failures, "m")
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
}

// A pool without workers takes nobody's job.
func TestRoutePassesAnEmptyPool(t *testing.T) {
	p := plan()
	p.Pools[2].Count = 0 // middle
	if got := p.Route(scanner.Job{Pool: "default"}, scanner.OutcomeOOM, 64*mib, false, 1, ""); got.Pool != "large" {
		t.Errorf("re-routed to %s; want large", got.Pool)
	}
}

func TestBlocks(t *testing.T) {
	p := plan()
	q := scanner.Quarantine{Digest: "sha256:1", Limit: 512 * mib, Mode: scanner.ModeStreaming, Incident: "job-7"}
	if why := p.Blocks(q, scanner.Target{}); !strings.Contains(why, "incident job-7") || !strings.Contains(why, "512 MiB") {
		t.Errorf("the reason is %q; want the incident and the limit", why)
	}
	p.Pools[0].Memory++
	if why := p.Blocks(q, scanner.Target{}); why != "" {
		t.Errorf("blocked with a larger pool: %s", why)
	}
	p.Pools[0].Memory--
	q.Mode = scanner.ModeMemory
	if why := p.Blocks(q, scanner.Target{}); why != "" {
		t.Errorf("blocked although it would be streamed now: %s", why)
	}
}
