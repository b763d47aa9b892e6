package owner_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/kube"
	"stella/internal/oom"
	"stella/internal/oom/owner"
	"stella/internal/oom/tree"
)

// machine is a file system, as text by path.
func machine(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// found is what a running resolver says of a cgroup once it has looked.
func found(t *testing.T, o owner.Options, cgroup string) oom.Container {
	t.Helper()
	changed := make(chan oom.Container, 1)
	o.Changed = func(got string, c oom.Container) {
		if got == cgroup {
			changed <- c
		}
	}
	r := owner.New(o)
	run(t, r)
	r.Container(cgroup)
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatalf("nothing was found of %s", cgroup)
	}
	return r.Container(cgroup)
}

// run runs a resolver until the test ends.
func run(t *testing.T, r *owner.Resolver) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { r.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		done.Wait()
	})
}

const (
	containerd = "run/containerd/io.containerd.runtime.v2.task/k8s.io/"
	crio       = "run/containers/storage/overlay-containers/"
	dockers    = "var/lib/docker/containers/"
)

func TestFiles(t *testing.T) {
	podCgroup := "/kubepods/burstable/pod" + uid
	cgroup := podCgroup + "/" + id
	in := oom.Container{ID: id, PodUID: uid, QoS: owner.Burstable, Namespace: "shop", Pod: "web-7d5f8c9b6d-x2x4z", Workload: "Deployment/web", WorkloadGuessed: true}
	with := func(name, runtime, image string, limit int64) oom.Container {
		c := in
		c.Name, c.Runtime, c.Image, c.LimitBytes = name, runtime, image, limit
		return c
	}
	labels := `"io.kubernetes.container.name":"app","io.kubernetes.pod.name":"web-7d5f8c9b6d-x2x4z","io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.uid":"` + uid + `"`
	for name, c := range map[string]struct {
		files  map[string]string
		cgroup string
		want   oom.Container
	}{
		"containerd": {map[string]string{containerd + id + "/config.json": `{"ociVersion":"1","process":{"args":["x"]},"annotations":{
			"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.container-type":"container","io.kubernetes.cri.image-name":"a/b:1",
			"io.kubernetes.cri.sandbox-name":"web-7d5f8c9b6d-x2x4z","io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-uid":"x"},
			"linux":{"resources":{"memory":{"limit":67108864,"swap":1},"cpu":{}}}}`}, cgroup, with("app", "containerd", "a/b:1", 64<<20)},
		"containerd's sandbox": {map[string]string{containerd + id + "/config.json": `{"annotations":{"io.kubernetes.cri.container-type":"sandbox",
			"io.kubernetes.cri.sandbox-name":"web-7d5f8c9b6d-x2x4z","io.kubernetes.cri.sandbox-namespace":"shop"}}`}, cgroup, with(owner.Sandbox, "containerd", "", 0)},
		"CRI-O": {map[string]string{crio + id + "/userdata/config.json": `{"annotations":{"io.kubernetes.cri-o.ContainerType":"container","io.kubernetes.cri-o.ImageName":"a/b:1",` + labels + `},
			"linux":{"resources":{"memory":{"limit":-1}}}}`}, cgroup, with("app", "cri-o", "a/b:1", 0)},
		"docker of Kubernetes": {map[string]string{
			dockers + id + "/config.v2.json":  `{"State":{"OOMKilled":true},"Name":"/k8s_app_web","Config":{"Image":"a/b:1","Labels":{"io.kubernetes.docker.type":"container",` + labels + `}}}`,
			dockers + id + "/hostconfig.json": `{"Memory":1048576}`,
		}, cgroup, with("app", "docker", "a/b:1", 1<<20)},
		"docker's sandbox": {map[string]string{
			dockers + id + "/config.v2.json": `{"Name":"/k8s_POD_web","Config":{"Labels":{"io.kubernetes.docker.type":"podsandbox",` + labels + `}}}`,
		}, cgroup, with(owner.Sandbox, "docker", "", 0)},
		"docker alone": {map[string]string{
			"run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/" + id + "/config.json": `{"annotations":{}}`,
			dockers + id + "/config.v2.json": `{"Name":"/web","Config":{"Image":"nginx","Labels":null}}`,
		}, "/docker/" + id, oom.Container{ID: id, Name: "web", Runtime: "docker", Image: "nginx"}},
		"the names of logs": {map[string]string{
			"var/log/containers/web-7d5f8c9b6d-x2x4z_shop_app-" + id2 + ".log": "",
			"var/log/containers/web-7d5f8c9b6d-x2x4z_shop_app-" + id + ".log":  "",
		}, cgroup, with("app", "", "", 0)},
		"a pod, by its logs": {map[string]string{"var/log/pods/shop_web-7d5f8c9b6d-x2x4z_" + uid + "/app/0.log": ""}, podCgroup,
			oom.Container{PodUID: uid, QoS: owner.Burstable, Namespace: "shop", Pod: "web-7d5f8c9b6d-x2x4z", Workload: "Deployment/web", WorkloadGuessed: true}},
		"a container, by the logs of its pod": {map[string]string{"var/log/pods/shop_web-7d5f8c9b6d-x2x4z_" + uid + "/app/0.log": ""}, cgroup, with("", "", "", 0)},
		"what is broken is passed over": {map[string]string{
			containerd + id + "/config.json":                               `{"annotations":{"io.kubernetes.cri.container-name":"x"`,
			"var/log/pods/shop_web-7d5f8c9b6d-x2x4z_" + uid + "/app/0.log": "",
		}, cgroup, with("", "", "", 0)},
		"kinds that nobody expects": {map[string]string{containerd + id + "/config.json": `{"annotations":{"io.kubernetes.cri.container-name":7,"io.kubernetes.cri.sandbox-namespace":"shop",
			"io.kubernetes.cri.sandbox-name":"web-7d5f8c9b6d-x2x4z","io.kubernetes.cri.image-name":"` + strings.Repeat("x", 2000) + `"},"linux":{"resources":{"memory":{"limit":"much"}}}}`}, cgroup, with("", "containerd", "", 0)},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, found(t, owner.Options{Root: machine(t, c.files)}, c.cgroup)); diff != "" {
				t.Errorf("want - got +:\n%s", diff)
			}
		})
	}
}

// A pod's cgroup is there before anything tells its name; its containers tell it later.
func TestPodLearnsFromContainer(t *testing.T) {
	pod := "/kubepods/pod" + uid
	root := machine(t, map[string]string{containerd + id + "/config.json": `{"annotations":{"io.kubernetes.cri.sandbox-name":"db-0","io.kubernetes.cri.sandbox-namespace":"shop"}}`})
	told := make(chan string, 10)
	r := owner.New(owner.Options{Root: root, Node: "n", Changed: func(cgroup string, c oom.Container) { told <- cgroup + " " + c.Pod + " " + c.Workload }})
	if c := r.Container(pod); c.PodUID != uid || c.Pod != "" || c.Node != "n" {
		t.Errorf("at once: %+v", c)
	}
	r.Container(pod + "/" + id)
	run(t, r)
	got := map[string]bool{<-told: true, <-told: true}
	if want := " db-0 StatefulSet/db"; !got[pod+want] || !got[pod+"/"+id+want] {
		t.Errorf("told %v", got)
	}
}

func TestGroupKill(t *testing.T) {
	cgroup := "/kubepods/pod" + uid + "/" + id
	mount := machine(t, map[string]string{cgroup + "/memory.oom.group": "1\n", "/docker/" + id + "/memory.oom.group": "0\n"})
	for path, want := range map[string]bool{cgroup: true, cgroup + "/below": true, "/docker/" + id: false} {
		c := found(t, owner.Options{Root: t.TempDir(), Cgroups: &tree.Hierarchy{Version: 2, Mount: mount, Root: "/"}}, path)
		if c.GroupKill == nil || *c.GroupKill != want {
			t.Errorf("%s: %v", path, c.GroupKill)
		}
	}
	if c := found(t, owner.Options{Root: t.TempDir(), Cgroups: &tree.Hierarchy{Version: 1, Mount: mount, Root: "/"}}, cgroup); c.GroupKill == nil || *c.GroupKill {
		t.Errorf("v1: %v", c.GroupKill)
	}
	// The cgroup is made before the file in it is written, and after the spec.
	for value, want := range map[string]bool{"1": true, "0": false} {
		other := map[string]string{"0": "1", "1": "0"}[value]
		root := machine(t, map[string]string{"run/containerd/io.containerd.runtime.v2.task/k8s.io/" + id + "/config.json": `{"linux":{"resources":{"unified":{"memory.oom.group":"` + value + `"}}}}`})
		early := machine(t, map[string]string{cgroup + "/memory.oom.group": other + "\n"})
		c := found(t, owner.Options{Root: root, Cgroups: &tree.Hierarchy{Version: 2, Mount: early, Root: "/"}}, cgroup)
		if c.GroupKill == nil || *c.GroupKill != want {
			t.Errorf("the spec says %s: %v", value, c.GroupKill)
		}
	}
}

func TestResolverIsBounded(t *testing.T) {
	r := owner.New(owner.Options{Root: t.TempDir()})
	long := strings.Repeat("x", 4000)
	for i := range 5_000 {
		r.Container(fmt.Sprintf("/docker/%s/%d/%s", id, i, long))
	}
	if n, size, waiting := r.Known(); size > owner.MaxKnown || n > owner.MaxKnown/len(long) || n == 0 || waiting > n {
		t.Errorf("%d cgroups are remembered, in %d bytes, and %d wait", n, size, waiting)
	}
	for i := range 3 * owner.MaxPods {
		r.Pod(kube.Event[kube.Pod]{Change: kube.Put, Object: &kube.Pod{Metadata: kube.Metadata{UID: fmt.Sprint(i)}}})
	}
	if n := r.Pods(); n != owner.MaxPods {
		t.Errorf("%d pods are remembered", n)
	}
	// Those that are gone make room, the oldest first.
	r.Pod(kube.Event[kube.Pod]{Change: kube.Reset})
	r.Pod(kube.Event[kube.Pod]{Change: kube.Synced})
	r.Pod(kube.Event[kube.Pod]{Change: kube.Put, Object: &kube.Pod{Metadata: kube.Metadata{UID: uid, Name: "new"}}})
	if c := r.Container("/kubepods/pod" + uid); c.Pod != "new" {
		t.Errorf("a new pod is not known: %+v", c)
	}
	if n := r.Pods(); n != owner.MaxPods {
		t.Errorf("%d pods are remembered", n)
	}
}

func TestGuess(t *testing.T) {
	for pod, want := range map[string]string{
		"web-7d5f8c9b6d-x2x4z": "Deployment/web", "a-b-67b9cf-zzzzz": "Deployment/a-b", "db-0": "StatefulSet/db", "db-12": "StatefulSet/db",
		"backup-29123456-bcdfg": "CronJob/backup", "proxy-x2x4z": "", "once-aeiou": "", "plain": "", "": "", "-0": "", "a-": "",
		"web-7d5f8c9b6d-aeiou": "", "my-server-x2x4z": "", "2024-20240101": "",
	} {
		r := owner.New(owner.Options{Root: t.TempDir()})
		r.Pod(kube.Event[kube.Pod]{Change: kube.Put, Object: &kube.Pod{Metadata: kube.Metadata{UID: uid, Name: pod, Owners: []kube.Owner{{Kind: "Job", Name: "j", Controller: true}}}}})
		c := r.Container("/kubepods/pod" + uid)
		if want == "" {
			want = "Job/j"
		}
		if c.Workload != want || !c.WorkloadGuessed {
			t.Errorf("%q: %s, guessed %v; want %s", pod, c.Workload, c.WorkloadGuessed, want)
		}
	}
}

// What the API says of a pod is joined with what the path tells, also of containers that ended.
func TestPod(t *testing.T) {
	var told []oom.Container
	r := owner.New(owner.Options{Root: t.TempDir(), Node: "n", Changed: func(_ string, c oom.Container) { told = append(told, c) }})
	cgroup := "/kubepods.slice/kubepods-pod" + underlined + ".slice/cri-containerd-" + id + ".scope"
	r.Container(cgroup)
	pod := &kube.Pod{
		Metadata: kube.Metadata{UID: uid, Name: "web-1", Namespace: "shop", Owners: []kube.Owner{{Kind: "DaemonSet", Name: "web", Controller: true}}},
		Spec: kube.PodSpec{Containers: []kube.ContainerSpec{{Name: "app", Image: "a/b:1", Resources: kube.Resources{
			Requests: kube.Amounts{Memory: 1 << 20}, Limits: kube.Amounts{Memory: 2 << 20},
		}}}},
		Status: kube.PodStatus{QoS: "Burstable", Containers: []kube.ContainerStatus{{Name: "app", ID: "containerd://" + id2,
			Last: kube.ContainerState{Terminated: &kube.Terminated{ID: "containerd://" + id}}}}},
	}
	r.Pod(kube.Event[kube.Pod]{Change: kube.Put, Object: pod})
	want := oom.Container{ID: id, Name: "app", Runtime: "containerd", Namespace: "shop", Pod: "web-1", PodUID: uid, QoS: "Burstable",
		Workload: "DaemonSet/web", Image: "a/b:1", Node: "n", Request: 1 << 20, LimitBytes: 2 << 20}
	if diff := cmp.Diff([]oom.Container{want}, told); diff != "" {
		t.Error(diff)
	}
	// The same again is no news.
	r.Pod(kube.Event[kube.Pod]{Change: kube.Put, Object: pod})
	if len(told) != 1 {
		t.Errorf("told %d times", len(told))
	}
	// It is known after the pod's end.
	r.Pod(kube.Event[kube.Pod]{Change: kube.Delete, Object: pod})
	if diff := cmp.Diff(want, r.Container(cgroup)); diff != "" {
		t.Error(diff)
	}
}

// A static pod is in the API as a mirror, with another UID than its cgroups have.
func TestStaticPod(t *testing.T) {
	r := owner.New(owner.Options{Root: t.TempDir()})
	r.Pod(kube.Event[kube.Pod]{Change: kube.Put, Object: &kube.Pod{Metadata: kube.Metadata{UID: uid, Name: "etcd-node", Namespace: "kube-system",
		Annotations: map[string]string{"kubernetes.io/config.mirror": static, "kubernetes.io/config.hash": static},
		Owners:      []kube.Owner{{Kind: "Node", Name: "node", Controller: true}}}}})
	if c := r.Container("/kubepods/burstable/pod" + static); c.Pod != "etcd-node" || c.Workload != "Node/node" {
		t.Errorf("%+v", c)
	}
}
