package analyze

import (
	"io"
	"strings"
	"time"

	"stella/internal/kube"
	"stella/internal/oom"
	"stella/internal/oom/notice"
	"stella/internal/oom/owner"
)

// maxPods bounds the pods that are kept, at about 1 KiB each.
const maxPods = 10_000

// pods are those of all lists, by what a cgroup's path has of them.
type pods struct {
	containers map[string]*container // by ID
	byUID      map[string]*oom.Container
	// owners are the owners of what owns pods, by its UID: a ReplicaSet's Deployment, where the list has ReplicaSets.
	owners map[string]kube.Owner
	all    []*container
	left   int
}

// container is one of a pod, as its status has it.
type container struct {
	oom.Container
	owner    kube.Owner // of the pod
	hash     string     // pod-template-hash
	restarts int
	state    string
	running  time.Time // since when; zero if it does not
	// kills are those that were found in it, and shown how many of them a status shows.
	kills, shown int
	// ended is how this one and the one before it ended.
	ended []kube.Terminated
}

func newPods() pods {
	return pods{containers: map[string]*container{}, byUID: map[string]*oom.Container{}, owners: map[string]kube.Owner{}}
}

// object is one of a list: a pod, what owns pods, or an event.
type object struct {
	kube.Pod
	Message string    `json:"message"`
	Last    time.Time `json:"lastTimestamp"`
	Source  struct {
		Host string `json:"host"`
	} `json:"source"`
}

func (a *Analysis) readPods(name string, r io.Reader) {
	a.source++
	s := Source{Name: name}
	in := &counted{r: r}
	err := kube.ReadList(in, func(o *object) error {
		if len(o.Spec.Containers) > 0 {
			s.Pods++
			a.pod(&o.Pod, &s)
		} else if n, ok := notice.Line([]byte(o.Message), o.Last); ok { // an event
			s.Notices++
			a.hear(&heard{Notice: n, source: a.source, node: o.Source.Host})
		} else {
			a.pods.owned(&o.Metadata)
		}
		return nil
	})
	if err != nil {
		a.unread(name, err)
	}
	a.result.Totals.Bytes += in.n
	a.result.Totals.Pods += s.Pods
	a.told(s)
}

func (p *pods) owned(m *kube.Metadata) {
	if owner, ok := m.Controller(); ok && len(p.owners) < maxPods {
		p.owners[m.UID] = owner
	}
}

func (a *Analysis) pod(p *kube.Pod, s *Source) {
	if len(a.pods.byUID) >= maxPods {
		a.pods.left++
		return
	}
	m := &p.Metadata
	uid := owner.CgroupUID(p)
	pod := oom.Container{Namespace: m.Namespace, Pod: m.Name, PodUID: uid, QoS: p.Status.QoS, Node: p.Spec.NodeName}
	made, _ := m.Controller()
	hash := m.Labels["pod-template-hash"]
	first := &container{Container: pod, owner: made, hash: hash}
	a.pods.byUID[uid] = &first.Container
	a.pods.all = append(a.pods.all, first)

	if len(p.Spec.Containers) == 1 && len(p.Spec.InitContainers)+len(p.Spec.Ephemeral) == 0 {
		first.spec(&p.Spec.Containers[0]) // then a container of this pod that is gone was that one too
	}
	specs := map[string]*kube.ContainerSpec{}
	for _, list := range [][]kube.ContainerSpec{p.Spec.InitContainers, p.Spec.Containers, p.Spec.Ephemeral} {
		for i := range list {
			specs[list[i].Name] = &list[i]
		}
	}
	for _, list := range [][]kube.ContainerStatus{p.Status.InitContainers, p.Status.Containers, p.Status.Ephemeral} {
		for i := range list {
			st := &list[i]
			c := &container{Container: pod, owner: made, hash: hash, restarts: st.Restarts}
			c.Runtime, c.ID, _ = strings.Cut(st.ID, "://")
			c.Name = st.Name
			if spec := specs[st.Name]; spec != nil {
				c.spec(spec)
			}
			a.status(c, st, s)
			a.pods.all = append(a.pods.all, c)
		}
	}
}

func (c *container) spec(s *kube.ContainerSpec) {
	c.Name, c.Image = s.Name, s.Image
	c.Request, c.LimitBytes = int64(s.Resources.Requests.Memory), int64(s.Resources.Limits.Memory)
}

// status takes in how a container is and how it ended.
func (a *Analysis) status(c *container, st *kube.ContainerStatus, s *Source) {
	switch {
	case st.State.Running != nil:
		c.state, c.running = "running", st.State.Running.Started
	case st.State.Terminated != nil:
		c.state = "terminated"
	default:
		c.state = "waiting"
	}
	if c.ID != "" {
		a.pods.containers[c.ID] = c
	}
	for _, end := range []*kube.Terminated{st.State.Terminated, st.Last.Terminated} {
		if end == nil {
			continue
		}
		_, id, _ := strings.Cut(end.ID, "://")
		c.ended = append(c.ended, *end)
		if id != "" {
			a.pods.containers[id] = c
		}
		if end.Reason != oomKilled {
			continue
		}
		s.Notices++
		of := c.Container
		of.ID = id
		a.hear(&heard{Notice: oom.Notice{
			Witness: oom.WitnessStatus, Time: end.Finished, Container: of, Process: oom.Process{UID: -1}, ExitCode: end.ExitCode, Reason: end.Reason,
		}, late: true, started: end.Started, source: a.source})
	}
}

// oomKilled is the reason of a status. The runtime gives it where the container's cgroup had an OOM, whoever died of it.
const oomKilled = "OOMKilled"

// containers are those with kills, as their status has them.
func (a *Analysis) containers() (all []Container) {
	for _, c := range a.pods.all {
		if c.kills == 0 {
			continue
		}
		of := Container{Container: c.Container, Restarts: c.restarts, State: c.state, Kills: c.kills, Hidden: c.kills - c.shown}
		if len(c.ended) > 0 {
			of.Reason, of.ExitCode = c.ended[0].Reason, c.ended[0].ExitCode
		}
		all = append(all, of)
	}
	return all
}

// workloads finds the owner furthest up, when all lists were read.
func (p *pods) workloads() {
	for _, c := range p.all {
		c.Workload, c.WorkloadGuessed = p.workload(c)
	}
}

func (p *pods) workload(c *container) (name string, guessed bool) {
	owner := c.owner
	if owner.Name == "" {
		return "Pod/" + c.Pod, false // nobody made it
	}
	for range 4 { // CronJob, Job, pod; what is longer goes round in circles
		above, ok := p.owners[owner.UID]
		if !ok {
			break
		}
		owner = above
	}
	if owner == c.owner { // nothing above is in a list: names tell
		switch {
		case owner.Kind == "ReplicaSet" && c.hash != "":
			if base, ok := strings.CutSuffix(owner.Name, "-"+c.hash); ok {
				return "Deployment/" + base, true
			}
		case owner.Kind == "Job":
			// The controller adds the minutes since 1970.
			if i := strings.LastIndexByte(owner.Name, '-'); i > 0 && len(owner.Name)-i == 9 && strings.Trim(owner.Name[i+1:], "0123456789") == "" {
				return "CronJob/" + owner.Name[:i], true
			}
		}
	}
	return owner.Kind + "/" + owner.Name, false
}

// counted counts what is read.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
