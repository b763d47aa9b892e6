package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"stella/internal/kube"
	"stella/internal/oom"
	"stella/internal/oom/notice"
	"stella/internal/oom/owner"
	"stella/test/cluster"
)

// soon is the time in which an API server on the same machine has told of a change.
const soon = 20 * time.Second

// connect makes Stella's client of a kubeconfig.
func connect(t *testing.T, kubeconfig string) *kube.Client {
	t.Helper()
	config, err := kube.Kubeconfig(kubeconfig, "")
	if err != nil {
		t.Fatal(err)
	}
	client := kube.New(config, "stella-test")
	t.Cleanup(client.Close)
	return client
}

// background runs something until the test ends.
func background(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		done.Wait()
	})
}

// receive is what comes next.
func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(soon):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// Several pages of a list have every object once, as client-go has them.
func TestKubeList(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Level: cluster.API})
	ns := c.Namespace(t)
	const count = 1201 // three pages
	names := make(chan string)
	var makers sync.WaitGroup
	for range 8 {
		makers.Go(func() {
			for name := range names {
				object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"half": name[len(name)-1:]}}}
				if _, err := c.Client.CoreV1().ConfigMaps(ns).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range count {
		names <- fmt.Sprintf("m%d", i)
	}
	close(names)
	makers.Wait()
	client := connect(t, c.Kubeconfig)
	for _, labels := range []string{"", "half=7", "half=none"} {
		all, err := c.Client.CoreV1().ConfigMaps(ns).List(t.Context(), metav1.ListOptions{LabelSelector: labels})
		if err != nil {
			t.Fatal(err)
		}
		var want, got []string
		for _, object := range all.Items {
			want = append(want, object.Name)
		}
		for _, metadata := range []bool{false, true} {
			got = nil
			q := kube.Query{Resource: kube.Resource{Version: "v1", Plural: "configmaps"}, Namespace: ns, Labels: labels, Metadata: metadata}
			err = kube.List(t.Context(), client, q, func(o *kube.Owned) error {
				got = append(got, o.Metadata.Name)
				return nil
			})
			slices.Sort(want)
			slices.Sort(got)
			if err != nil || !slices.Equal(got, want) || labels == "" && len(got) < count {
				t.Errorf("%q: %d objects, %v; want %d", labels, len(got), err, len(want))
			}
		}
	}
}

// A watch tells what is there, then each change, in order.
func TestKubeWatch(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Level: cluster.API})
	ns := c.Namespace(t)
	apply := func(name, image string) { c.Apply(t, ns, podOn("node-of-"+ns, name, image, "")) }
	apply("before", "one")
	apply("elsewhere", "one")
	client := connect(t, c.Kubeconfig)
	events := make(chan string, 100)
	background(t, func(ctx context.Context) error {
		return kube.Watch(ctx, client, kube.Query{Resource: kube.Pods, Namespace: ns, Fields: "metadata.name!=elsewhere"}, func(e kube.Event[kube.Pod]) error {
			text := map[kube.Change]string{kube.Reset: "reset", kube.Synced: "synced", kube.Put: "put", kube.Delete: "delete"}[e.Change]
			if e.Object != nil {
				text += " " + e.Object.Metadata.Name + " " + e.Object.Spec.Containers[0].Image
			}
			events <- text
			return nil
		}, func(err error) { events <- fmt.Sprint("trouble: ", err) })
	})
	expect := func(want ...string) {
		t.Helper()
		for _, w := range want {
			if got := receive(t, events); got != w {
				t.Errorf("%s; want %s", got, w)
			}
		}
	}
	expect("reset", "put before one", "synced")
	apply("after", "one")
	expect("put after one")
	apply("elsewhere", "two")
	apply("after", "two")
	expect("put after two")
	zero := int64(0)
	if err := c.Client.CoreV1().Pods(ns).Delete(t.Context(), "before", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	got := receive(t, events)
	for got == "put before one" { // that it is to be deleted
		got = receive(t, events)
	}
	if got != "delete before one" {
		t.Error(got)
	}
}

// podOn is a manifest of a pod, with lines for its metadata.
func podOn(node, name, image, metadata string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata:
  name: %s
%s
spec:
  nodeName: %s
  containers: [{name: c, image: %s, resources: {requests: {memory: 16Mi}, limits: {memory: 64Mi}}}]
`, name, metadata, node, image)
}

// Whoever may not, is told so; and a kubeconfig means to Stella what it means to client-go, whatever it
// authenticates with.
func TestKubeIdentities(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Level: cluster.API})
	ns := c.Namespace(t)
	c.Apply(t, ns, `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [pods], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: default, namespace: `+ns+`}]
`)
	token, err := c.Client.CoreV1().ServiceAccounts(ns).CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put := func(name, text string, mode os.FileMode) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	put("token", token.Status.Token, 0o600)
	put("ca", string(c.Config.CAData), 0o600)
	put("cert", string(c.Config.CertData), 0o600)
	put("key", string(c.Config.KeyData), 0o600)
	credential := func(status map[string]string) string {
		text, err := json.Marshal(map[string]any{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status})
		if err != nil {
			t.Fatal(err)
		}
		return "#!/bin/sh\ncat <<'EOF'\n" + string(text) + "\nEOF\n"
	}
	put("give-token", credential(map[string]string{"token": token.Status.Token}), 0o700)
	put("give-certificate", credential(map[string]string{"clientCertificateData": string(c.Config.CertData), "clientKeyData": string(c.Config.KeyData)}), 0o700)
	exec := `exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: ./%s}`
	for name, test := range map[string]struct {
		user string
		// pods and nodes say whether it may list them.
		pods, nodes bool
	}{
		"nobody":                             {"", false, false},
		"a wrong token":                      {"token: wrong", false, false},
		"a token":                            {"token: " + token.Status.Token, true, false},
		"a token in a file":                  {"tokenFile: token", true, false},
		"a certificate":                      {"client-certificate: cert, client-key: key", true, true},
		"a program that gives a token":       {fmt.Sprintf(exec, "give-token"), true, false},
		"a program that gives a certificate": {fmt.Sprintf(exec, "give-certificate"), true, true},
		"somebody else":                      {"client-certificate: cert, client-key: key, as: 'system:serviceaccount:" + ns + ":default'", true, false},
		"somebody else's group":              {"client-certificate: cert, client-key: key, as: nobody, as-groups: ['system:masters']", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			kubeconfig := put("config", fmt.Sprintf("current-context: c\ncontexts: [{name: c, context: {cluster: c, user: u, namespace: %s}}]\n"+
				"clusters: [{name: c, cluster: {server: '%s', certificate-authority: ca}}]\nusers: [{name: u, user: {%s}}]\n", ns, c.Config.Host, test.user), 0o600)
			client := connect(t, kubeconfig)
			ignore := func(*kube.Owned) error { return nil }
			pods := kube.List(t.Context(), client, kube.Query{Resource: kube.Pods, Namespace: client.Namespace()}, ignore)
			nodes := kube.List(t.Context(), client, kube.Query{Resource: kube.Nodes}, ignore)
			if (pods == nil) != test.pods || (nodes == nil) != test.nodes {
				t.Errorf("pods: %v; nodes: %v", pods, nodes)
			}
			if test.pods && !test.nodes && !errors.Is(nodes, kube.ErrForbidden) {
				t.Errorf("%v", nodes)
			}
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				t.Fatal(err)
			}
			oracle, err := kubernetes.NewForConfig(config)
			if err != nil {
				t.Fatal(err)
			}
			_, pods = oracle.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
			_, nodes = oracle.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
			if (pods == nil) != test.pods || (nodes == nil) != test.nodes {
				t.Errorf("client-go: pods: %v; nodes: %v", pods, nodes)
			}
		})
	}
}

// What the API has of a pod becomes the owner of its cgroups, with the workload furthest up; its status and the events of its node become notices.
func TestKubeOwners(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Level: cluster.API})
	ns := c.Namespace(t)
	node := "node-of-" + ns
	const template = "spec: {replicas: 1, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}"
	c.Apply(t, ns, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"+template)
	deployment, err := c.Client.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ownedBy := func(version, kind, name, uid string) string {
		return fmt.Sprintf("  ownerReferences: [{apiVersion: %s, kind: %s, name: %s, uid: %s, controller: true}]", version, kind, name, uid)
	}
	// Its controller is not here, so the test makes what that would, under a name that tells nothing.
	c.Apply(t, ns, "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata:\n  name: set\n"+ownedBy("apps/v1", "Deployment", "web", string(deployment.UID))+"\n"+template)
	set, err := c.Client.AppsV1().ReplicaSets(ns).Get(t.Context(), "set", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(t, ns, podOn(node, "p", "i", ownedBy("apps/v1", "ReplicaSet", "set", string(set.UID))))
	pod, err := c.Client.CoreV1().Pods(ns).Get(t.Context(), "p", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}

	client := connect(t, c.Kubeconfig)
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	cgroup := "/kubepods/burstable/pod" + string(pod.UID) + "/" + id
	changed := make(chan oom.Container, 100)
	resolver := owner.New(owner.Options{Root: t.TempDir(), Node: node, Kube: client, Changed: func(_ string, c oom.Container) { changed <- c }})
	resolver.Container(cgroup)
	notices := make(chan oom.Notice, 100)
	trouble := func(err error) { t.Errorf("trouble: %v", err) }
	var statuses notice.Statuses
	background(t, resolver.Run)
	background(t, func(ctx context.Context) error {
		return kube.Watch(ctx, client, owner.PodsOn(node), func(e kube.Event[kube.Pod]) error {
			resolver.Pod(e)
			if e.Object != nil {
				for _, n := range statuses.Pod(e.Object) {
					notices <- n
				}
			}
			return nil
		}, trouble)
	})
	background(t, func(ctx context.Context) error {
		return notice.NodeEvents(ctx, client, node, func(n oom.Notice) { notices <- n }, trouble)
	})
	var got oom.Container
	for got.Workload != "Deployment/web" || got.WorkloadGuessed {
		got = receive(t, changed)
	}
	if got.Pod != "p" || got.Namespace != ns || got.Node != node || got.QoS != "Burstable" || got.Name != "" {
		t.Errorf("%+v", got)
	}
	kubectl(t, c, "", "patch", "pod", "p", "--namespace", ns, "--subresource", "status", "--type", "merge", "--patch", `{"status": {"phase": "Running", "containerStatuses": [
		{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 1, "containerID": "containerd://`+id+`",
		"lastState": {"terminated": {"exitCode": 0, "reason": "OOMKilled", "startedAt": null, "finishedAt": "2026-05-31T08:21:00Z", "containerID": "containerd://old"}}}]}}`)
	for got.Name == "" {
		got = receive(t, changed)
	}
	if got.Name != "c" || got.Image != "i" || got.Request != 16<<20 || got.LimitBytes != 64<<20 || got.Runtime != "containerd" {
		t.Errorf("%+v", got)
	}
	if n := receive(t, notices); n.Witness != oom.WitnessStatus || n.Container.ID != "old" || n.ExitCode != 0 || !n.Time.Equal(time.Date(2026, 5, 31, 8, 21, 0, 0, time.UTC)) {
		t.Errorf("%+v", n)
	}
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: "oom-"},
		InvolvedObject: corev1.ObjectReference{Kind: "Node", Name: node}, Reason: "SystemOOM",
		Message: "System OOM encountered, victim process: VM Thread, pid: 4711", LastTimestamp: metav1.Now(),
	}
	made, err := c.Client.CoreV1().Events("default").Create(t.Context(), event, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Client.CoreV1().Events("default").Delete(context.Background(), made.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	if n := receive(t, notices); n.Witness != oom.WitnessKubelet || n.Process.Comm != "VM Thread" || n.Process.PID != 4711 || n.Container.Node != node || n.Time.IsZero() {
		t.Errorf("%+v", n)
	}
}

// On a node, the runtime's files tell whose a cgroup is from the moment that it runs, and containerd's socket tells of a
// kill: of the container and, on cgroup v1, of the pod's sandbox, in which nothing was killed.
func TestOwnersOnNode(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Level: cluster.Node})
	notices := make(chan oom.Notice, 100)
	states := make(chan error, 100)
	background(t, func(ctx context.Context) error {
		return notice.Containerd(ctx, c.Path("/run/containerd/containerd.sock"), func(n oom.Notice) { notices <- n }, func(err error) { states <- err })
	})
	if err := receive(t, states); err != nil {
		t.Fatal(err)
	}
	pod := run(t, c, corev1.RestartPolicyNever, "child", "200Mi", "--times", "1")
	pod = running(t, c, pod)
	changed := make(chan string, 100)
	resolver := owner.New(owner.Options{Root: c.Path("/"), Node: cluster.NodeName, Changed: func(cgroup string, _ oom.Container) { changed <- cgroup }})
	background(t, resolver.Run)
	look := func(id string) oom.Container {
		t.Helper()
		cgroup := "/somewhere/kubepods/burstable/pod" + string(pod.UID) + "/" + id
		if before := resolver.Container(cgroup); before.Pod != "" {
			return before
		}
		for receive(t, changed) != cgroup {
		}
		return resolver.Container(cgroup)
	}
	_, id, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	want := oom.Container{
		ID: id, Runtime: "containerd", Name: "c", Namespace: pod.Namespace, Pod: "hog", PodUID: string(pod.UID), QoS: "Burstable",
		Image: cluster.Hog, Node: cluster.NodeName, LimitBytes: 64 << 20,
	}
	if got := look(id); got != want {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	entries, err := os.ReadDir(c.Path("/run/containerd/io.containerd.runtime.v2.task/k8s.io"))
	if err != nil {
		t.Fatal(err)
	}
	sandbox := ""
	for _, e := range entries {
		if got := look(e.Name()); got.Pod == "hog" && got.Namespace == pod.Namespace && got.Name == owner.Sandbox {
			sandbox = e.Name()
		}
	}
	if sandbox == "" {
		t.Errorf("no sandbox of the pod among %v", entries)
	}
	for n := (oom.Notice{}); n.Container.ID != id; { // others use the cluster too
		n = receive(t, notices)
		if n.Witness != oom.WitnessRuntime || time.Since(n.Time) > settle || len(n.Container.ID) != len(id) {
			t.Errorf("%+v", n)
		}
		if n.Container.ID == sandbox {
			t.Log("containerd told of the sandbox too")
		}
	}
}
