package remedy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"stella/internal/kube"
)

// Cluster is a Kubernetes, with the rights of whoever the client is for. It may be used by several goroutines.
type Cluster struct{ Client *kube.Client }

// resources are where the kinds are that we read and change.
var resources = map[string]kube.Resource{
	"Pod": kube.Pods, "ReplicaSet": kube.ReplicaSets, "Deployment": kube.Deployments, "StatefulSet": kube.StatefulSets,
	"DaemonSet": kube.DaemonSets, "Job": kube.Jobs, "CronJob": kube.CronJobs,
}

// maxAbove bounds a chain of owners: a CronJob's pod has two.
const maxAbove = 4

// Object reads an object as it is now.
func (c *Cluster) Object(ctx context.Context, kind, namespace, name string) (*Object, error) {
	resource, ok := resources[kind]
	if !ok {
		return nil, fmt.Errorf("%s %s/%s: this does not know objects of that kind", kind, namespace, name)
	}
	text, err := kube.Get[json.RawMessage](ctx, c.Client, kube.Query{Resource: resource, Namespace: namespace}, name)
	if err != nil {
		return nil, err
	}
	return NewObject(*text)
}

// Workload reads a container's pod, the owner furthest up that we can change, and what the pod's node has.
func (c *Cluster) Workload(ctx context.Context, namespace, pod, container string) (*Workload, error) {
	p, err := c.Object(ctx, "Pod", namespace, pod)
	if err != nil {
		return nil, err
	}
	w := &Workload{Pod: p, Container: container}
	if w.Container == "" {
		items := p.list("spec", "containers")
		if len(items) != 1 {
			return nil, fmt.Errorf("pod %s/%s has %d containers: name one, as in %s/%s/NAME", namespace, pod, len(items), namespace, pod)
		}
		w.Container, _ = at[string](items[0], []string{"name"})
	}
	if _, ok := p.container(w.Container); !ok {
		return nil, fmt.Errorf("pod %s/%s has no container %q", namespace, pod, w.Container)
	}
	if err := c.owners(ctx, w); err != nil {
		return nil, err
	}
	if node, ok := p.text("spec", "nodeName"); ok {
		// It is for a warning alone, and not everybody may read nodes.
		if n, err := kube.Get[kube.Node](ctx, c.Client, kube.Query{Resource: kube.Nodes}, node); err == nil {
			w.Allocatable = int64(n.Status.Allocatable.Memory)
		}
	}
	return w, nil
}

// owners goes up from the pod.
func (c *Cluster) owners(ctx context.Context, w *Workload) error {
	at := w.Pod
	for range maxAbove {
		owner, ok := at.Metadata.Controller()
		if !ok {
			return nil
		}
		if _, known := resources[owner.Kind]; !known {
			w.Foreign = owner.Kind + "/" + owner.Name
			return nil
		}
		above, err := c.Object(ctx, owner.Kind, w.Pod.Metadata.Namespace, owner.Name)
		if errors.Is(err, kube.ErrNotFound) || err == nil && above.Metadata.UID != owner.UID {
			w.Foreign = owner.Kind + "/" + owner.Name // it is gone, or another one has its name
			return nil
		}
		if err != nil {
			return err
		}
		if above.template() != nil {
			w.Owner, w.Foreign = above, ""
		} else {
			w.Foreign = owner.Kind + "/" + owner.Name
		}
		at = above
	}
	return nil
}

// Who is who the API server takes us for.
func (c *Cluster) Who(ctx context.Context) (string, error) {
	type review struct {
		Status struct {
			User struct {
				Name string `json:"username"`
			} `json:"userInfo"`
		} `json:"status"`
	}
	body := map[string]string{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
	r, _, err := kube.Do[review](ctx, c.Client, kube.Request{Method: http.MethodPost, Query: kube.Query{Resource: kube.SelfReviews}, Body: body})
	if err != nil {
		return "", err
	}
	if r.Status.User.Name == "" {
		return "", errors.New("the API server does not say who we are")
	}
	return r.Status.User.Name, nil
}
