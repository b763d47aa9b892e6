package remedy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"stella/internal/kube"
	"stella/internal/oom"
)

// Watcher is the agent of a node that watched what became of a change: a [client.Agent] is one.
type Watcher interface {
	Node
	Series(ctx context.Context, cgroup string) ([]oom.Sample, error)
	Kills(ctx context.Context, f oom.Filter) ([]oom.Kill, error)
	Status(ctx context.Context) (oom.AgentStatus, error)
}

// Observe asks what was seen since a change was read back. before are the looks at readiness so far.
func (c *Cluster) Observe(ctx context.Context, done *Change, reading *Reading, agent Watcher, before []Readiness) (Observed, error) {
	since := reading.Time
	o := Observed{Since: since, InForce: reading.State, Ready: before}
	pods, err := c.podsOf(ctx, done)
	if err != nil {
		return o, err
	}
	o.Until = time.Now().UTC()
	for _, p := range pods {
		o.Ready = append(o.Ready, p.readiness(o.Until))
	}
	status, err := agent.Status(ctx)
	if err != nil {
		return o, fmt.Errorf("ask the agent: %w", err)
	}
	elsewhere := slices.ContainsFunc(pods, func(p *Object) bool { on, _ := p.text("spec", "nodeName"); return on != status.Node })
	o.KillsKnown = len(pods) > 0 && !elsewhere && slices.ContainsFunc(status.Witnesses, func(w oom.WitnessReport) bool {
		return (w.Name == oom.WitnessLog || w.Name == oom.WitnessCounter) && w.State == "ok"
	})
	kills, err := agent.Kills(ctx, oom.Filter{Since: since, Namespace: done.Target.Namespace})
	if err != nil {
		return o, fmt.Errorf("ask the agent for kills: %w", err)
	}
	for _, k := range kills {
		if done.concerns(&k.Container) {
			o.Kills = append(o.Kills, k)
		}
	}
	o.Series, err = series(ctx, pods, done.Want, agent)
	return o, err
}

// podsOf are the pods that a change is in force in; none where its target is gone.
func (c *Cluster) podsOf(ctx context.Context, done *Change) ([]*Object, error) {
	t := &done.Target
	o, err := c.Object(ctx, t.Kind, t.Namespace, t.Name)
	if errors.Is(err, kube.ErrNotFound) || err == nil && o.Metadata.UID != t.UID || err == nil && t.Kind == "CronJob" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return c.Pods(ctx, o)
}

// concerns reports whether a container is one of those that the change is for.
func (c *Change) concerns(of *oom.Container) bool {
	if c.Want != nil && of.Name != c.Want.Container {
		return false
	}
	if c.Target.Kind == "Pod" {
		return of.PodUID == c.Target.UID
	}
	return of.Workload == c.Target.Kind+"/"+c.Target.Name
}

// series are the samples of the container in each pod. A pod that the agent does not have has none, and is there.
func series(ctx context.Context, pods []*Object, want *Want, agent Watcher) ([]Series, error) {
	usage, err := agent.Usage(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the agent for containers: %w", err)
	}
	var all []Series
	for _, p := range pods {
		s := Series{Name: p.Metadata.Name}
		for _, u := range usage {
			if want == nil || u.Container.PodUID != p.Metadata.UID || u.Container.Name != want.Container || !u.Gone.IsZero() {
				continue
			}
			s.Name += "/" + u.Container.Name
			if s.Samples, err = agent.Series(ctx, u.Cgroup); err != nil {
				return nil, fmt.Errorf("ask the agent for samples: %w", err)
			}
			break
		}
		all = append(all, s)
	}
	return all, nil
}

// readiness is what a pod's status says now.
func (o *Object) readiness(at time.Time) Readiness {
	r := Readiness{Time: at, Pod: o.Metadata.Name}
	for _, item := range o.list("status", "conditions") {
		if kind, _ := find(item, "type"); kind != "Ready" {
			continue
		}
		state, _ := find(item, "status")
		text, _ := find(item, "lastTransitionTime")
		since, err := time.Parse(time.RFC3339, fmt.Sprint(text))
		r.Ready, r.Since = state == "True" && err == nil, since
	}
	for _, item := range o.list("status", "containerStatuses") {
		count, _ := find(item, "restartCount")
		n := 0
		if _, err := fmt.Sscan(fmt.Sprint(count), &n); err == nil {
			r.Restarts += n
		}
	}
	return r
}

// WorkloadOf finds a pod that runs in place of one that is gone, by its owner, such as Deployment/web.
func (c *Cluster) WorkloadOf(ctx context.Context, namespace, owner, container string) (*Workload, error) {
	kind, name, _ := strings.Cut(owner, "/")
	o, err := c.Object(ctx, kind, namespace, name)
	if err != nil {
		return nil, err
	}
	pods, err := c.Pods(ctx, o)
	if err != nil {
		return nil, err
	}
	for _, p := range pods {
		if phase, _ := p.text("status", "phase"); phase == "Running" {
			return c.Workload(ctx, namespace, p.Metadata.Name, container)
		}
	}
	return nil, fmt.Errorf("no pod of %s in namespace %s runs now", owner, namespace)
}
