package kured

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"stella/internal/gate/cluster"
	"stella/internal/kube"
)

// maxPods bounds the pods of kured on this node that are kept: one, and others that are ending or beginning.
const maxPods = 16

// object is what all objects have that are read here.
type object struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name      string       `json:"name"`
		Namespace string       `json:"namespace"`
		UID       string       `json:"uid"`
		Owners    []kube.Owner `json:"ownerReferences"`
		Deleted   time.Time    `json:"deletionTimestamp"`
	} `json:"metadata"`
}

// daemonSet is one of kured.
type daemonSet struct {
	object
	Spec struct {
		Selector struct {
			Labels map[string]string `json:"matchLabels"`
		} `json:"selector"`
	} `json:"spec"`
}

// pod is one of kured, or of the gate.
type pod struct {
	object
	Spec struct {
		Node       string      `json:"nodeName"`
		Containers []container `json:"containers"`
		Volumes    []struct {
			Name string `json:"name"`
			Host *struct {
				Path string `json:"path"`
			} `json:"hostPath"`
		} `json:"volumes"`
	} `json:"spec"`
	Status struct {
		Phase      string `json:"phase"`
		IP         string `json:"podIP"`
		Containers []struct {
			Name     string `json:"name"`
			Restarts int    `json:"restartCount"`
		} `json:"containerStatuses"`
	} `json:"status"`
}

// container is one of a pod.
type container struct {
	Name    string   `json:"name"`
	Image   string   `json:"image"`
	Command []string `json:"command"`
	Args    []string `json:"args"`
	Env     []struct {
		Name      string    `json:"name"`
		Value     string    `json:"value"`
		ValueFrom *struct{} `json:"valueFrom"`
	} `json:"env"`
	EnvFrom []struct{} `json:"envFrom"`
	Mounts  []mount    `json:"volumeMounts"`
}

// mount is a volume in a container.
type mount struct {
	Volume     string `json:"name"`
	At         string `json:"mountPath"`
	SubPath    string `json:"subPath"`
	SubPathFor string `json:"subPathExpr"`
}

// process names what runs in the container of a pod: another name is another process.
func (p *pod) process(container string) string {
	for _, c := range p.Status.Containers {
		if c.Name == container {
			return fmt.Sprintf("%s/%d", p.Metadata.UID, c.Restarts)
		}
	}
	return p.Metadata.UID
}

// kured is the container that kured is in.
func (p *pod) kured() (*container, error) {
	var found []*container
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		image, _, _ := strings.Cut(path.Base(c.Image), ":")
		image, _, _ = strings.Cut(image, "@")
		if len(p.Spec.Containers) == 1 || c.Name == "kured" || image == "kured" || len(c.Command) > 0 && path.Base(c.Command[0]) == "kured" {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		return nil, cannotTell(ReasonAmbiguous, fmt.Errorf("of the %d containers of the pod %s, %d could be kured: call the one kured", len(p.Spec.Containers), p.Metadata.Name, len(found)))
	}
	return found[0], nil
}

// kured is the pod of kured on this node.
func (c *checker) kured(ctx context.Context) (*pod, error) {
	set, err := c.daemonSet(ctx)
	if err != nil {
		return nil, err
	}
	q := kube.Query{Resource: kube.Pods, Namespace: set.Metadata.Namespace, Labels: selector(set.Spec.Selector.Labels), Fields: "spec.nodeName=" + c.Node}
	var pods []*pod
	err = kube.List(ctx, c.client, q, func(p *pod) error {
		ours := p.Spec.Node == c.Node && slices.ContainsFunc(p.Metadata.Owners, func(o kube.Owner) bool { return o.UID == set.Metadata.UID })
		if !ours || !p.Metadata.Deleted.IsZero() {
			return nil
		}
		if pods = append(pods, p); len(pods) > maxPods {
			return cannotTell(ReasonAmbiguous, fmt.Errorf("the DaemonSet %s of kured has more than %d pods on the node %s", set.Metadata.Name, maxPods, c.Node))
		}
		return nil
	})
	name := set.Metadata.Namespace + "/" + set.Metadata.Name
	switch {
	case err != nil:
		return nil, fmt.Errorf("the pod of kured on this node: %w", err)
	case len(pods) == 0:
		return nil, blocked(ReasonNotRunning, "a pod of the DaemonSet "+name+" on this node: see its node selector and tolerations", "the DaemonSet %s of kured has no pod on the node %s", name, c.Node)
	case len(pods) > 1:
		return nil, cannotTell(ReasonAmbiguous, fmt.Errorf("the DaemonSet %s of kured has %d pods on the node %s", name, len(pods), c.Node))
	case pods[0].Status.Phase != "Running":
		return nil, blocked(ReasonNotRunning, "the pod "+pods[0].Metadata.Name+" running", "the pod %s of kured is %q", pods[0].Metadata.Name, pods[0].Status.Phase)
	}
	return pods[0], nil
}

// selector is a selector of labels as the API takes it.
func selector(labels map[string]string) string {
	var all []string
	for k, v := range labels {
		all = append(all, k+"="+v)
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

// daemonSet finds that of kured.
func (c *checker) daemonSet(ctx context.Context) (*daemonSet, error) {
	namespace, name := cmp.Or(c.Namespace, "kube-system"), cmp.Or(c.Name, "kured")
	set, err := kube.Get[daemonSet](ctx, c.client, kube.Query{Resource: kube.DaemonSets, Namespace: namespace}, name)
	switch {
	case errors.Is(err, kube.ErrNotFound) && c.Name == "":
		return c.labelled(ctx)
	case errors.Is(err, kube.ErrNotFound):
		return nil, blocked(ReasonNoKured, "the DaemonSet, or its right name", "there is no DaemonSet %s in namespace %s: %v", name, namespace, err)
	case err != nil:
		return nil, fmt.Errorf("the DaemonSet of kured: %w", err)
	}
	return set, set.is("DaemonSet", namespace, name)
}

// labelled is the one DaemonSet that has the label of kured's chart.
func (c *checker) labelled(ctx context.Context) (*daemonSet, error) {
	const label = "app.kubernetes.io/name=kured"
	var set *daemonSet
	err := kube.List(ctx, c.client, kube.Query{Resource: kube.DaemonSets, Namespace: c.Namespace, Labels: label}, func(d *daemonSet) error {
		if d.Metadata.UID == "" || d.Metadata.Name == "" || d.Metadata.Namespace == "" {
			return cannotTell(cluster.ReasonBadAnswer, errors.New("the DaemonSet of kured has no name, or no UID"))
		}
		if set != nil {
			return cannotTell(ReasonAmbiguous, fmt.Errorf("%s/%s and %s/%s are both labelled %s: name the one of kured", set.Metadata.Namespace, set.Metadata.Name, d.Metadata.Namespace, d.Metadata.Name, label))
		}
		set = d
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("the DaemonSet of kured: %w", err)
	case set == nil:
		return nil, blocked(ReasonNoKured, "kured, or the name of its DaemonSet", "there is no DaemonSet kured, and none is labelled %s", label)
	}
	return set, nil
}

// is checks that an answer is the object that was asked for.
func (o *object) is(kind, namespace, name string) error {
	if o.Kind != kind || o.Metadata.Name != name || o.Metadata.Namespace != namespace || o.Metadata.UID == "" {
		return cannotTell(cluster.ReasonBadAnswer, fmt.Errorf("the server was asked for the %s %s/%s, and answered with another object: kind %q, %s/%s",
			kind, namespace, name, o.Kind, o.Metadata.Namespace, o.Metadata.Name))
	}
	return nil
}
