package cli

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"stella/internal/oom"
)

// podLine is a pod, and the kills that its status does not show.
type podLine struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
	Node      string `json:"node,omitempty"`
	Workload  string `json:"workload,omitempty"`
	// Ready of Containers are ready; where only the agent was asked, they run.
	Ready      int    `json:"ready"`
	Containers int    `json:"containers"`
	Status     string `json:"status"`
	// Restarts is nil where only the agent was asked.
	Restarts *int64    `json:"restarts"`
	Created  time.Time `json:"created,omitzero"`
	// Kills is nil where no agent that was asked knows of the pod.
	Kills *podKills `json:"kills"`
}

// podKills are OOM kills in a pod.
type podKills struct {
	Count int64 `json:"count"`
	// Hidden are those that the container's first process survived: no restart shows them. Unknown
	// are those of which nobody saw that.
	Hidden  int64     `json:"hidden"`
	Unknown int64     `json:"unknown"`
	Last    time.Time `json:"last,omitzero"`
}

// goneStatus is the status of a pod that is no more, but had kills.
const goneStatus = "Gone"

// agentPods are the pods of the containers that an agent knows.
func agentPods(usage []oom.Usage) []podLine {
	var pods podSet
	running := make(map[[2]string]bool) // by pod and container: a restarted one is there several times
	for i := range usage {
		u := &usage[i]
		p := pods.of(&u.Container)
		if p == nil {
			continue
		}
		id := [2]string{cmp.Or(p.UID, p.Namespace+"/"+p.Name), cmp.Or(u.Container.Name, u.Container.ID)}
		runs, known := running[id]
		if !known {
			p.Containers++
		}
		if u.Gone.IsZero() && !runs {
			p.Ready++
			p.Status = "Running"
		}
		running[id] = runs || u.Gone.IsZero()
	}
	for i := range pods.lines {
		pods.lines[i].Status = cmp.Or(pods.lines[i].Status, "Ended")
	}
	return pods.lines
}

// withKills adds what an agent knows of kills. It knows the pods of its own node, and
// those that it has seen itself; of others it knows nothing, which is not the same as
// none. Pods that are no more, but had kills, are added.
func withKills(lines []podLine, node string, usage []oom.Usage, kills []oom.Kill) []podLine {
	pods := podSet{lines: lines}
	for i := range lines {
		if l := &lines[i]; node != "" && l.Node == node {
			l.Kills = new(podKills)
		}
	}
	for i := range usage {
		p := pods.find(&usage[i].Container)
		if p == nil {
			continue
		}
		p.Workload = cmp.Or(p.Workload, usage[i].Container.Workload)
		if p.Kills == nil {
			p.Kills = new(podKills)
		}
	}
	for i := range kills {
		k := &kills[i]
		p := pods.of(&k.Container)
		if p == nil {
			continue // no pod's
		}
		p.Status = cmp.Or(p.Status, goneStatus)
		if p.Kills == nil {
			p.Kills = new(podKills)
		}
		p.Kills.add(k)
	}
	return pods.lines
}

func (p *podKills) add(k *oom.Kill) {
	n := max(k.Count, 1)
	p.Count += n
	switch {
	case k.MainSurvived == nil:
		p.Unknown += n
	case *k.MainSurvived:
		p.Hidden += n
	}
	if k.Time.After(p.Last) {
		p.Last = k.Time
	}
}

// podSet finds pods by what is known of a container's: the UID, or namespace and name.
type podSet struct {
	lines []podLine
	index map[string]int // of keys of lines, and filled at the first use
}

// find returns the pod of a container, nil where there is none in the set.
func (s *podSet) find(c *oom.Container) *podLine {
	if s.index == nil {
		s.index = make(map[string]int)
		for i := range s.lines {
			s.put(i)
		}
	}
	if c.PodUID != "" {
		if i, ok := s.index[c.PodUID]; ok {
			return &s.lines[i]
		}
		return nil // one of the same name may be its successor
	}
	if i, ok := s.index[c.Namespace+"/"+c.Pod]; ok && c.Pod != "" {
		return &s.lines[i]
	}
	return nil
}

// of is find, but adds the pod; nil only for what is in no pod.
func (s *podSet) of(c *oom.Container) *podLine {
	if p := s.find(c); p != nil || podText(c) == "" {
		return p
	}
	s.lines = append(s.lines, podLine{Namespace: c.Namespace, Name: c.Pod, UID: c.PodUID, Node: c.Node, Workload: c.Workload})
	s.put(len(s.lines) - 1)
	return &s.lines[len(s.lines)-1]
}

func (s *podSet) put(i int) {
	l := &s.lines[i]
	if l.UID != "" {
		s.index[l.UID] = i
	}
	if l.Name != "" {
		s.index[l.Namespace+"/"+l.Name] = i
	}
}

// podRows are pods for people.
func podRows(pods []podLine, now time.Time, namespaces, wide bool) *rows {
	head := []string{"NAME", "READY", "STATUS", "RESTARTS", "AGE", "KILLS", "HIDDEN", "LAST KILL"}
	if namespaces {
		head = slices.Insert(head, 0, "NAMESPACE")
	}
	if wide {
		head = append(head, "NODE", "WORKLOAD", "UID")
	}
	r := newRows(slices.Index(head, "NAME"), head...)
	for i := range pods {
		p := &pods[i]
		ready, restarts, kills, hidden, last := "", "", "?", "?", ""
		if p.Containers > 0 {
			ready = fmt.Sprintf("%d/%d", p.Ready, p.Containers)
		}
		if p.Restarts != nil {
			restarts = fmt.Sprint(*p.Restarts)
		}
		if k := p.Kills; k != nil {
			kills, hidden, last = fmt.Sprint(k.Count), k.hiddenText(), since(now, k.Last)
		}
		cells := []string{cmp.Or(p.Name, p.UID), ready, p.Status, restarts, since(now, p.Created), kills, hidden, last}
		if namespaces {
			cells = slices.Insert(cells, 0, p.Namespace)
		}
		if wide {
			cells = append(cells, p.Node, p.Workload, p.UID)
		}
		r.add(cells...)
	}
	return r
}

// hiddenText is how many kills no restart shows; + and ? where nobody saw that of some.
func (p *podKills) hiddenText() string {
	switch {
	case p.Unknown == 0:
		return fmt.Sprint(p.Hidden)
	case p.Hidden == 0:
		return "?"
	}
	return fmt.Sprint(p.Hidden) + "+"
}
