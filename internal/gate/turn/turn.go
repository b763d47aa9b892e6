// Package turn lets one node of a cluster reboot at a time, and leaves a delay between one and the next.
//
// Words: there is one turn in a cluster. It is the Lease [gate.LeaseName] in the namespace of the gates, and the node that its
// holderIdentity names has it. A node takes the turn when its gate would open, and has it, through the reboot, until its gate gives it
// back. Then the delay begins, and after that the turn is free.
//
// The holder does not lose the turn by time: a gate that is slow, or dead, with its node perhaps in the middle of a reboot, must not
// have a second one pass. So it ends only when the holder's gate gives it back ([Turn.Release]), when the holder's Node object is gone, or when a
// person takes it away ([Clear]).
//
// Time is the API server's alone, as it tells it with each answer; no clock of a node is read. The server writes the Date of
// an answer when it has done what was asked, and cuts off what is less than a second. So it was that time or up to a second later, and a turn that
// an answer shows to be free was given back before the end of that second: this is written down at the Lease
// ([ReleasedAnnotation]), and what an answer's Date has to reach before another takes it is that and the delay. However long an answer took, it is
// only ever later than that.
//
// A change is made only to the Lease as it was read (by its resourceVersion), and no look passes without one that succeeded: the holder
// writes that it still is. That makes changes of before, whose answers were lost and which may still be under way,
// come too late. A change that failed is not tried blindly again: the Lease is read anew.
//
// Hazards:
//   - A node must not be rebooted without the turn: remove the gated sentinel before Release, not after it.
//   - There is one gate on a node. Two of the same node have the same turn.
//   - Clear, and deleting the Lease or the Node object, take the turn from a node that may have passed: until its gate's next look it can be rebooted,
//     so a delay of less than two periods of the gates lets two nodes reboot at once then, and only then.
//   - Where API servers are several and their clocks differ, the delay is shorter or longer by that.
//   - A change can be made up to a minute after its request failed. Should a node that no longer wants a reboot get the turn
//     so, after Release, it keeps it until its next reboot, or Clear.
package turn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"stella/internal/gate"
	"stella/internal/gate/cluster"
	"stella/internal/kube"
)

// The reasons of the check, beside those of [cluster.Reason].
const (
	// ReasonHeld is that another node has the turn.
	ReasonHeld = "held"
	// ReasonDelay is that the last one gave it back a short while ago; Until is when that is over, by the API server's clock.
	ReasonDelay = "delay"
	// ReasonNoClock is that the API server does not say what time it is.
	ReasonNoClock = "no_clock"
	// ReasonConflict is that others were quicker, again and again.
	ReasonConflict = "conflict"
)

const (
	// timeout bounds a look, which is at most eight requests, and two as a rule.
	timeout = 30 * time.Second
	// attempts is how often one look begins anew, when a change did not succeed.
	attempts = 2
)

// Turn is the turn as one node sees it. It is used by one goroutine at a time.
type Turn struct {
	leases leases
	node   string
	delay  time.Duration
	held   bool
}

// New is for a node's gate. namespace is that of all gates; delay is what has to pass between the end of one node's turn and the next one's beginning.
func New(client *kube.Client, namespace, node string, delay time.Duration) *Turn {
	return &Turn{leases: leases{client, namespace}, node: node, delay: delay, held: true}
}

// Held reports whether the node may have the turn, so that Release is wanted once it no longer wants a reboot. It is so at first, since
// the gate may have been started again, and from when a look tries to take the turn until a Release that succeeds. It asks nobody.
func (t *Turn) Held() bool { return t.held }

// Check takes the turn, or keeps it: it passes while this node has it.
func (t *Turn) Check() gate.Check {
	return gate.Check{Name: "turn", Timeout: timeout, Last: true, Run: t.look}
}

func (t *Turn) look(ctx context.Context) gate.Result {
	var err error
	for range attempts {
		var r gate.Result
		if r, err = t.attempt(ctx); err == nil {
			return r
		}
	}
	reason := cluster.Reason(err)
	switch {
	case errors.Is(err, errNoClock):
		reason = ReasonNoClock
	case errors.Is(err, kube.ErrConflict):
		reason = ReasonConflict
	}
	return gate.CannotTell(reason, fmt.Errorf("whose turn it is: %w", err))
}

// attempt reads the Lease, and changes it as far as that is this node's to do. An error can be that of a change that was made.
func (t *Turn) attempt(ctx context.Context) (gate.Result, error) {
	l, err := t.leases.read(ctx)
	if gone(err) {
		l, err = t.leases.create(ctx)
	}
	switch {
	case err != nil:
		return gate.Result{}, err
	case l.Spec.Holder == t.node:
		l, err := t.leases.change(ctx, l, l.renewed())
		if err != nil {
			return gate.Result{}, err
		}
		return gate.Passed("it is this node's turn, since %s", stamp(l.Spec.Acquired)), nil
	case l.Spec.Holder != "":
		return t.behind(ctx, l)
	}
	released, ok := l.released()
	if !ok {
		if l, err = t.leases.change(ctx, l, l.free()); err != nil {
			return gate.Result{}, err
		}
		if released, ok = l.released(); !ok {
			return gate.Result{}, errors.New("the Lease does not keep when the last turn ended")
		}
	}
	if next := released.Add(t.delay); l.now.Before(next) {
		return t.delayed(next), nil
	}
	t.held = true // even if this fails, as far as we know
	if _, err := t.leases.change(ctx, l, l.taken(t.node)); err != nil {
		return gate.Result{}, err
	}
	return gate.Passed("it is this node's turn, since now"), nil
}

// behind is what holds while another node has the turn: unless there is no such node any more.
func (t *Turn) behind(ctx context.Context, l *lease) (gate.Result, error) {
	_, err := kube.Get[kube.Owned](ctx, t.leases.client, kube.Query{Resource: kube.Nodes, Metadata: true}, l.Spec.Holder)
	if gone(err) {
		if l, err = t.leases.end(ctx, l); err != nil {
			return gate.Result{}, err
		}
		return t.delayed(l.now.Add(dateUnit + t.delay)), nil
	}
	clears := fmt.Sprintf("its reboot, after which its gate gives the turn back; or, if that node will not come back: stella gate release --turn %s", l.Spec.Holder)
	r := gate.Blocked(ReasonHeld, clears, "it is the turn of node %s, since %s", l.Spec.Holder, stamp(l.Spec.Acquired))
	r.Blockers = []string{"node " + l.Spec.Holder}
	return r, nil
}

func (t *Turn) delayed(next time.Time) gate.Result {
	r := gate.Blocked(ReasonDelay, fmt.Sprintf("time: it is free at %s, by the API server's clock", stamp(next)), "the delay of %v after the last node's turn, or after the Lease was made, is not over", t.delay)
	r.Until = next
	return r
}

// Release gives the turn back, if this node has it. After an error the node may still have it: call it again.
func (t *Turn) Release(ctx context.Context) error {
	if _, err := release(ctx, t.leases, t.node); err != nil {
		return fmt.Errorf("give the turn back: %w", err)
	}
	t.held = false
	return nil
}

// Clear takes the turn from a node, as Release does, for a node that does not come back. It reports whether the node had it. After
// an error the node may still have it.
func Clear(ctx context.Context, client *kube.Client, namespace, node string) (bool, error) {
	had, err := release(ctx, leases{client, namespace}, node)
	if err != nil {
		return false, fmt.Errorf("take the turn from node %s: %w", node, err)
	}
	return had, nil
}

func release(ctx context.Context, all leases, node string) (had bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for range attempts {
		var l *lease
		l, err = all.read(ctx)
		switch {
		case gone(err):
			return had, nil
		case err != nil:
			continue
		case l.Spec.Holder != node:
			return had, nil
		}
		had = true
		if _, err = all.end(ctx, l); err == nil {
			return had, nil
		}
	}
	return had, err
}
