// Package gate has the words of the reboot gate, and its rule. It asks nobody anything.
//
// Words: a node is pending while the system on it wants a reboot, which it says by a file (the raw sentinel). A [Check] finds out one thing
// that must be so before it may; what it found is a [Result]: pass, block, or unknown where it could not tell. All results of one look are a
// [Verdict]: the gate is open if there are any, and all pass. While it is open, there is a second file (the gated sentinel), which is the one that kured looks for.
//
// The rule is that only a pass opens: a check that failed, panicked, took too long or was forgotten is unknown, and unknown blocks.
package gate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Outcome is what a check found.
type Outcome string

// The outcomes. Every other value, "" too, counts as Unknown.
const (
	Pass    Outcome = "pass"
	Block   Outcome = "block"
	Unknown Outcome = "unknown"
)

// Bounds of a verdict, which is kept in an annotation of its node.
const (
	// maxDetail bounds each text of a result, in bytes.
	maxDetail = 512
	// MaxNames is how many names a detail lists; further ones are counted.
	MaxNames = 5
)

// Result is what one check found.
type Result struct {
	Check   string  `json:"check"`
	Outcome Outcome `json:"outcome"`
	// Reason is one of a few words that each check documents, in snake_case, for metrics: not_ready, forbidden.
	Reason string `json:"reason,omitempty"`
	// Detail says it to people, with names; and what was seen, where it passes.
	Detail string `json:"detail,omitempty"`
	// Clears says to people what would make it pass.
	Clears string `json:"clears,omitempty"`
	// Since is since when the check has not passed, by this machine's clock. [Decide] sets it.
	Since time.Time `json:"since,omitzero"`
	// Until is when it will pass by itself, where that is known.
	Until time.Time `json:"until,omitzero"`
	// Blockers are what blocks, one by one, at most [MaxNames] of them: alerts with their labels, nodes, pods.
	Blockers []string `json:"blockers,omitempty"`
}

// Passed is a result.
func Passed(format string, args ...any) Result {
	return Result{Outcome: Pass, Detail: fmt.Sprintf(format, args...)}
}

// Blocked is a result that says why, and what would change it.
func Blocked(reason, clears, format string, args ...any) Result {
	return Result{Outcome: Block, Reason: reason, Clears: clears, Detail: fmt.Sprintf(format, args...)}
}

// CannotTell is a result that says why not.
func CannotTell(reason string, err error) Result {
	return Result{Outcome: Unknown, Reason: reason, Detail: err.Error(), Clears: "an answer that says so"}
}

// Check is one thing to find out.
type Check struct {
	Name string
	// Timeout is how long Run may take.
	Timeout time.Duration
	// Last is for a check that is run only when all others pass, because it takes something: a turn.
	Last bool
	// Run finds it out. It returns soon after ctx has ended. It is not called twice at the same time.
	Run func(ctx context.Context) Result
}

// RawFile is the name of the result that there is where nobody can tell whether a reboot is wanted.
const RawFile = "raw_file"

// Reasons that Decide gives itself.
const (
	ReasonTimeout = "timeout"
	ReasonPanic   = "internal_error"
	ReasonInvalid = "no_result"
)

// Verdict is what one look found about a node.
type Verdict struct {
	Node string `json:"node"`
	// Time is when, by the node's clock.
	Time time.Time `json:"time"`
	// Period is how often the gate looks.
	Period time.Duration `json:"period_ns,omitempty"`
	// Pending is since when the node wants a reboot: the time of the raw sentinel. Zero is that it wants none.
	Pending time.Time `json:"pending,omitzero"`
	// Open says that the node may be rebooted.
	Open bool `json:"open"`
	// Since is since when it is open, or not.
	Since time.Time `json:"since"`
	// Results are those of all checks that were run, in their order.
	Results []Result `json:"results,omitempty"`
}

// Stale reports whether the gate of a pending node did not look when it should have, for a whole period: it hangs, or is no more.
func (v *Verdict) Stale(now time.Time) bool {
	return !v.Pending.IsZero() && now.Sub(v.Time) > 2*v.Period
}

// Blocking are the results that keep the gate shut.
func (v *Verdict) Blocking() []Result {
	var found []Result
	for _, r := range v.Results {
		if r.Outcome != Pass {
			found = append(found, r)
		}
	}
	return found
}

// Decide runs checks one after another, so that no more than one of them needs memory, and says what follows. before is the last verdict about the
// node, from which times go on; nil is none. now is the time of the look, and pending that of the raw sentinel: where it is
// zero, nothing opens the gate.
func Decide(ctx context.Context, node string, pending, now time.Time, checks []Check, before *Verdict) Verdict {
	v := Verdict{Node: node, Time: now, Pending: pending, Since: now}
	passed := true
	for _, last := range []bool{false, true} {
		for _, c := range checks {
			if c.Last != last || last && !passed {
				continue
			}
			r := run(ctx, c)
			if r.Outcome != Pass {
				passed = false
				r.Since = since(before, c.Name, now)
			}
			v.Results = append(v.Results, r)
		}
	}
	v.Open = passed && len(v.Results) > 0 && !pending.IsZero() && ctx.Err() == nil
	if before != nil && before.Open == v.Open && before.Pending.Equal(pending) && !before.Since.After(now) {
		v.Since = before.Since
	}
	return v
}

// since is when a check was first seen not to pass, without having passed after that.
func since(before *Verdict, check string, now time.Time) time.Time {
	if before != nil {
		for _, r := range before.Results {
			if r.Check == check && r.Outcome != Pass && !r.Since.IsZero() && !r.Since.After(now) {
				return r.Since
			}
		}
	}
	return now
}

// run runs a check within its time, and makes its result fit into a verdict.
func run(ctx context.Context, c Check) (r Result) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			r = CannotTell(ReasonPanic, fmt.Errorf("the check failed, which is a mistake in this program: %v", p))
		}
		switch err := ctx.Err(); {
		case r.Outcome == Block:
		case errors.Is(err, context.DeadlineExceeded):
			r = CannotTell(ReasonTimeout, fmt.Errorf("no answer within %v", time.Since(began).Round(time.Millisecond)))
		case err != nil:
			r = CannotTell(ReasonTimeout, errors.New("the gate was being stopped"))
		case r.Outcome != Pass && r.Outcome != Unknown:
			r = CannotTell(ReasonInvalid, fmt.Errorf("the check ended with %q, which is a mistake in this program", r.Outcome))
		}
		r.Check, r.Since = c.Name, time.Time{}
		r.Detail, r.Clears = short(r.Detail), short(r.Clears)
		r.Blockers = r.Blockers[:min(len(r.Blockers), MaxNames):min(len(r.Blockers), MaxNames)]
		for i := range r.Blockers {
			r.Blockers[i] = short(r.Blockers[i])
		}
	}()
	return c.Run(ctx)
}

// short is a text of at most maxDetail bytes.
func short(s string) string {
	if len(s) <= maxDetail {
		return s
	}
	const more = "…"
	return strings.ToValidUTF8(s[:maxDetail-len(more)], "") + more
}
