// Package loop is the reboot gate at work: it looks, decides, opens or shuts, and tells.
//
// Words: a look is one evaluation of all checks. Looks come each period as long as the node wants a reboot; while it wants none, only
// the raw file is asked for. After a number of looks or glances at that file the loop ends without an error, to be started anew: nothing here
// grows, but the gate that this one takes the place of did.
//
// The gated file is there only from the end of a look that found everything well. It is removed at the start, at the end, and before anybody is told; a
// second process removes it where this one cannot ([sentinel.Expire]). The turn is given back only after that.
//
// Hazards:
//
//   - kured may have seen the file in the moment before it is removed, and then reboots a node whose gate is shut. So a turn that was
//     taken is kept for a while after the gate was shut, and as long as the node is cordoned.
//   - What is told (annotation, event) can fail without a change of the verdict: the file and the metrics are right before.
package loop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"stella/internal/gate"
	"stella/internal/gate/sentinel"
)

// grace is for how many periods a turn is kept after the gate was shut.
const grace = 2

// Turn is the right of one node at a time.
type Turn interface {
	// Check takes it.
	Check() gate.Check
	// Release gives it back, if this node has it.
	Release(ctx context.Context) error
}

// Cluster is where verdicts are told, and what is known of the last one.
type Cluster interface {
	// Last is the verdict that was told last, nil if there is none.
	Last(ctx context.Context) (*gate.Verdict, error)
	// Tell tells a verdict, and that it changed where that is so.
	Tell(ctx context.Context, v gate.Verdict, changed bool) error
	// Cordoned says whether somebody keeps pods from the node, as kured does before it drains it.
	Cordoned(ctx context.Context) (bool, error)
}

// Loop is one gate.
type Loop struct {
	Node    string
	Raw     string
	Gated   *sentinel.File
	Period  time.Duration
	Every   time.Duration // between two looks; 0 is Period
	MaxIter int           // 0 is without end
	// Checks makes those of one look.
	Checks func() []gate.Check
	Turn   Turn // nil where nodes need not wait for each other
	// Proof are those that are also run at the start and when no reboot is wanted any more: what is wrong with the installation is told before it matters.
	Proof   []gate.Check
	Cluster Cluster
	Metrics *Metrics
	Log     *slog.Logger

	last   *gate.Verdict
	looked bool      // this process decided something
	idling bool      // that no reboot is wanted was told
	shut   time.Time // since when the gate is shut after it was, or may have been, open, while a turn may be held
}

// Run looks until ctx ends or there were MaxIter looks, which is no error.
func (l *Loop) Run(ctx context.Context) (err error) {
	// What a gate before this one allowed is not known to be so any more.
	if err := l.Gated.Remove(); err != nil {
		return fmt.Errorf("shut the gate at the start: %w", err)
	}
	defer func() { err = errors.Join(err, l.Gated.Remove()) }()
	tick := time.NewTicker(cmp.Or(l.Every, l.Period))
	defer tick.Stop()
	for i := 1; ; i++ {
		l.iterate(ctx, i)
		if l.MaxIter > 0 && i >= l.MaxIter {
			l.Log.Info(fmt.Sprintf("iter %d/%d: the last one: this process ends, to be started anew", i, l.MaxIter))
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// iterate is one look, or one glance at the raw file.
func (l *Loop) iterate(ctx context.Context, i int) {
	// Half a period: a file that is not renewed for one and a half is taken away.
	look, cancel := context.WithTimeout(ctx, l.Period/2)
	defer cancel()
	l.Metrics.iterate(i, l.MaxIter)
	iter := fmt.Sprintf("iter %d/%d: ", i, l.MaxIter)
	pending, wanted, err := sentinel.Raw(l.Raw)
	now := time.Now()
	switch {
	case err != nil:
		l.recall(look)
		l.conclude(ctx, iter, gate.Decide(look, l.Node, time.Time{}, now, []gate.Check{unreadable(err)}, l.last))
	case !wanted:
		l.idle(look, iter)
	default:
		l.recall(look)
		l.conclude(ctx, iter, gate.Decide(look, l.Node, pending, now, l.checks(), l.last))
	}
}

func (l *Loop) checks() []gate.Check {
	if l.Turn == nil {
		return l.Checks()
	}
	return append(l.Checks(), l.Turn.Check())
}

// unreadable stands for all checks where nobody can tell whether a reboot is wanted.
func unreadable(err error) gate.Check {
	return gate.Check{Name: gate.RawFile, Timeout: time.Second, Run: func(context.Context) gate.Result { return gate.CannotTell("unreadable", err) }}
}

// recall finds out what was told before this process was started.
func (l *Loop) recall(ctx context.Context) {
	if l.last != nil {
		return
	}
	v, err := l.Cluster.Last(ctx)
	if err != nil {
		l.Log.Warn("what the gate found before it was started is not known: blocks count from now", "err", err)
	}
	l.last = v
}

// idle is for when no reboot is wanted. It asks the cluster only at the start and after one was wanted.
func (l *Loop) idle(ctx context.Context, iter string) {
	l.shutGate()
	l.Log.Info(iter+"no reboot is required", "file", l.Raw)
	if l.idling {
		v := *l.last
		v.Time = time.Now() // it looked for the file
		l.Metrics.verdict(v)
		return
	}
	l.recall(ctx)
	v := gate.Decide(ctx, l.Node, time.Time{}, time.Now(), l.Proof, l.last)
	v.Period = l.Period
	l.Metrics.verdict(v)
	for _, r := range v.Blocking() {
		l.Log.Warn("this gate will not open as long as this is so", "check", r.Check, "outcome", r.Outcome, "reason", r.Reason, "detail", r.Detail)
	}
	if err := l.release(ctx); err != nil {
		l.Log.Error("the turn of this node was not given back: other nodes wait for it; it is tried again", "err", err)
		return
	}
	if err := l.Cluster.Tell(ctx, v, l.last != nil && changed(l.last, &v)); err != nil {
		l.Log.Warn("that no reboot is wanted could not be told; it is tried again", "err", err)
		return
	}
	l.last, l.shut, l.looked, l.idling = &v, time.Time{}, true, true
}

// conclude acts on a verdict: first the file, then all others, in a time of their own: a look that took all of its is one that people want to hear of.
func (l *Loop) conclude(ctx context.Context, iter string, v gate.Verdict) {
	ctx, cancel := context.WithTimeout(ctx, l.Period/4)
	defer cancel()
	if v.Open {
		if err := l.allow(v); err != nil {
			r := gate.CannotTell("gated_file", err)
			r.Check, r.Since = "gated_file", v.Time
			v.Open, v.Since, v.Results = false, v.Time, append(v.Results, r)
		}
	}
	if !v.Open {
		l.shutGate()
		l.yield(ctx, v)
	} else {
		l.shut = time.Time{}
	}
	v.Period = l.Period
	l.Metrics.verdict(v)
	l.say(iter, v)
	if err := l.Cluster.Tell(ctx, v, changed(l.last, &v)); err != nil {
		l.Log.Warn("the verdict is in the metrics and in this log, but could not be told to the cluster", "err", err)
	}
	l.last, l.looked, l.idling = &v, true, false
}

// allow makes or renews the gated file.
func (l *Loop) allow(v gate.Verdict) error {
	g := sentinel.Grant{Node: v.Node, AllowedAt: v.Since, Reason: "all checks passed"}
	for _, r := range v.Results {
		g.Checks = append(g.Checks, r.Check)
	}
	return l.Gated.Allow(g, 2*l.Period)
}

func (l *Loop) shutGate() {
	if err := l.Gated.Remove(); err != nil {
		l.Log.Error("THE GATE CANNOT BE SHUT: kured may see its file and reboot this node; remove it by hand", "file", l.Gated.Path(), "err", err)
	}
}

// yield gives the turn back some time after the gate was shut.
func (l *Loop) yield(ctx context.Context, v gate.Verdict) {
	switch {
	case !l.looked || l.last.Open:
		l.shut = v.Time // a turn that was taken before a restart counts from here
		return
	case l.Turn == nil || l.shut.IsZero() || v.Time.Sub(l.shut) < grace*l.Period:
		return
	}
	if cordoned, err := l.Cluster.Cordoned(ctx); err != nil || cordoned {
		return // kured may have begun
	}
	if err := l.release(ctx); err != nil {
		l.Log.Warn("the turn of this node was not given back; it is tried again", "err", err)
		return
	}
	l.shut = time.Time{}
}

func (l *Loop) release(ctx context.Context) error {
	if l.Turn == nil {
		return nil
	}
	return l.Turn.Release(ctx)
}

// say logs a verdict in the words of the gate that this one takes the place of.
func (l *Loop) say(iter string, v gate.Verdict) {
	pending := slog.Duration("pending_for", v.Time.Sub(v.Pending).Round(time.Second))
	if v.Open {
		l.Log.Info(iter+"ALL CHECKS PASSED: the node may be rebooted", "file", l.Gated.Path(), pending)
		return
	}
	for _, r := range v.Blocking() {
		l.Log.Info(iter+"blocked", "check", r.Check, "outcome", r.Outcome, "reason", r.Reason, "detail", r.Detail,
			"blockers", strings.Join(r.Blockers, "; "), "since", r.Since, pending)
	}
}

// changed reports whether a verdict differs from the one before in what people have to know.
func changed(before, v *gate.Verdict) bool {
	return before == nil || before.Open != v.Open || before.Pending.IsZero() != v.Pending.IsZero() || why(before) != why(v)
}

// why is what keeps a gate shut, to be compared.
func why(v *gate.Verdict) string {
	var s strings.Builder
	for _, r := range v.Blocking() {
		fmt.Fprintf(&s, "%s=%s ", r.Check, r.Reason)
	}
	return s.String()
}
