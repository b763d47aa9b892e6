package gate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// asked is what a gate asks, and which checks cannot tell without the answer.
type asked struct {
	request string
	checks  []string
}

// everything is all that a gate asks, in an order such that of two that follow each other, the checks of one are run whatever the other's find. The turn is
// taken only when all else passes.
var everything = []asked{
	{"GET /api/v1/namespaces/kube-system/pods/gate-n0", []string{"path"}}, // only until it was answered
	{"GET /api/v1/nodes", []string{"nodes", "soak", "control_plane"}},
	{"GET /api/v1/nodes/n0", []string{"hold", "soak"}},
	{"GET /api/v1/namespaces/calico-system/pods", []string{"workloads"}},
	{"GET /apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy", []string{"workloads"}},
	{"GET /api/v1/persistentvolumeclaims", []string{"claims"}},
	{"GET /api/v1/pods", []string{"budgets"}},
	{"GET /apis/policy/v1/poddisruptionbudgets", []string{"budgets"}},
	{"GET " + leasePath, []string{"hold"}},
	{"GET /api/v1/alerts", []string{"alerts"}},
	{"GET /apis/apps/v1/namespaces/kube-system/daemonsets/kured", []string{"path"}},
	{"GET /api/v1/namespaces/kube-system/pods", []string{"path"}},
	{"GET /metrics", []string{"path"}},
	{"PATCH " + leasePath, []string{"turn"}},
}

const leasePath = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kured-sentinel-gate"

// faults are those of test/gate/double, and the reasons that a check may give. What kured's pods answer is always the reason metric.
var faults = map[string][]string{
	"cut":        {"unreachable", "bad_answer"},
	"401":        {"unauthorized"},
	"403":        {"forbidden"},
	"404":        {"not_found", "node_missing", "no_kured"},
	"429":        {"throttled"},
	"500":        {"server_error"},
	"empty":      {"bad_answer"},
	"truncated":  {"bad_answer"},
	"wrong type": {"bad_answer"},
	"slow":       {"timeout"},
	"huge":       {"too_large", "bad_answer", "timeout"},
	"redirect":   {"redirected"},
}

// Whatever fails of what a gate asks, and however: it does not open, and says why. When all is well again it opens.
func TestFaults(t *testing.T) {
	t.Parallel()
	for fault, reasons := range faults {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			f := startFaulty(t)
			before := everything[0]
			f.set(wish{Faults: map[string]string{before.request: fault}})
			f.begin()
			for _, a := range everything {
				f.inject(fault, reasons, before, a)
				before = a
			}
			// The last one alone, since the turn is not asked for while others fail.
			f.inject(fault, reasons, before, before)
			f.end(fault)
		})
	}
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		f := startFaulty(t)
		f.set(wish{Down: true})
		f.begin()
		since := time.Now()
		all := []string{"alerts", "budgets", "claims", "control_plane", "hold", "nodes", "path", "soak", "workloads"}
		f.blocked(since, all, []string{"unreachable"}, false)
		f.end("refused")
	})
}

// faulty is a gate, as it is released, whose cluster fails.
type faulty struct {
	*double
	gate *process
	stop chan struct{}
	done sync.WaitGroup
	told map[string][]string // checks by reason
}

func startFaulty(t *testing.T) *faulty {
	return &faulty{double: start(t, 1), stop: make(chan struct{}), told: map[string][]string{}}
}

// begin starts the gate, and somebody who sees if it opens.
func (f *faulty) begin() {
	o := f.options(0)
	o.Period, o.Delay = time.Second, 2*time.Second
	write(f.t, o.Raw, "")
	f.gate = gateOf(f.t, o, nil)
	f.done.Go(func() {
		for {
			select {
			case <-f.stop:
				return
			case <-time.After(2 * time.Millisecond):
				if there(o.Gated) {
					f.t.Error("THE GATE OPENED")
					return
				}
			}
		}
	})
}

// inject lets one more request fail before the last one is well again: so in each look that the gate may have begun meanwhile, one of them fails.
func (f *faulty) inject(fault string, reasons []string, before, now asked) {
	f.t.Helper()
	f.set(wish{Faults: map[string]string{before.request: fault, now.request: fault}})
	var want []string
	for _, a := range []asked{before, now} {
		switch {
		case fault == "404" && a.request == "GET "+leasePath: // there is no Lease, so that nobody holds all nodes by it
		case a.checks[0] == "turn" && before.checks[0] != "turn":
		default:
			want = append(want, a.checks...)
		}
	}
	slices.Sort(want)
	f.blocked(time.Now(), slices.Compact(want), reasons, fault == "slow")
}

// blocked waits for a look which found that these checks do not pass, and no others, for one of the reasons. Where one takes all the time, others may
// find none left.
func (f *faulty) blocked(since time.Time, want, reasons []string, more bool) {
	f.t.Helper()
	var found map[string]string
	fits := func() bool {
		var at time.Time
		if at, found = f.gate.blocking(); !at.After(since) {
			return false
		}
		for check, reason := range found {
			if !slices.Contains(reasons, reason) && (check != "path" || reason != "metric") {
				return false
			}
		}
		for _, check := range want {
			if found[check] == "" {
				return false
			}
		}
		return more || len(found) == len(want)
	}
	for start := time.Now(); !fits(); time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > patience/2 {
			f.t.Fatalf("these checks do not pass: %v; want %v for one of %v", found, want, reasons)
		}
	}
	for _, check := range want {
		f.told[found[check]] = append(f.told[found[check]], check)
	}
}

// end lets all be well again.
func (f *faulty) end(fault string) {
	close(f.stop)
	f.done.Wait()
	f.set(wish{})
	eventually(f.t, "the gate opens when all is well", func() bool { return there(f.gated(0)) })
	var said []string
	for _, reason := range slices.Sorted(maps.Keys(f.told)) {
		slices.Sort(f.told[reason])
		said = append(said, fmt.Sprintf("%s (%s)", reason, strings.Join(slices.Compact(f.told[reason]), ", ")))
	}
	f.t.Logf("| %s | %s |", fault, strings.Join(said, "; "))
}

// blocking are the checks that do not pass with their reasons, by the metrics, and when the gate looked.
func (p *process) blocking() (at time.Time, found map[string]string) {
	p.t.Helper()
	found = map[string]string{}
	for line := range strings.Lines(p.metrics()) {
		var seconds float64
		name, rest, _ := strings.Cut(line, "{")
		switch name {
		case "stella_gate_last_evaluation_timestamp":
			fmt.Sscan(rest[strings.LastIndexByte(rest, '}')+1:], &seconds)
			at = time.UnixMilli(int64(seconds * 1000))
		case "stella_gate_verdict":
			labels, value, _ := strings.Cut(rest, "} ")
			var node, check, reason string
			if _, err := fmt.Sscanf(strings.ReplaceAll(labels, ",", " "), "node=%q check=%q reason=%q", &node, &check, &reason); err != nil {
				p.t.Fatalf("%q: %v", line, err)
			}
			if strings.TrimSpace(value) == "1" {
				found[check] = reason
			}
		}
	}
	return at, found
}
