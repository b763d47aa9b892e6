package notice

import (
	"context"
	"strings"

	"stella/internal/kube"
	"stella/internal/oom"
	"stella/internal/oom/owner"
)

// maxEnds bounds the ends of containers that are remembered as told: two of each container of a node, and those of pods that are gone.
const maxEnds = 4096

// Statuses hears what the statuses of pods say of OOM kills. It is used by one goroutine.
type Statuses struct {
	// told are the IDs of containers whose end was told, older the ones before them: when there are too many, half is forgotten.
	told, older map[string]bool
}

// Pod gives a notice for each container of a pod that ended with the reason OOMKilled, once for each end. The exit code may be any: of the
// container's first process, which may have lived on or ended by itself.
func (s *Statuses) Pod(p *kube.Pod) []oom.Notice {
	var all []oom.Notice
	for _, list := range [][]kube.ContainerStatus{p.Status.InitContainers, p.Status.Containers, p.Status.Ephemeral} {
		for _, c := range list {
			for _, end := range []*kube.Terminated{c.Last.Terminated, c.State.Terminated} {
				if end != nil && end.Reason == "OOMKilled" && s.first(p, c.Name, end) {
					all = append(all, status(p, c.Name, end))
				}
			}
		}
	}
	return all
}

// first reports whether an end was not told before.
func (s *Statuses) first(p *kube.Pod, name string, end *kube.Terminated) bool {
	key := end.ID
	if key == "" { // some runtimes leave it out
		key = strings.Join([]string{p.Metadata.UID, name, end.Finished.String()}, "/")
	}
	if s.told[key] || s.older[key] {
		return false
	}
	if s.told == nil || len(s.told) >= maxEnds/2 {
		s.told, s.older = map[string]bool{}, s.told
	}
	s.told[strings.Clone(key)] = true
	return true
}

func status(p *kube.Pod, name string, end *kube.Terminated) oom.Notice {
	runtime, id, _ := strings.Cut(end.ID, "://")
	return oom.Notice{
		Witness: oom.WitnessStatus, Time: end.Finished, ExitCode: end.ExitCode, Reason: end.Reason, Process: oom.Process{UID: -1},
		Container: oom.Container{
			ID: id, Runtime: runtime, Name: name, Namespace: p.Metadata.Namespace, Pod: p.Metadata.Name,
			PodUID: owner.CgroupUID(p), QoS: p.Status.QoS, Node: p.Spec.NodeName,
		},
	}
}

// NodeEvents follows the kubelet's events SystemOOM of a node until ctx ends. The API keeps events for an hour; those
// are told first.
func NodeEvents(ctx context.Context, client *kube.Client, node string, tell func(oom.Notice), trouble func(error)) error {
	q := kube.Query{Resource: kube.Events, Fields: "involvedObject.kind=Node,involvedObject.name=" + node + ",reason=SystemOOM"}
	return kube.Watch(ctx, client, q, func(e kube.Event[kube.NodeEvent]) error {
		if e.Change != kube.Put {
			return nil
		}
		// An event that happens again is the same one with another count, so it may be told again; its time tells.
		if n, ok := Line([]byte(e.Object.Message), e.Object.When()); ok && n.Witness == oom.WitnessKubelet {
			n.Container.Node = node
			tell(n)
		}
		return nil
	}, trouble)
}
