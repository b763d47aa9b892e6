package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Metadata is what all objects have.
type Metadata struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	UID         string            `json:"uid"`
	Created     time.Time         `json:"creationTimestamp"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	Owners      []Owner           `json:"ownerReferences"`
}

// Owner is an object that another one belongs to.
type Owner struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	UID        string `json:"uid"`
	Controller bool   `json:"controller"`
}

// Controller is the owner that made the object and looks after it.
func (m *Metadata) Controller() (Owner, bool) {
	for _, o := range m.Owners {
		if o.Controller {
			return o, true
		}
	}
	return Owner{}, false
}

// Owned is any object, by its metadata.
type Owned struct {
	Metadata Metadata `json:"metadata"`
}

// Pod is what Stella reads of a pod.
type Pod struct {
	Metadata Metadata  `json:"metadata"`
	Spec     PodSpec   `json:"spec"`
	Status   PodStatus `json:"status"`
}

// PodSpec is what was asked for.
type PodSpec struct {
	NodeName       string          `json:"nodeName"`
	InitContainers []ContainerSpec `json:"initContainers"`
	Containers     []ContainerSpec `json:"containers"`
	Ephemeral      []ContainerSpec `json:"ephemeralContainers"`
}

// ContainerSpec is one container that was asked for.
type ContainerSpec struct {
	Name      string          `json:"name"`
	Image     string          `json:"image"`
	Resources Resources       `json:"resources"`
	Ports     []ContainerPort `json:"ports"`
}

// ContainerPort is one that a container says it listens on.
type ContainerPort struct {
	Port     int    `json:"containerPort"`
	Protocol string `json:"protocol"` // "" is TCP
}

// Resources are what a container asks for.
type Resources struct {
	Requests Amounts `json:"requests"`
	Limits   Amounts `json:"limits"`
}

// Amounts are those of one kind.
type Amounts struct {
	Memory Bytes `json:"memory"`
}

// PodStatus is what the kubelet reports.
type PodStatus struct {
	Phase          string            `json:"phase"`
	QoS            string            `json:"qosClass"`
	Reason         string            `json:"reason"`
	IP             string            `json:"podIP"`
	InitContainers []ContainerStatus `json:"initContainerStatuses"`
	Containers     []ContainerStatus `json:"containerStatuses"`
	Ephemeral      []ContainerStatus `json:"ephemeralContainerStatuses"`
}

// ContainerStatus is what the kubelet reports of a container.
type ContainerStatus struct {
	Name     string         `json:"name"`
	ID       string         `json:"containerID"` // runtime://ID
	Ready    bool           `json:"ready"`
	Restarts int            `json:"restartCount"`
	State    ContainerState `json:"state"`
	Last     ContainerState `json:"lastState"`
}

// ContainerState is one of its three.
type ContainerState struct {
	Waiting *struct {
		Reason string `json:"reason"`
	} `json:"waiting"`
	Running *struct {
		Started time.Time `json:"startedAt"`
	} `json:"running"`
	Terminated *Terminated `json:"terminated"`
}

// Terminated is how a container ended.
type Terminated struct {
	ExitCode int       `json:"exitCode"`
	Reason   string    `json:"reason"`
	Started  time.Time `json:"startedAt"`
	Finished time.Time `json:"finishedAt"`
	ID       string    `json:"containerID"`
}

// Node is what Stella reads of a node.
type Node struct {
	Metadata Metadata `json:"metadata"`
	Status   struct {
		Capacity    Amounts `json:"capacity"`
		Allocatable Amounts `json:"allocatable"`
		Info        struct {
			Kernel  string `json:"kernelVersion"`
			Kubelet string `json:"kubeletVersion"`
			Runtime string `json:"containerRuntimeVersion"`
			BootID  string `json:"bootID"`
		} `json:"nodeInfo"`
	} `json:"status"`
}

// NodeEvent is what Stella reads of an event. Despite its name it can be about any object.
type NodeEvent struct {
	Metadata Metadata  `json:"metadata"`
	Reason   string    `json:"reason"`
	Message  string    `json:"message"`
	Count    int       `json:"count"`
	First    time.Time `json:"firstTimestamp"`
	Last     time.Time `json:"lastTimestamp"`
	Time     time.Time `json:"eventTime"`
}

// When is the time of an event's newest happening.
func (e *NodeEvent) When() time.Time {
	for _, t := range []time.Time{e.Last, e.Time, e.First} {
		if !t.IsZero() {
			return t
		}
	}
	return e.Metadata.Created
}

// Bytes is an amount of memory, which the API has as a quantity: "64Mi". What is no quantity is an
// error; a fraction of a byte is rounded up.
type Bytes int64

// maxQuantity bounds the text of a quantity, which else takes the longer to read the longer it is. The server writes no longer ones.
const maxQuantity = 64

// UnmarshalJSON reads a quantity.
func (b *Bytes) UnmarshalJSON(text []byte) error {
	if len(text) > maxQuantity {
		return fmt.Errorf("an amount of memory of %d characters", len(text))
	}
	value := string(text) // a number, or
	if text[0] == '"' {
		if err := json.Unmarshal(text, &value); err != nil {
			return err
		}
	}
	if value == "null" {
		return nil
	}
	q, err := resource.ParseQuantity(value)
	if err != nil {
		return fmt.Errorf("amount of memory %s: %w", text, err)
	}
	*b = Bytes(q.Value())
	return nil
}

// Workload is what an object belongs to furthest up, as Kind/name: a pod's Deployment, not its ReplicaSet. It is "" for
// what nobody looks after. It makes up to one request.
func Workload(ctx context.Context, c *Client, m *Metadata) (string, error) {
	owner, ok := m.Controller()
	if !ok {
		return "", nil
	}
	above, ok := parents[owner.Kind]
	if !ok {
		return owner.Kind + "/" + owner.Name, nil
	}
	parent, err := Get[Owned](ctx, c, Query{Resource: above, Namespace: m.Namespace, Metadata: true}, owner.Name)
	if err != nil {
		return owner.Kind + "/" + owner.Name, err
	}
	if top, ok := parent.Metadata.Controller(); ok && parent.Metadata.UID == owner.UID {
		owner = top
	}
	return owner.Kind + "/" + owner.Name, nil
}

// parents are the kinds that something else can look after.
var parents = map[string]Resource{"ReplicaSet": ReplicaSets, "Job": Jobs}
