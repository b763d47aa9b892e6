package owner_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/oom"
	"stella/internal/oom/owner"
)

var (
	id  = strings.Repeat("0123456789abcdef", 4)
	id2 = strings.Repeat("fedcba9876543210", 4)
)

const (
	uid        = "c1adfb0f-74e8-4d5a-9a1c-0f8c2cf1d1a0"
	underlined = "c1adfb0f_74e8_4d5a_9a1c_0f8c2cf1d1a0"
	static     = "8d1a5c0f74e84d5a9a1c0f8c2cf1d1a0"
)

func TestParse(t *testing.T) {
	// container and pod give what most rows have; upTo cuts a path behind a part of it.
	container := func(cgroup, upTo, runtime string) owner.Place {
		return owner.Place{Kind: owner.KindContainer, Container: id, Runtime: runtime, ContainerPath: cut(cgroup, upTo)}
	}
	pod := func(cgroup, podUpTo, upTo, runtime, qos string) owner.Place {
		p := container(cgroup, upTo, runtime)
		p.PodUID, p.QoS, p.PodPath = uid, qos, cut(cgroup, podUpTo)
		return p
	}
	unit := func(cgroup, name string) owner.Place {
		return owner.Place{Kind: owner.KindUnit, Unit: name, UnitPath: cut(cgroup, name)}
	}
	slices := "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + underlined + ".slice"
	tests := []struct {
		name, cgroup string
		want         func(cgroup string) owner.Place
	}{
		{"cgroupfs", "/kubepods/burstable/pod" + uid + "/" + id, func(c string) owner.Place { return pod(c, uid, id, "", owner.Burstable) }},
		{"cgroupfs, best effort", "/kubepods/besteffort/pod" + uid + "/" + id, func(c string) owner.Place { return pod(c, uid, id, "", owner.BestEffort) }},
		{"cgroupfs, guaranteed", "/kubepods/pod" + uid + "/" + id, func(c string) owner.Place { return pod(c, uid, id, "", owner.Guaranteed) }},
		{"cgroupfs, CRI-O", "/kubepods/pod" + uid + "/crio-" + id, func(c string) owner.Place { return pod(c, uid, id, owner.CRIO, owner.Guaranteed) }},
		{"systemd", slices + "/cri-containerd-" + id + ".scope", func(c string) owner.Place {
			return pod(c, underlined+".slice", id+".scope", owner.Containerd, owner.Burstable)
		}},
		{"systemd, guaranteed", "/kubepods.slice/kubepods-pod" + underlined + ".slice/docker-" + id + ".scope", func(c string) owner.Place {
			return pod(c, underlined+".slice", id+".scope", owner.Docker, owner.Guaranteed)
		}},
		{"systemd, CRI-O with a cgroup of its own inside", slices + "/crio-" + id + ".scope/container", func(c string) owner.Place {
			return pod(c, underlined+".slice", id+".scope", owner.CRIO, owner.Burstable)
		}},
		{"systemd in the container", slices + "/cri-containerd-" + id + ".scope/init.scope", func(c string) owner.Place {
			return pod(c, underlined+".slice", id+".scope", owner.Containerd, owner.Burstable)
		}},
		{"both drivers", "/system.slice/containerd.service/kubepods-burstable-pod" + underlined + ".slice:cri-containerd:" + id, func(c string) owner.Place {
			p := pod(c, "", id, owner.Containerd, owner.Burstable)
			p.PodPath = ""
			return p
		}},
		{"docker in a pod", "/kubepods/burstable/pod" + uid + "/" + id + "/docker/" + id2, func(c string) owner.Place { return pod(c, uid, id, "", owner.Burstable) }},
		{"Kubernetes in a pod", "/kubepods/burstable/pod" + uid + "/" + id + "/kubepods/besteffort/pod" + static + "/" + id2, func(c string) owner.Place {
			return pod(c, uid, id, "", owner.Burstable)
		}},
		{"kind", "/docker/" + id2 + "/kubelet/kubepods/burstable/pod" + uid + "/" + id, func(c string) owner.Place { return pod(c, uid, id, "", owner.Burstable) }},
		{"kind, systemd", "/system.slice/docker-" + id2 + ".scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod" +
			underlined + ".slice/cri-containerd-" + id + ".scope", func(c string) owner.Place {
			return pod(c, underlined+".slice", id+".scope", owner.Containerd, owner.BestEffort)
		}},
		{"kind, all pods", "/docker/" + id + "/kubelet/kubepods/burstable", func(c string) owner.Place { return container(c, id, owner.Docker) }},
		{"k3s in a service", "/system.slice/k3s.service/kubepods/pod" + uid + "/" + id, func(c string) owner.Place { return pod(c, uid, id, "", owner.Guaranteed) }},
		{"a cgroup root of one's own", "/a/b/kubepods/besteffort/pod" + uid + "/" + id, func(c string) owner.Place { return pod(c, uid, id, "", owner.BestEffort) }},
		{"a static pod", "/kubepods/burstable/pod" + static, func(c string) owner.Place {
			return owner.Place{Kind: owner.KindPod, PodUID: static, QoS: owner.Burstable, PodPath: c}
		}},
		{"a static pod with a UID of its own", "/kubepods/podmine", func(c string) owner.Place {
			return owner.Place{Kind: owner.KindPod, PodUID: "mine", QoS: owner.Guaranteed, PodPath: c}
		}},
		{"the monitor beside a container", slices + "/crio-conmon-" + id + ".scope", func(c string) owner.Place {
			return owner.Place{Kind: owner.KindPod, PodUID: uid, QoS: owner.Burstable, PodPath: slices}
		}},
		{"a class", "/kubepods.slice/kubepods-besteffort.slice", func(string) owner.Place { return owner.Place{Kind: owner.KindQoS, QoS: owner.BestEffort} }},
		{"all pods", "/kubepods", func(string) owner.Place { return owner.Place{Kind: owner.KindKubepods} }},
		{"all pods below a slice", "/x.slice/x-kubepods.slice", func(string) owner.Place { return owner.Place{Kind: owner.KindKubepods} }},
		{"docker", "/docker/" + id, func(c string) owner.Place { return container(c, id, owner.Docker) }},
		{"docker, systemd", "/system.slice/docker-" + id + ".scope", func(c string) owner.Place { return container(c, id+".scope", owner.Docker) }},
		{"docker in docker", "/docker/" + id + "/docker/" + id2, func(c string) owner.Place { return container(c, "/docker/"+id, owner.Docker) }},
		{"a parent of one's own", "/ecs/task/" + id, func(c string) owner.Place { return container(c, id, "") }},
		{"podman", "/machine.slice/libpod-" + id + ".scope/container", func(c string) owner.Place { return container(c, id+".scope", owner.Podman) }},
		{"podman without root", "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id + ".scope", func(c string) owner.Place {
			return container(c, id+".scope", owner.Podman)
		}},
		{"podman's monitor", "/machine.slice/libpod-conmon-" + id + ".scope", func(c string) owner.Place { return unit(c, "libpod-conmon-"+id+".scope") }},
		{"nerdctl", "/system.slice/nerdctl-" + id + ".scope", func(c string) owner.Place { return container(c, id+".scope", "nerdctl") }},
		{"a service", "/system.slice/nginx.service", func(c string) owner.Place { return unit(c, "nginx.service") }},
		{"below a service", "/system.slice/ci.service/job/1.scope", func(c string) owner.Place { return unit(c, "ci.service") }},
		{"a slice", "/system.slice", func(c string) owner.Place { return unit(c, "system.slice") }},
		{"a user's service", "/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service/x", func(c string) owner.Place { return unit(c, "foo.service") }},
		{"a user's manager", "/user.slice/user-1000.slice/user@1000.service/init.scope", func(c string) owner.Place { return unit(c, "user@1000.service") }},
		{"a session", "/user.slice/user-0.slice/session-3.scope", func(c string) owner.Place { return unit(c, "session-3.scope") }},
		{"podman's pod is none of Kubernetes", "/machine.slice/machine-libpod_pod_" + id + ".slice", func(c string) owner.Place {
			return unit(c, "machine-libpod_pod_"+id+".slice")
		}},
		{"a pod nowhere", "/x/podcast/y", func(string) owner.Place { return owner.Place{Kind: owner.KindOther} }},
		{"a short ID", "/docker/0123456789ab", func(string) owner.Place { return owner.Place{Kind: owner.KindOther} }},
		{"the root", "/", func(string) owner.Place { return owner.Place{Kind: owner.KindOther} }},
		{"nothing", "", func(string) owner.Place { return owner.Place{Kind: owner.KindOther} }},
		{"slashes", "//kubepods///pod" + uid + "//", func(string) owner.Place {
			return owner.Place{Kind: owner.KindPod, PodUID: uid, QoS: owner.Guaranteed, PodPath: "//kubepods///pod" + uid}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want(test.cgroup), owner.Parse(test.cgroup)); diff != "" {
				t.Errorf("%s; want - got +:\n%s", test.cgroup, diff)
			}
		})
	}
}

// cut is a path up to the first place behind a part of it.
func cut(cgroup, part string) string {
	before, _, _ := strings.Cut(cgroup, part)
	return before + part
}

func TestScope(t *testing.T) {
	pod := "/kubepods/burstable/pod" + uid
	container := pod + "/" + id
	scope := "/kubepods.slice/kubepods-pod" + underlined + ".slice/cri-containerd-" + id + ".scope"
	for name, c := range map[string]struct {
		victim, limit string
		want          oom.Scope
	}{
		"the container":                     {container, container, oom.ScopeContainer},
		"the container, systemd":            {scope, scope, oom.ScopeContainer},
		"the container, victim in a child":  {container + "/init.scope", container, oom.ScopeContainer},
		"a child inside of the container":   {container + "/docker/" + id2, container + "/docker/" + id2, oom.ScopeCgroup},
		"a level between":                   {container + "/docker/" + id2, container + "/docker", oom.ScopeCgroup},
		"the pod":                           {container, pod, oom.ScopePod},
		"the pod, victim in no container":   {pod, pod, oom.ScopePod},
		"the class":                         {container, "/kubepods/burstable", oom.ScopeParent},
		"all pods":                          {container, "/kubepods", oom.ScopeParent},
		"a slice":                           {"/system.slice/docker-" + id + ".scope", "/system.slice", oom.ScopeParent},
		"a slice above a service":           {"/system.slice/a.service", "/system.slice", oom.ScopeParent},
		"a service":                         {"/system.slice/a.service", "/system.slice/a.service", oom.ScopeCgroup},
		"a service, victim in a child":      {"/system.slice/a.service/x", "/system.slice/a.service", oom.ScopeCgroup},
		"any cgroup":                        {"/a/b", "/a/b", oom.ScopeCgroup},
		"any cgroup above":                  {"/a/b", "/a", oom.ScopeParent},
		"the root":                          {container, "/", oom.ScopeNode},
		"no limit":                          {container, "", oom.ScopeUnknown},
		"no victim, a container":            {"", container, oom.ScopeContainer},
		"no victim, a pod":                  {"", pod, oom.ScopePod},
		"no victim, all pods":               {"", "/kubepods.slice", oom.ScopeParent},
		"no victim, a slice":                {"", "/system.slice", oom.ScopeCgroup},
		"not above the victim":              {container, "/other", oom.ScopeUnknown},
		"the same beginning, but not above": {"/a/bc", "/a/b", oom.ScopeUnknown},
	} {
		if got := owner.Scope(c.victim, c.limit); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("/kubepods/burstable/pod"+uid+"/"+id, "/kubepods")
	f.Add("/system.slice/containerd.service/kubepods-pod"+underlined+".slice:cri-containerd:"+id, "/")
	f.Add("/user.slice/user@0.service/a.scope", "/user.slice")
	f.Fuzz(func(t *testing.T, cgroup, limit string) {
		p := owner.Parse(cgroup)
		for _, path := range []string{p.ContainerPath, p.PodPath, p.UnitPath} {
			if !strings.HasPrefix(cgroup, path) {
				t.Fatalf("%q is no beginning of %q", path, cgroup)
			}
		}
		switch {
		case (p.Kind == owner.KindContainer) != (p.Container != ""):
			t.Fatalf("%q: %+v", cgroup, p)
		case p.Container != "" && len(p.Container) != 64, p.Unit != "" && p.Kind != owner.KindUnit:
			t.Fatalf("%q: %+v", cgroup, p)
		}
		// What is below a pod's container is the container's.
		if p.PodUID != "" && p.Container != "" && owner.Parse(cgroup+"/"+limit) != p && !strings.HasSuffix(cgroup, p.Container) {
			t.Fatalf("%q and below it: %+v, %+v", cgroup, p, owner.Parse(cgroup+"/"+limit))
		}
		owner.Scope(cgroup, limit)
	})
}
