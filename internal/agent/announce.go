package agent

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"stella/internal/incident"
	"stella/internal/kube"
	"stella/internal/oom"
	"stella/internal/oom/owner"
)

const (
	// EventNearLimit is the reason of the event of a pod that is about to reach its memory limit.
	EventNearLimit = "MemoryLimitNear"
	// announceTime bounds one request. Warnings are rare, and the next look waits for it.
	announceTime = 5 * time.Second
)

// announce makes an event of the pod, where kubectl describe shows it. Without Kubernetes, and for what is no pod, there is none.
func (n *node) announce(w warning) {
	c := &w.container
	if n.kube == nil || c.Pod == "" || c.PodUID == "" || c.Namespace == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), announceTime)
	defer cancel()
	at := w.at.UTC().Format(time.RFC3339)
	_, _, err := kube.Do[kube.Owned](ctx, n.kube, kube.Request{
		Method: http.MethodPost, Query: kube.Query{Resource: kube.Events, Namespace: c.Namespace, Metadata: true},
		Body: map[string]any{
			"apiVersion": "v1", "kind": "Event",
			"metadata": map[string]string{"generateName": c.Pod + ".", "namespace": c.Namespace},
			"involvedObject": map[string]string{
				"apiVersion": "v1", "kind": "Pod", "namespace": c.Namespace, "name": c.Pod, "uid": c.PodUID, "fieldPath": "spec.containers{" + c.Name + "}",
			},
			"reason": EventNearLimit, "type": "Warning", "message": fmt.Sprintf("Container %s is about to run out of memory. %s", c.Name, w.text),
			"firstTimestamp": at, "lastTimestamp": at, "count": 1,
			"source":             map[string]string{"component": "stella-agent", "host": n.o.Node},
			"reportingComponent": "stella-agent", "reportingInstance": n.o.Node,
		},
	})
	if err != nil {
		n.log.Warn("a pod has no event of the warning; it takes the right to create events, as deploy/kubernetes gives it", "namespace", c.Namespace, "pod", c.Pod, "why", err)
	}
}

// beforeKill is what happened to a container before a process of it was killed: warnings, and heap profiles that were taken of it.
func (n *node) beforeKill(k *oom.Kill, since time.Time) (events []incident.Event) {
	cgroup := k.Cgroup
	if place := owner.Parse(cgroup); place.ContainerPath != "" {
		cgroup = place.ContainerPath
	}
	for _, w := range n.outlooks.before(cgroup, since) {
		events = append(events, incident.Event{ID: w.at.UTC().Format(time.RFC3339Nano), Time: w.at, Kind: incident.Warned, Text: w.text})
	}
	for _, h := range n.Heaps(cgroup) {
		if h.Time.After(since) {
			events = append(events, incident.Event{
				ID: h.ID, Time: h.Time, Kind: incident.Profiled, Peak: h.WorkingSet,
				Text: fmt.Sprintf("heap profile %s was taken (%s); what grew: stella explain %s", h.ID, h.Reason, cgroup),
			})
		}
	}
	return events
}
