// Package cluster has the checks of the gate that ask the Kubernetes API: whether the nodes, the workloads, the claims and the budgets of a
// cluster are such that one of its nodes may be rebooted.
//
// Words: a [Look] is one look at the nodes, which several checks share: nodes, soak, control_plane and hold. The other checks
// ([Workloads], [Claims], [Budgets]) ask for themselves. The own node is the one that the gate runs on and that wants a reboot.
//
// Nothing is kept of a list but counts and the first names. The exception is budgets, which keeps labels of the
// own node's pods, at most [maxPods] of them and [maxLabels] bytes.
//
// What passes was read: every field that a check needs is taken by its exact name, once, and of the type that the API says it has
// (see fields). A list has to be whole, of its kind, and not empty where something must be there; that is package kube's part.
//
// Requests of one look, where a page is 500 objects:
//
//	nodes, soak, control_plane, hold   1 for the own node, if soak or hold is used
//	nodes, soak, control_plane         a page of nodes each, together
//	hold                               1 for the Lease
//	workloads                          for each, 1 for a DaemonSet, or a page of the pods that it selects
//	claims                             a page of claims, for each namespace that is named; a page of storage classes with IgnoreUnplaced
//	budgets                            a page of the own node's pods, and a page of budgets
//
// Hazards: the API server tells what controllers told it. Where the controller manager is down, a dead node stays Ready in
// its words; nobody else notices either, and its own alert has to be one that blocks (package alerts).
package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"stella/internal/gate"
	"stella/internal/kube"
)

// timeout bounds one check. The API server gives itself a minute for a request.
const timeout = time.Minute

// Look is one look at the nodes. Make a new one, with its checks, for each cycle: a check that is run again with a Look
// that was used says that it cannot tell. It is used by one goroutine.
type Look struct {
	client *kube.Client
	own    string
	seers  []seer

	self          *node
	moment        kube.Moment
	asked, listed bool
	askErr        error
	listErr       error
}

// seer is told each node.
type seer interface{ see(n *node) }

// NewLook is a look for the gate of a node.
func NewLook(client *kube.Client, own string) *Look { return &Look{client: client, own: own} }

// errUsed is for a mistake of a caller that would otherwise keep a gate open by what was true long ago.
var errUsed = errors.New("this look was used before, which is a mistake in this program")

// once makes a check that can be run once.
func once(name string, run func(ctx context.Context) gate.Result) gate.Check {
	used := false
	return gate.Check{Name: name, Timeout: timeout, Run: func(ctx context.Context) gate.Result {
		if used {
			return gate.CannotTell(gate.ReasonInvalid, errUsed)
		}
		used = true
		return run(ctx)
	}}
}

// add has a check told each node. One that comes too late for that must not take it for a cluster without nodes.
func (l *Look) add(s seer) {
	if l.listed {
		l.listErr = errUsed
	}
	l.seers = append(l.seers, s)
}

// list lists the nodes, the first time, and tells them to all checks of the look.
func (l *Look) list(ctx context.Context) error {
	if !l.listed {
		l.listed, l.listErr = true, l.listNodes(ctx)
	}
	return l.listErr
}

func (l *Look) listNodes(ctx context.Context) error {
	var all int
	var found bool
	err := kube.List(ctx, l.client, kube.Query{Resource: kube.Nodes}, func(n *node) error {
		if n.name == "" {
			return errors.New("the server lists a node without a name")
		}
		all++
		found = found || n.name == l.own
		n.own = n.name == l.own
		for _, s := range l.seers {
			s.see(n)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case all == 0:
		return because(ReasonNoNodes, errors.New("the server lists no nodes"))
	case !found:
		return because(ReasonNodeMissing, fmt.Errorf("the own node %s is not among the %d nodes that the server lists", l.own, all))
	}
	return nil
}

// ask reads the own node, the first time, and with it the server's clock.
func (l *Look) ask(ctx context.Context) error {
	if !l.asked {
		l.asked, l.askErr = true, l.askNode(ctx)
	}
	return l.askErr
}

func (l *Look) askNode(ctx context.Context) error {
	n, m, err := kube.Do[node](ctx, l.client, kube.Request{Method: "GET", Query: kube.Query{Resource: kube.Nodes}, Name: l.own})
	switch {
	case noSuch(err):
		return because(ReasonNodeMissing, err)
	case err != nil:
		return err
	case m.Server.IsZero():
		return because(ReasonNoClock, errNoClock)
	}
	l.self, l.moment = n, m
	return nil
}

var errNoClock = errors.New("the server does not tell the time")

// noSuch says that the API server, and not something before it, knows of no such object.
func noSuch(err error) bool {
	var status *kube.StatusError
	return errors.As(err, &status) && errors.Is(status, kube.ErrNotFound) && status.Reason == "NotFound"
}
