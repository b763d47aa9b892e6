package cli

import (
	"cmp"
	"fmt"
	"time"

	"stella/internal/kube"
)

// clusterPod is what a line about a pod needs of it.
type clusterPod struct {
	Metadata struct {
		kube.Metadata
		Deleted time.Time `json:"deletionTimestamp"`
	} `json:"metadata"`
	Spec struct {
		NodeName       string `json:"nodeName"`
		InitContainers []struct {
			Name    string `json:"name"`
			Restart string `json:"restartPolicy"` // Always makes it a sidecar
		} `json:"initContainers"`
		Containers []struct{} `json:"containers"`
	} `json:"spec"`
	Status struct {
		Phase          string            `json:"phase"`
		Reason         string            `json:"reason"`
		InitContainers []containerStatus `json:"initContainerStatuses"`
		Containers     []containerStatus `json:"containerStatuses"`
		Conditions     []struct {
			Type   string `json:"type"`
			Status string `json:"status"`
			Reason string `json:"reason"`
		} `json:"conditions"`
	} `json:"status"`
}

// containerStatus is what a line about a pod needs of a container.
type containerStatus struct {
	Name     string `json:"name"`
	Ready    bool   `json:"ready"`
	Started  bool   `json:"started"`
	Restarts int64  `json:"restartCount"`
	State    struct {
		Waiting *struct {
			Reason string `json:"reason"`
		} `json:"waiting"`
		Running    *struct{} `json:"running"`
		Terminated *struct {
			Reason   string `json:"reason"`
			ExitCode int    `json:"exitCode"`
			Signal   int    `json:"signal"`
		} `json:"terminated"`
	} `json:"state"`
}

// line is the pod as kubectl get pods shows it.
func (p *clusterPod) line() podLine {
	m := &p.Metadata
	line := podLine{
		Namespace: m.Namespace, Name: m.Name, UID: m.UID, Node: p.Spec.NodeName, Created: m.Created,
		Containers: len(p.Spec.Containers), Status: cmp.Or(p.Status.Reason, p.Status.Phase), Restarts: new(int64),
	}
	if c, ok := p.condition("PodScheduled"); ok && c == "SchedulingGated" {
		line.Status = c
	}
	for _, c := range p.Spec.InitContainers {
		if c.Restart == "Always" {
			line.Containers++
		}
	}
	initialized := p.countInit(&line)
	if _, ok := p.condition("Initialized"); initialized || ok {
		p.countContainers(&line)
	}
	switch {
	case m.Deleted.IsZero():
	case p.Status.Reason == "NodeLost":
		line.Status = "Unknown"
	case p.Status.Phase != "Succeeded" && p.Status.Phase != "Failed":
		line.Status = "Terminating"
	}
	return line
}

// countInit looks at the init containers, which run one after another, and reports
// whether all are through. If not, the status is how far they are, and the restarts are theirs.
func (p *clusterPod) countInit(line *podLine) bool {
	var restarts int64
	for i := range p.Status.InitContainers {
		c := &p.Status.InitContainers[i]
		sidecar := p.sidecar(c.Name)
		restarts += c.Restarts
		if sidecar {
			*line.Restarts += c.Restarts
		}
		switch state := c.word(); {
		case c.State.Terminated != nil && c.State.Terminated.ExitCode == 0:
			continue
		case sidecar && c.Started:
			if c.Ready {
				line.Ready++
			}
			continue
		case state != "" && state != "PodInitializing":
			line.Status = "Init:" + state
		default:
			line.Status = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		if _, ok := p.condition("Initialized"); !ok {
			line.Restarts = &restarts
		}
		return false
	}
	return true
}

func (p *clusterPod) sidecar(name string) bool {
	for _, c := range p.Spec.InitContainers {
		if c.Name == name {
			return c.Restart == "Always"
		}
	}
	return false
}

// countContainers looks at the containers. What is wrong with the first one is what the status says.
func (p *clusterPod) countContainers(line *podLine) {
	running := false
	for i := len(p.Status.Containers) - 1; i >= 0; i-- {
		c := &p.Status.Containers[i]
		*line.Restarts += c.Restarts
		if state := c.word(); state != "" {
			line.Status = state
		} else if c.Ready && c.State.Running != nil {
			running = true
			line.Ready++
		}
	}
	if line.Status == "Completed" && running { // one is done, another goes on
		line.Status = "NotReady"
		if _, ok := p.condition("Ready"); ok {
			line.Status = "Running"
		}
	}
}

// word is what a container waits for or how it ended; empty while it runs.
func (c *containerStatus) word() string {
	if w := c.State.Waiting; w != nil && w.Reason != "" {
		return w.Reason
	}
	t := c.State.Terminated
	switch {
	case t == nil:
		return ""
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}

// condition reports whether a pod has a condition: whether it is true, or, for PodScheduled, why not.
func (p *clusterPod) condition(name string) (reason string, ok bool) {
	for _, c := range p.Status.Conditions {
		if c.Type == name {
			return c.Reason, c.Status == "True" || name == "PodScheduled"
		}
	}
	return "", false
}
