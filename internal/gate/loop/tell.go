package loop

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"stella/internal/gate"
	"stella/internal/gate/cluster"
	"stella/internal/kube"
)

// Reasons of the events of a node.
const (
	EventOpen       = "RebootGateOpen"
	EventShut       = "RebootGateShut"
	EventNotPending = "RebootNotPending"
)

// maxMessage bounds the message of an event: the API server takes 1,024 bytes.
const maxMessage = 1024

// Node is a node in the Kubernetes API, and implements [Cluster].
type Node struct {
	Client *kube.Client
	Name   string
	// Proc is the root of a procfs, which knows the boot of this machine.
	Proc string

	booted bool // the boot was told
	uid    string
}

// own is what is read of the node.
type own struct {
	Metadata kube.Metadata `json:"metadata"`
	Spec     struct {
		Unschedulable bool `json:"unschedulable"`
	} `json:"spec"`
}

func (n *Node) get(ctx context.Context) (*own, error) {
	o, err := kube.Get[own](ctx, n.Client, kube.Query{Resource: kube.Nodes}, n.Name)
	if err == nil {
		n.uid = o.Metadata.UID
	}
	return o, err
}

// Last implements [Cluster].
func (n *Node) Last(ctx context.Context) (*gate.Verdict, error) {
	o, err := n.get(ctx)
	if err != nil {
		return nil, err
	}
	text, ok := o.Metadata.Annotations[gate.VerdictAnnotation]
	if !ok {
		return nil, nil
	}
	return gate.ReadVerdict(text)
}

// Cordoned implements [Cluster].
func (n *Node) Cordoned(ctx context.Context) (bool, error) {
	o, err := n.get(ctx)
	if err != nil {
		return false, err
	}
	return o.Spec.Unschedulable, nil
}

// Tell implements [Cluster]: by an annotation, and by an event where the verdict changed. At the first time it also tells
// when this machine was booted, which the gates of others ask for.
func (n *Node) Tell(ctx context.Context, v gate.Verdict, changed bool) error {
	if !n.booted {
		boot, err := cluster.ReadBoot(n.Proc)
		if err != nil {
			return err
		}
		if err := cluster.TellBoot(ctx, n.Client, n.Name, boot); err != nil {
			return err
		}
		n.booted = true
	}
	_, _, err := kube.Do[kube.Owned](ctx, n.Client, kube.Request{
		Method: http.MethodPatch, Query: kube.Query{Resource: kube.Nodes, Metadata: true}, Name: n.Name,
		Body: map[string]any{"metadata": map[string]any{"annotations": map[string]string{gate.VerdictAnnotation: v.Annotation()}}},
	})
	if err != nil || !changed {
		return err
	}
	return n.event(ctx, v)
}

// event tells people what changed.
func (n *Node) event(ctx context.Context, v gate.Verdict) error {
	const namespace = "default" // where events of what has no namespace are
	if n.uid == "" {
		if _, err := n.get(ctx); err != nil {
			return err
		}
	}
	reason, kind, message := describe(v)
	now := v.Time.UTC().Format(time.RFC3339)
	_, _, err := kube.Do[kube.Owned](ctx, n.Client, kube.Request{
		Method: http.MethodPost, Query: kube.Query{Resource: kube.Events, Namespace: namespace, Metadata: true},
		Body: map[string]any{
			"apiVersion": "v1", "kind": "Event",
			"metadata":       map[string]string{"generateName": n.Name + ".", "namespace": namespace},
			"involvedObject": map[string]string{"apiVersion": "v1", "kind": "Node", "name": n.Name, "uid": n.uid},
			"reason":         reason, "type": kind, "message": message,
			"firstTimestamp": now, "lastTimestamp": now, "count": 1,
			"source":             map[string]string{"component": "kured-sentinel-gate", "host": n.Name},
			"reportingComponent": "kured-sentinel-gate", "reportingInstance": n.Name,
		},
	})
	return err
}

// describe says a verdict as an event.
func describe(v gate.Verdict) (reason, kind, message string) {
	blocking := v.Blocking()
	switch {
	case v.Open:
		return EventOpen, "Normal", "all checks passed: kured may reboot this node"
	case v.Pending.IsZero() && len(blocking) == 0:
		return EventNotPending, "Normal", "this node wants no reboot any more"
	}
	var s strings.Builder
	for _, r := range blocking {
		fmt.Fprintf(&s, "%s: %s; ", r.Check, r.Detail)
	}
	message = strings.TrimSuffix(s.String(), "; ")
	if len(message) > maxMessage {
		const more = " …"
		message = strings.ToValidUTF8(message[:maxMessage-len(more)], "") + more
	}
	return EventShut, "Warning", message
}
