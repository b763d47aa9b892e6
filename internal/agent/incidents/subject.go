package incidents

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"stella/internal/incident"
	"stella/internal/oom"
)

// about is whom a kill is about: what tells one incident from another.
type about struct {
	// key names the workload, and limit whose limit it was; limit is empty where that is not known.
	key, limit string
	subject    incident.Subject
}

// shortID is as much of a container's ID as crictl shows.
const shortID = 13

// aboutKill says whom a kill is about. What ran out of memory is the node where no limit of the victim's fired: then the victim is innocent, and all
// victims of that are of one incident.
func aboutKill(k *oom.Kill, node string) about {
	a := about{limit: string(k.Limit.Scope)}
	c := &k.Container
	a.subject = incident.Subject{Namespace: c.Namespace, Workload: c.Workload, Pod: c.Pod, Container: c.Name, Image: c.Image, Node: cmp.Or(c.Node, node), Cgroup: k.Cgroup}
	switch k.Limit.Scope {
	case oom.ScopeUnknown, "":
		a.limit = ""
	case oom.ScopeNode, oom.ScopeCpuset:
		a.key, a.subject = "node", incident.Subject{Name: "node " + node, Node: node}
		return a
	case oom.ScopePod:
		a.subject.Container, a.subject.Image = "", ""
	case oom.ScopeParent:
		a.limit += " " + k.Limit.Cgroup
	}
	s := &a.subject
	switch pod := cmp.Or(c.Pod, c.PodUID); {
	case pod != "":
		workload := cmp.Or(c.Workload, "Pod/"+pod)
		a.key = join("pod", c.Namespace, workload, s.Container)
		bare := workload[strings.LastIndexByte(workload, '/')+1:]
		s.Name = join(c.Namespace, bare)
		if s.Container != bare {
			s.Name = join(c.Namespace, bare, s.Container)
		}
	case c.Name != "":
		a.key, s.Name = join("container", c.Name), c.Name
	case c.ID != "":
		a.key, s.Name = join("container", c.ID), c.ID[:min(len(c.ID), shortID)]
	case c.Unit != "":
		a.key, s.Name = join("unit", c.Unit), c.Unit
	case k.Cgroup != "":
		a.key, s.Name = join("cgroup", k.Cgroup), k.Cgroup
	default:
		a.key, s.Name = "nowhere", "node "+node+", where it is not known"
	}
	return a
}

// join is a path of what is not empty.
func join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "/")
}

// fits reports whether a kill by one limit belongs to an incident by another: where one is not known, it may be the same.
func fits(a, b string) bool { return a == b || a == "" || b == "" }

// daemons are this product's own, as processes (whose names have 15 bytes) and as units or containers.
var daemons = []string{"stellad", "stella-agent", "rdev-api", "kured-sentinel-gate", "kured-sentinel-"}

// sourceOf is who opens an incident about a kill here: the agent, for its node or for one of the product's daemons.
func sourceOf(k *oom.Kill) incident.Source {
	names := []string{k.Process.Comm, k.Container.Name, strings.TrimSuffix(k.Container.Unit, ".service")}
	if slices.ContainsFunc(names, func(name string) bool { return slices.Contains(daemons, name) }) {
		return incident.SourceDaemon
	}
	return incident.SourceNode
}

// The names that the cgroups of stellad's workers and of rdev-api's commands begin with.
const (
	workerGroup  = "stella-worker-"
	commandGroup = "stella-rdev-"
)

// of reports whether a cgroup, or one above it, has a name with a prefix.
func of(cgroup, prefix string) bool {
	for ; cgroup != "/" && cgroup != "" && cgroup != "."; cgroup = path.Dir(cgroup) {
		if strings.HasPrefix(path.Base(cgroup), prefix) {
			return true
		}
	}
	return false
}
