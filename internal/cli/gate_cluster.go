package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"stella/internal/gate"
	"stella/internal/kube"
)

const (
	// maxGateNodes is more than Kubernetes is made for (5,000 nodes); with verdicts of the longest they take 80 MiB.
	maxGateNodes = 10_000
	// shownEvents are the newest events of a node, of those that its gate made.
	shownEvents = 5
	// maxGateTries is how often a change is tried that others come before: the kubelet and the gate write to a node, too.
	maxGateTries = 5
)

// gateCluster is a cluster with gates.
type gateCluster struct {
	client    *kube.Client
	namespace string // of the gates
}

// gateObject is what is read of a node, or of the Lease.
type gateObject struct {
	Metadata struct {
		kube.Metadata
		Version string `json:"resourceVersion"`
	} `json:"metadata"`
}

// hold is the text of its hold; nil is none, also where there is no object.
func (o *gateObject) hold() *string {
	if o == nil {
		return nil
	}
	text, ok := o.Metadata.Annotations[gate.HoldAnnotation]
	if !ok {
		return nil
	}
	return &text
}

var gateNodes = kube.Query{Resource: kube.Nodes, Metadata: true}

// nodes are all of them, by name. A cluster without one is an error, because there is none such.
func (c *gateCluster) nodes(ctx context.Context) ([]*gateObject, error) {
	var all []*gateObject
	err := kube.List(ctx, c.client, gateNodes, func(n *gateObject) error {
		if len(all) == maxGateNodes {
			return fmt.Errorf("there are more than %d nodes: name one", maxGateNodes)
		}
		all = append(all, n)
		return nil
	})
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%s says that it has no nodes", c.client.Server())
	}
	slices.SortFunc(all, func(a, b *gateObject) int { return cmp.Compare(a.Metadata.Name, b.Metadata.Name) })
	return all, err
}

func (c *gateCluster) node(ctx context.Context, name string) (*gateObject, error) {
	n, err := kube.Get[gateObject](ctx, c.client, gateNodes, name)
	switch {
	case errors.Is(err, kube.ErrNotFound):
		var names []string
		all, _ := c.nodes(ctx) // for a hint alone
		for _, n := range all {
			names = append(names, n.Metadata.Name)
		}
		return nil, fmt.Errorf("there is no node %q%s", name, didYouMean(name, names))
	case err == nil && n.Metadata.Name != name:
		return nil, fmt.Errorf("%s was asked for the node %s and answers with something else", c.client.Server(), name)
	}
	return n, err
}

// lease is the Lease of the gates, nil where there is none yet.
func (c *gateCluster) lease(ctx context.Context) (*gateObject, error) {
	l, err := kube.Get[gateObject](ctx, c.client, c.leases(), gate.LeaseName)
	switch {
	case errors.Is(err, kube.ErrNotFound):
		return nil, nil
	case err == nil && l.Metadata.Name != gate.LeaseName:
		return nil, fmt.Errorf("%s was asked for the Lease %s and answers with something else", c.client.Server(), gate.LeaseName)
	}
	return l, err
}

func (c *gateCluster) leases() kube.Query {
	return kube.Query{Resource: kube.Leases, Namespace: c.namespace, Metadata: true}
}

// held is what has the hold of a node, or for the name "" that of all; nil is a Lease that is not there yet.
func (c *gateCluster) held(ctx context.Context, node string) (*gateObject, error) {
	if node == "" {
		return c.lease(ctx)
	}
	return c.node(ctx, node)
}

// events are the newest of those that the gate of a node made, the newest last. Those of nodes are in the namespace default.
func (c *gateCluster) events(ctx context.Context, node string) ([]kube.NodeEvent, error) {
	var newest []kube.NodeEvent
	q := kube.Query{Resource: kube.Events, Namespace: "default", Fields: "involvedObject.kind=Node,involvedObject.name=" + node + ",source=" + gate.LeaseName}
	err := kube.List(ctx, c.client, q, func(e *kube.NodeEvent) error {
		newest = append(newest, *e)
		slices.SortStableFunc(newest, func(a, b kube.NodeEvent) int { return a.When().Compare(b.When()) })
		newest = newest[max(0, len(newest)-shownEvents):]
		return nil
	})
	return newest, err
}

// setHold replaces the hold of a node, or for the name "" that of all, by what change makes of it: nil is none.
func (c *gateCluster) setHold(ctx context.Context, node string, dryRun bool, change func(before *string) (after *string, err error)) error {
	for range maxGateTries {
		object, err := c.held(ctx, node)
		if err != nil {
			return err
		}
		before := object.hold()
		after, err := change(before)
		if err != nil || after == nil && before == nil {
			return err
		}
		if err = c.annotate(ctx, node, object, after, dryRun); !errors.Is(err, kube.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("others changed %s each of %d times that it was tried; try again", holdPlace(node), maxGateTries)
}

// annotate writes a hold, nil for none, to an object as it was read, so that no change of others is lost.
func (c *gateCluster) annotate(ctx context.Context, node string, object *gateObject, text *string, dryRun bool) error {
	metadata := map[string]any{"annotations": map[string]*string{gate.HoldAnnotation: text}}
	r := kube.Request{Method: http.MethodPatch, Query: gateNodes, Name: node, Body: map[string]any{"metadata": metadata}, DryRun: dryRun}
	if node == "" {
		r.Query, r.Name = c.leases(), gate.LeaseName
	}
	if object != nil {
		metadata["resourceVersion"] = object.Metadata.Version
	} else {
		metadata["name"] = gate.LeaseName
		r.Method, r.Name = http.MethodPost, ""
		r.Body = map[string]any{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
	}
	_, _, err := kube.Do[gateObject](ctx, c.client, r)
	return err
}
