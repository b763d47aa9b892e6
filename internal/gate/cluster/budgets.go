package cluster

import (
	"context"
	"errors"
	"fmt"

	"stella/internal/gate"
	"stella/internal/kube"
)

const (
	// maxPods bounds the own node's pods that are kept. Kubernetes advises against more than 110 on a node, and some have 500.
	maxPods = 2000
	// maxLabels bounds the bytes of what is kept of them, with perPod and perLabel for what Go keeps besides.
	maxLabels = 2 << 20
	perPod    = 256
	perLabel  = 64
)

// Budgets is the check that no PodDisruptionBudget would keep the own node from being drained now: that the server would evict each
// pod of the node that kured has it evict. kured leaves pods of DaemonSets and of the kubelet's own files where they are. What the server
// does is taken from k8s.io/kubernetes v1.35.4, pkg/registry/core/pod/storage/eviction.go.
//
// A budget that allows one eviction passes also where it has two pods on the node: the second is evicted when the first is ready elsewhere.
func Budgets(client *kube.Client, own string) gate.Check {
	return gate.Check{Name: "budgets", Timeout: timeout, Run: func(ctx context.Context) gate.Result {
		c := budgetsCheck{pods: map[string][]*guarded{}}
		pods := kube.Query{Resource: kube.Pods, Fields: "spec.nodeName=" + own}
		if err := kube.List(ctx, client, pods, c.pod); err != nil {
			return cannotTell(err)
		}
		if c.seen == 0 { // the gate itself is one
			return gate.CannotTell(ReasonNoPods, fmt.Errorf("the server lists no pods of the own node %s", own))
		}
		if err := kube.List(ctx, client, kube.Query{Resource: kube.Budgets}, c.budget); err != nil {
			return cannotTell(err)
		}
		return c.result()
	}}
}

type budgetsCheck struct {
	seen, drained, bytes, budgets int
	pods                          map[string][]*guarded // by namespace

	outdated, none, overlapping names
}

// guarded is a pod that a drain evicts.
type guarded struct {
	name   string
	labels map[string]string
	ready  bool
	by     string // the first budget that has it
	twice  bool
}

// pod keeps a pod that the drain would have evicted, and whose eviction a budget can refuse.
func (c *budgetsCheck) pod(p *pod) error {
	if p.name == "" || p.namespace == "" {
		return errors.New("the server lists a pod without a name")
	}
	c.seen++
	if p.owner == "DaemonSet" || p.mirror || p.ended() || p.phase == "Pending" || p.deleted {
		return nil
	}
	c.drained++
	c.bytes += perPod + len(p.namespace) + len(p.name)
	for k, v := range p.labels {
		c.bytes += perLabel + len(k) + len(v)
	}
	if c.drained > maxPods || c.bytes > maxLabels {
		return because(ReasonTooLarge, fmt.Errorf("the own node has more than %d pods, or their labels more than %d bytes", maxPods, maxLabels))
	}
	c.pods[p.namespace] = append(c.pods[p.namespace], &guarded{name: p.name, labels: p.labels, ready: p.ready.ok()})
	return nil
}

// budget is what is read of a PodDisruptionBudget.
type budget struct {
	namespace, name, unhealthy                      string
	generation, observed, allowed, healthy, desired int64
	selector                                        selector
}

// UnmarshalJSON reads it.
func (b *budget) UnmarshalJSON(raw []byte) error {
	return decode(raw, fields{
		"metadata": fields{"namespace": text(&b.namespace), "name": text(&b.name), "generation": number(&b.generation)}.read,
		"spec":     fields{"selector": b.selector.reader(), "unhealthyPodEvictionPolicy": text(&b.unhealthy)}.read,
		"status": fields{
			"observedGeneration": number(&b.observed), "disruptionsAllowed": number(&b.allowed),
			"currentHealthy": number(&b.healthy), "desiredHealthy": number(&b.desired),
		}.read,
	})
}

// lets says whether the server evicts a pod that is not ready without asking how many the budget allows.
func (b *budget) lets(p *guarded) bool {
	return !p.ready && (b.unhealthy == "AlwaysAllow" || b.healthy >= b.desired && b.desired > 0)
}

// budget looks which pods a budget keeps. It is named once, with the first of them.
func (c *budgetsCheck) budget(b *budget) error {
	if b.name == "" || b.namespace == "" {
		return errors.New("the server lists a budget without a name")
	}
	c.budgets++
	told := false
	for _, p := range c.pods[b.namespace] {
		if !b.selector.matches(p.labels) {
			continue
		}
		if p.by != "" && !p.twice {
			p.twice = true
			c.overlapping.add("%s/%s (of %s and %s)", b.namespace, p.name, p.by, b.name)
		}
		p.by = b.name
		switch {
		case told || b.lets(p):
		case b.generation == 0 || b.observed < b.generation:
			told = true
			c.outdated.add("%s/%s (keeps %s)", b.namespace, b.name, p.name)
		case b.allowed <= 0:
			told = true
			c.none.add("%s/%s (keeps %s; %d healthy, %d wanted)", b.namespace, b.name, p.name, b.healthy, b.desired)
		}
	}
	return nil
}

func (c *budgetsCheck) result() gate.Result {
	switch {
	case c.none.count > 0:
		return c.none.blocked(ReasonNoDisruption, "more pods of theirs are healthy, or the budget wants fewer", "%d budgets allow no eviction of pods on this node", c.none.count)
	case c.overlapping.count > 0:
		return c.overlapping.blocked(ReasonOverlapping, "each pod has one budget at most", "%d pods on this node have two budgets, and the server evicts none such", c.overlapping.count)
	case c.outdated.count > 0:
		return c.outdated.blocked(ReasonOutdated, "the controller manager looks at them", "%d budgets were changed, and their status does not tell of that yet", c.outdated.count)
	}
	return gate.Passed("%d pods can be evicted, %d budgets", c.drained, c.budgets)
}
