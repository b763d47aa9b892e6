package owner

import (
	"cmp"
	"context"
	"strings"

	"stella/internal/kube"
	"stella/internal/oom"
)

const (
	// maxPods bounds the pods that are remembered, at 1 to 2 KiB each. A node runs up to 110 unless somebody allows it more.
	maxPods = 1024
	// maxContainers bounds the containers of one. Those beyond have what files tell.
	maxContainers = 64
)

// PodsOn chooses the pods of a node, for a watch whose events [Resolver.Pod] takes.
func PodsOn(node string) kube.Query {
	return kube.Query{Resource: kube.Pods, Fields: "spec.nodeName=" + node}
}

// pods are those that the API told of, by the UID that their cgroups have.
type pods struct {
	byUID map[string]*pod
	round uint64 // counts lists: what is not in the newest is gone
	clock uint64
}

// pod is what is kept of one.
type pod struct {
	meta     kube.Metadata
	qos      string
	workload string
	guessed  bool
	specs    map[string]kube.ContainerSpec // by name
	names    map[string]string             // by ID of a container, also of the one before the last restart
	runtime  string
	asking   bool // for its workload
	gone     bool
	round    uint64
	used     uint64
}

// Pod takes an event of the watch of [PodsOn].
func (r *Resolver) Pod(e kube.Event[kube.Pod]) {
	r.mu.Lock()
	switch e.Change {
	case kube.Reset:
		r.pods.round++
	case kube.Synced:
		for _, p := range r.pods.byUID {
			p.gone = p.gone || p.round != r.pods.round
		}
	case kube.Put, kube.Delete:
		if uid, p := r.pods.put(e.Object, e.Change == kube.Delete); p != nil {
			r.ask(uid, p)
			r.changed(uid)
		}
	}
	r.mu.Unlock()
	r.tell()
}

// ask lets the workload of a pod be asked for, if need be.
func (r *Resolver) ask(uid string, p *pod) {
	if !p.guessed || p.asking || r.o.Kube == nil {
		return
	}
	p.asking = true
	r.homeless = append(r.homeless, uid)
	poke(r.wakeHomeless)
}

// CgroupUID is the UID that the cgroups of a pod have. For a static pod it is the one that the kubelet made from its file; what the API
// has is a mirror of it, with a UID of its own.
func CgroupUID(p *kube.Pod) string {
	if p.Metadata.Annotations["kubernetes.io/config.mirror"] != "" {
		return cmp.Or(p.Metadata.Annotations["kubernetes.io/config.hash"], p.Metadata.UID)
	}
	return p.Metadata.UID
}

// put remembers a pod. It is nil where there is no room.
func (p *pods) put(from *kube.Pod, gone bool) (uid string, known *pod) {
	uid = CgroupUID(from)
	known = p.byUID[uid]
	if known == nil {
		if !p.makeRoom() {
			return uid, nil
		}
		known = &pod{}
		p.byUID[uid] = known
	}
	p.clock++
	known.used, known.round, known.gone = p.clock, p.round, gone
	known.meta = kube.Metadata{Name: from.Metadata.Name, Namespace: from.Metadata.Namespace, Owners: from.Metadata.Owners}
	known.qos = from.Status.QoS
	known.specs, known.names = map[string]kube.ContainerSpec{}, map[string]string{}
	for _, list := range [][]kube.ContainerSpec{from.Spec.InitContainers, from.Spec.Containers, from.Spec.Ephemeral} {
		for _, c := range list[:min(len(list), maxContainers)] {
			c.Ports = nil
			known.specs[c.Name] = c
		}
	}
	for _, list := range [][]kube.ContainerStatus{from.Status.InitContainers, from.Status.Containers, from.Status.Ephemeral} {
		for _, c := range list[:min(len(list), maxContainers)] {
			known.named(c.ID, c.Name)
			for _, state := range []kube.ContainerState{c.State, c.Last} {
				if state.Terminated != nil {
					known.named(state.Terminated.ID, c.Name)
				}
			}
		}
	}
	if known.workload == "" {
		known.guess()
	}
	return uid, known
}

// makeRoom forgets the pod that has been gone for the longest. It reports whether there is room now.
func (p *pods) makeRoom() bool {
	if len(p.byUID) < maxPods {
		return true
	}
	oldest, least := "", p.clock+1
	for uid, known := range p.byUID {
		if known.gone && known.used < least {
			oldest, least = uid, known.used
		}
	}
	delete(p.byUID, oldest)
	return len(p.byUID) < maxPods
}

// named remembers whose a container is: RUNTIME://ID.
func (p *pod) named(url, name string) {
	if runtime, id, ok := strings.Cut(url, "://"); ok && id != "" {
		p.names[id], p.runtime = name, runtime
	}
}

// guess is the workload until the API has been asked.
func (p *pod) guess() {
	owner, ok := p.meta.Controller()
	switch {
	case !ok:
		p.workload = "Pod/" + p.meta.Name // nobody made it
	case owner.Kind == "ReplicaSet", owner.Kind == "Job":
		p.workload, p.guessed = cmp.Or(guess(p.meta.Name), owner.Kind+"/"+owner.Name), true
	default:
		p.workload = owner.Kind + "/" + owner.Name
	}
}

// findWorkload asks the API for the workload of one pod, and reports whether there was one to ask for.
func (r *Resolver) findWorkload(ctx context.Context) bool {
	r.mu.Lock()
	if len(r.homeless) == 0 {
		r.homeless = nil
		r.mu.Unlock()
		return false
	}
	uid := r.homeless[0]
	r.homeless = r.homeless[1:]
	p := r.pods.byUID[uid]
	if p == nil {
		r.mu.Unlock()
		return true
	}
	p.asking = false
	workload, sure := r.sibling(p)
	meta := p.meta
	r.mu.Unlock()
	if !sure {
		found, err := kube.Workload(ctx, r.o.Kube, &meta)
		if err != nil {
			return true // the guess stays, and the next change of the pod asks again
		}
		workload = found
	}
	r.mu.Lock()
	p.workload, p.guessed = workload, false
	r.changed(uid)
	r.mu.Unlock()
	r.tell()
	return true
}

// sibling is the workload of another pod of the same ReplicaSet or Job, which needs no request.
func (r *Resolver) sibling(p *pod) (workload string, sure bool) {
	mine, _ := p.meta.Controller()
	for _, other := range r.pods.byUID {
		if owner, ok := other.meta.Controller(); ok && !other.guessed && owner.UID == mine.UID {
			return other.workload, true
		}
	}
	return "", false
}

// join is all that is known of a cgroup. What the API says of names and amounts counts more than files, which are as
// they were when the container was made.
func (r *Resolver) join(k *known) oom.Container {
	c := k.file
	c.Node = r.o.Node
	p := r.pods.byUID[c.PodUID]
	if p == nil {
		if c.Pod != "" {
			c.Workload = guess(c.Pod)
			c.WorkloadGuessed = c.Workload != ""
		}
		return c
	}
	c.Namespace, c.Pod = p.meta.Namespace, p.meta.Name
	c.QoS = cmp.Or(p.qos, c.QoS)
	c.Workload, c.WorkloadGuessed = p.workload, p.guessed
	if c.ID == "" {
		return c
	}
	c.Name = cmp.Or(c.Name, p.names[c.ID])
	c.Runtime = cmp.Or(c.Runtime, p.runtime)
	if s, ok := p.specs[c.Name]; ok {
		c.Image = s.Image
		c.Request = int64(s.Resources.Requests.Memory)
		c.LimitBytes = int64(s.Resources.Limits.Memory)
	}
	return c
}
