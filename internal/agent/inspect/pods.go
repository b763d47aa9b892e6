package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"stella/internal/kube"
	"stella/internal/oom"
	"stella/internal/oom/owner"
)

// The annotations of pods that are read. Those of Prometheus are its convention, and say nothing about profiles.
const (
	annotationMetrics = "stella/metrics"
	annotationPprof   = "stella/pprof"

	prometheusScrape = "prometheus.io/scrape"
	prometheusScheme = "prometheus.io/scheme"
	prometheusPort   = "prometheus.io/port"
	prometheusPath   = "prometheus.io/path"

	defaultContainer = "kubectl.kubernetes.io/default-container"
)

// pods are those that say that they may be asked, by the UID that their cgroups have.
type pods struct {
	byUID map[string]*pod
	round uint64 // counts lists: what is not in the newest is gone
}

// pod is what one says.
type pod struct {
	of    map[string]Target // by container, without a cgroup
	text  string            // what is wrong with it, as it was logged
	round uint64
}

func newPods() pods { return pods{byUID: map[string]*pod{}} }

// Pod takes an event of the watch of [owner.PodsOn].
func (i *Inspector) Pod(e kube.Event[kube.Pod]) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch e.Change {
	case kube.Reset:
		i.pods.round++
	case kube.Synced:
		for uid, p := range i.pods.byUID {
			if p.round != i.pods.round {
				delete(i.pods.byUID, uid)
			}
		}
	case kube.Delete:
		delete(i.pods.byUID, owner.CgroupUID(e.Object))
	case kube.Put:
		i.put(e.Object)
	}
}

// put takes what a pod says.
func (i *Inspector) put(from *kube.Pod) {
	uid := owner.CgroupUID(from)
	of, err := wishes(from)
	old := i.pods.byUID[uid]
	if len(of) == 0 && err == nil {
		delete(i.pods.byUID, uid)
		return
	}
	if old == nil && len(i.pods.byUID) >= maxTargets {
		err, of = fmt.Errorf("more than %d pods of this node say that they may be asked", maxTargets), nil
	}
	text := ""
	if err != nil {
		text = err.Error()
		if old == nil || old.text != text {
			i.o.Log.Warn("a pod cannot be asked as its annotations say", "namespace", from.Metadata.Namespace, "pod", from.Metadata.Name, "why", err)
		}
	}
	if old != nil || len(i.pods.byUID) < maxTargets {
		i.pods.byUID[uid] = &pod{of: of, text: text, round: i.pods.round}
	}
}

// podsWish reports whether any pod may be asked.
func (i *Inspector) podsWish() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.pods.byUID) > 0
}

// target is that of a container.
func (p *pods) target(c *oom.Container, cgroup string) (Target, bool) {
	known := p.byUID[c.PodUID]
	if known == nil || c.PodUID == "" || c.ID == "" {
		return Target{}, false
	}
	t, ok := known.of[c.Name]
	t.Cgroup = cgroup
	return t, ok
}

// wishes reads a pod's annotations. A pod without an IP has none yet.
func wishes(p *kube.Pod) (of map[string]Target, err error) {
	metrics, err := metricsOf(p)
	pprof := p.Metadata.Annotations[annotationPprof]
	if metrics == "" && pprof == "" || p.Status.IP == "" {
		return nil, err
	}
	ip, bad := netip.ParseAddr(p.Status.IP)
	if bad != nil || ip.Zone() != "" || ip.IsLoopback() || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() {
		return nil, fmt.Errorf("its IP is %q, which is none of a pod", p.Status.IP)
	}
	of = map[string]Target{}
	for kind, text := range map[string]string{kindMetrics: metrics, kindPprof: pprof} {
		if text == "" {
			continue
		}
		port, way, bad := portPath(text, paths[kind])
		var at string
		if bad == nil {
			at, bad = address(ip, port, way)
		}
		if bad != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w; write PORT or PORT/PATH, such as 8080%s", kind, bad, paths[kind]))
			continue
		}
		name := containerOf(p, port)
		t := of[name]
		t.set(kind, at)
		of[name] = t
	}
	return of, err
}

// metricsOf is PORT/PATH of a pod's metrics: as it says itself, or else by the annotations of Prometheus.
func metricsOf(p *kube.Pod) (string, error) {
	a := p.Metadata.Annotations
	if own := a[annotationMetrics]; own != "" || a[prometheusScrape] != "true" {
		return own, nil
	}
	if scheme := a[prometheusScheme]; scheme != "" && scheme != "http" {
		return "", fmt.Errorf("%s is %q, and only http is spoken here; name a port that speaks it with %s", prometheusScheme, scheme, annotationMetrics)
	}
	port := a[prometheusPort]
	if port == "" {
		var declared []int
		for i := range p.Spec.Containers {
			for _, c := range p.Spec.Containers[i].Ports {
				if c.Protocol == "" || c.Protocol == "TCP" {
					declared = append(declared, c.Port)
				}
			}
		}
		if len(declared) != 1 {
			return "", fmt.Errorf("%s is there without %s, and its containers have %d ports: say which", prometheusScrape, prometheusPort, len(declared))
		}
		port = strconv.Itoa(declared[0])
	}
	return port + "/" + strings.TrimPrefix(cmp.Or(a[prometheusPath], paths[kindMetrics]), "/"), nil
}

// portPath reads PORT or PORT/PATH.
func portPath(text, otherwise string) (port int, way string, err error) {
	number, rest, found := strings.Cut(text, "/")
	if port, err = strconv.Atoi(number); err != nil {
		return 0, "", fmt.Errorf("%q begins with no port", text)
	}
	if !found || rest == "" {
		return port, otherwise, nil
	}
	return port, "/" + rest, nil
}

// containerOf is the container that listens on a port: the one that says so, else the one that kubectl takes, else the first.
func containerOf(p *kube.Pod, port int) string {
	for i := range p.Spec.Containers {
		for _, declared := range p.Spec.Containers[i].Ports {
			if declared.Port == port {
				return p.Spec.Containers[i].Name
			}
		}
	}
	named := p.Metadata.Annotations[defaultContainer]
	for i := range p.Spec.Containers {
		if p.Spec.Containers[i].Name == named {
			return named
		}
	}
	if len(p.Spec.Containers) > 0 {
		return p.Spec.Containers[0].Name
	}
	return ""
}
