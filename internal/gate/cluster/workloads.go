package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"stella/internal/gate"
	"stella/internal/kube"
)

// Workload is what has to be healthy: the pods that a selector chooses, or a DaemonSet.
type Workload struct {
	Namespace string
	// Selector chooses pods by their labels, as kubectl does. It is empty where DaemonSet is not.
	Selector  string
	DaemonSet string
	// Minimum is how many pods have to be healthy. Fewer than one counts as one.
	Minimum int
}

// ParseWorkload reads NAMESPACE/SELECTOR:MINIMUM, or NAMESPACE/daemonset/NAME:MINIMUM.
func ParseWorkload(text string) (Workload, error) {
	fail := func(why string) (Workload, error) {
		return Workload{}, fmt.Errorf("workload %q: %s; write NAMESPACE/SELECTOR:MINIMUM, or NAMESPACE/daemonset/NAME:MINIMUM", text, why)
	}
	namespace, rest, ok := strings.Cut(text, "/")
	if !ok || namespace == "" {
		return fail("it has no namespace")
	}
	at := strings.LastIndexByte(rest, ':')
	if at < 0 {
		return fail("it has no minimum")
	}
	minimum, err := strconv.Atoi(rest[at+1:])
	if err != nil || minimum < 1 {
		return fail("its minimum is no number from 1 on")
	}
	w := Workload{Namespace: namespace, Minimum: minimum}
	if name, ok := strings.CutPrefix(rest[:at], "daemonset/"); ok {
		w.DaemonSet = name
	} else {
		w.Selector = rest[:at]
	}
	if w.DaemonSet == "" && w.Selector == "" {
		return fail("it names no pods")
	}
	return w, nil
}

func (w Workload) String() string {
	if w.DaemonSet != "" {
		return w.Namespace + "/daemonset/" + w.DaemonSet
	}
	return w.Namespace + "/" + w.Selector
}

// Workloads is the check that workloads are healthy. Of selected pods each has to be Ready, and none is being deleted; pods that have ended are not counted. A
// DaemonSet has to have a ready pod of its newest template on each node where it belongs.
func Workloads(client *kube.Client, workloads ...Workload) gate.Check {
	return gate.Check{Name: "workloads", Timeout: timeout, Run: func(ctx context.Context) gate.Result {
		if len(workloads) == 0 {
			return gate.CannotTell(ReasonNone, errors.New("the check of workloads was given none"))
		}
		var bad names
		var reason string // the first one's
		var said []string
		for _, w := range workloads {
			look := w.pods
			if w.DaemonSet != "" {
				look = w.daemonSet
			}
			h, err := look(ctx, client)
			if err != nil {
				return gate.CannotTell(Reason(err), fmt.Errorf("workload %s: %w", w, err))
			}
			if h.reason == "" {
				said = append(said, fmt.Sprintf("%s %d", w, h.well))
				continue
			}
			if reason == "" {
				reason = h.reason
			}
			bad.add("%s: %s", w, h.why)
		}
		if reason != "" {
			return bad.blocked(reason, "their pods are Ready", "%d of %d workloads not healthy", bad.count, len(workloads))
		}
		return gate.Passed("pods Ready: %s", strings.Join(said, ", "))
	}}
}

// health is what was found of one workload. It is healthy where there is no reason.
type health struct {
	well        int
	reason, why string
}

func (w Workload) pods(ctx context.Context, client *kube.Client) (h health, err error) {
	if w.Selector == "" {
		return h, because(ReasonNone, errors.New("it has neither a selector nor a DaemonSet"))
	}
	var ill names
	ended := 0
	q := kube.Query{Resource: kube.Pods, Namespace: w.Namespace, Labels: w.Selector}
	err = kube.List(ctx, client, q, func(p *pod) error {
		switch {
		case p.name == "":
			return errors.New("the server lists a pod without a name")
		case p.ended():
			ended++
		case p.deleted:
			ill.add("%s (being deleted)", p.name)
		case !p.ready.ok():
			ill.add("%s (%s)", p.name, p.ready.why())
		default:
			h.well++
		}
		return nil
	})
	switch want := max(w.Minimum, 1); {
	case err != nil:
	case ill.count > 0:
		h.reason, h.why = ReasonUnhealthy, fmt.Sprintf("%d of %d pods: %s", ill.count, ill.count+h.well, &ill)
	case h.well == 0:
		h.reason, h.why = ReasonNoPods, fmt.Sprintf("there are no pods, besides %d that have ended", ended)
	case h.well < want:
		h.reason, h.why = ReasonTooFew, fmt.Sprintf("%d pods are Ready, and %d have to be", h.well, want)
	}
	return h, err
}

// daemonSet is what is read of one.
type daemonSet struct {
	generation, observed, desired, ready, updated int64
	strategy                                      string
}

// UnmarshalJSON reads it.
func (d *daemonSet) UnmarshalJSON(b []byte) error {
	return decode(b, fields{
		"metadata": fields{"generation": number(&d.generation)}.read,
		"spec":     fields{"updateStrategy": fields{"type": text(&d.strategy)}.read}.read,
		"status": fields{
			"observedGeneration": number(&d.observed), "desiredNumberScheduled": number(&d.desired),
			"numberReady": number(&d.ready), "updatedNumberScheduled": number(&d.updated),
		}.read,
	})
}

func (w Workload) daemonSet(ctx context.Context, client *kube.Client) (h health, err error) {
	q := kube.Query{Resource: kube.DaemonSets, Namespace: w.Namespace}
	d, _, err := kube.Do[daemonSet](ctx, client, kube.Request{Method: "GET", Query: q, Name: w.DaemonSet})
	if err != nil {
		return h, err
	}
	h.well = int(d.ready)
	switch want := int64(max(w.Minimum, 1)); {
	case d.generation == 0 || d.observed < d.generation:
		h.reason, h.why = ReasonRollingOut, "it was changed, and its status does not tell of that yet"
	case d.desired == 0:
		h.reason, h.why = ReasonNoPods, "no node is one where it belongs"
	case d.ready < d.desired:
		h.reason, h.why = ReasonUnhealthy, fmt.Sprintf("%d of %d pods are Ready", d.ready, d.desired)
	case d.ready < want:
		h.reason, h.why = ReasonTooFew, fmt.Sprintf("%d pods are Ready, and %d have to be", d.ready, want)
	case d.updated < d.desired && d.strategy != "OnDelete": // then it may stay so for ever, which is meant
		h.reason, h.why = ReasonRollingOut, fmt.Sprintf("%d of %d pods are of its newest template", d.updated, d.desired)
	}
	return h, nil
}
