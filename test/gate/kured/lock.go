//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"stella/internal/kube"
)

// lock is the annotation's text.
type lock struct {
	Node     string `json:"nodeID"`
	Metadata struct {
		// Unschedulable is that the node was cordoned before, so that it stays so.
		Unschedulable bool `json:"unschedulable"`
	} `json:"metadata"`
	Created time.Time     `json:"created"`
	TTL     time.Duration `json:"TTL"`
}

// daemonSet is what is read of kured's own.
type daemonSet struct {
	Metadata struct {
		Version     string            `json:"resourceVersion"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
}

func (d *daemon) daemonSets() kube.Query {
	return kube.Query{Resource: kube.DaemonSets, Namespace: d.namespace}
}

// holder is the lock, nil if nobody has it.
func (d *daemon) holder(ctx context.Context) (*lock, error) {
	set, err := kube.Get[daemonSet](ctx, d.api, d.daemonSets(), d.name)
	if err != nil {
		return nil, err
	}
	return d.lockOf(set)
}

func (d *daemon) lockOf(set *daemonSet) (*lock, error) {
	text, ok := set.Metadata.Annotations[d.lock]
	if !ok {
		return nil, nil // nobody has it
	}
	l := new(lock)
	if err := json.Unmarshal([]byte(text), l); err != nil {
		return nil, fmt.Errorf("the lock %s: %w", d.lock, err)
	}
	return l, nil
}

// acquire takes the lock, unless somebody else has it.
func (d *daemon) acquire(ctx context.Context, unschedulable bool) (bool, error) {
	set, err := kube.Get[daemonSet](ctx, d.api, d.daemonSets(), d.name)
	if err != nil {
		return false, err
	}
	switch l, err := d.lockOf(set); {
	case err != nil:
		return false, err
	case l != nil && l.Node != d.node:
		return false, errors.New("the node " + l.Node + " has it")
	case l != nil:
		return true, nil
	}
	l := lock{Node: d.node, Created: time.Now()}
	l.Metadata.Unschedulable = unschedulable
	text, err := json.Marshal(l)
	if err != nil {
		return false, err
	}
	return true, d.annotate(ctx, set.Metadata.Version, string(text))
}

// release lets go of the lock, if it is ours.
func (d *daemon) release(ctx context.Context) error {
	set, err := kube.Get[daemonSet](ctx, d.api, d.daemonSets(), d.name)
	if err != nil {
		return err
	}
	if l, err := d.lockOf(set); err != nil || l == nil || l.Node != d.node {
		return err
	}
	return d.annotate(ctx, set.Metadata.Version, nil)
}

// annotate sets the lock, or with nil removes it, where the DaemonSet is still that of the version: else the server refuses.
func (d *daemon) annotate(ctx context.Context, version string, text any) error {
	_, _, err := kube.Do[daemonSet](ctx, d.api, kube.Request{
		Method: http.MethodPatch, Query: d.daemonSets(), Name: d.name,
		Body: map[string]any{"metadata": map[string]any{"resourceVersion": version, "annotations": map[string]any{d.lock: text}}},
	})
	return err
}
