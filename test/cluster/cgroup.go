package cluster

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Cgroup is a memory cgroup of the node, read from this machine.
type Cgroup struct {
	dir string
	v2  bool
}

// CgroupV2 says whether the node's memory controller is of cgroup v2.
func (c *Cluster) CgroupV2() bool {
	_, err := os.Stat(c.Path("/sys/fs/cgroup/cgroup.controllers"))
	return err == nil
}

// PodCgroup is the memory cgroup of a pod, which the kubelet makes.
func (c *Cluster) PodCgroup(pod *corev1.Pod) Cgroup {
	dir := "/sys/fs/cgroup/memory/kubepods"
	v2 := c.CgroupV2()
	if v2 {
		dir = "/sys/fs/cgroup/kubepods"
	}
	switch pod.Status.QOSClass {
	case corev1.PodQOSBurstable:
		dir += "/burstable"
	case corev1.PodQOSBestEffort:
		dir += "/besteffort"
	}
	return Cgroup{dir: c.Path(dir + "/pod" + string(pod.UID)), v2: v2}
}

// ContainerCgroup is the memory cgroup of a running container of a pod, which the
// runtime makes inside the pod's. An error means that there is no such container.
func (c *Cluster) ContainerCgroup(pod *corev1.Pod, name string) (Cgroup, error) {
	for _, status := range pod.Status.ContainerStatuses {
		if _, id, ok := strings.Cut(status.ContainerID, "://"); ok && status.Name == name {
			g := c.PodCgroup(pod)
			g.dir = filepath.Join(g.dir, id)
			return g, nil
		}
	}
	return Cgroup{}, fmt.Errorf("pod %s: container %q has not started", pod.Name, name)
}

// Limit is the hard limit in bytes; math.MaxInt64 where there is none.
func (g Cgroup) Limit() (int64, error) {
	if !g.v2 {
		return g.number("memory.limit_in_bytes")
	}
	text, err := g.read("memory.max")
	if err == nil && text == "max" {
		return math.MaxInt64, nil
	}
	return parse(text, err)
}

// Usage is all memory that is charged, page cache too, in bytes.
func (g Cgroup) Usage() (int64, error) {
	if g.v2 {
		return g.number("memory.current")
	}
	return g.number("memory.usage_in_bytes")
}

// Kills is how many processes the kernel killed for want of memory: in v1 of this
// cgroup alone, in v2 also of those below it, even of those that are gone.
func (g Cgroup) Kills() (int64, error) {
	file := "memory.oom_control"
	if g.v2 {
		file = "memory.events"
	}
	text, err := g.read(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return parse(strings.TrimSpace(value), nil)
		}
	}
	return 0, fmt.Errorf("%s: no line oom_kill", filepath.Join(g.dir, file))
}

func (g Cgroup) number(file string) (int64, error) { return parse(g.read(file)) }

func (g Cgroup) read(file string) (string, error) {
	data, err := os.ReadFile(filepath.Join(g.dir, file))
	return strings.TrimSpace(string(data)), err
}

func parse(text string, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}
