package cluster_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stella/internal/client"
	"stella/internal/rdev"
	"stella/test/cluster"
	"stella/test/cluster/internal/cage"
)

const rdevManifest = "../../deploy/kubernetes/rdev-api.yaml"

// rdevVolume is for the manifest's claim: nothing makes volumes here. %s is the node.
const rdevVolume = `
apiVersion: v1
kind: PersistentVolume
metadata: {name: rdev}
spec:
  capacity: {storage: 16Gi}
  accessModes: [ReadWriteOnce]
  local: {path: /var/lib/rdev-volume}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%s]}]}]}}
`

// personPod has the node's programs. %s is what the name of the Service leads to.
const personPod = `
apiVersion: v1
kind: Pod
metadata: {name: person}
spec:
  terminationGracePeriodSeconds: 1
  hostAliases: [{ip: %s, hostnames: [rdev-api]}]
  containers:
  - name: c
    image: ` + cluster.Hog + `
    imagePullPolicy: Never
    args: [pause]
    env: [{name: PATH, value: /bin}]
    volumeMounts: [{name: bin, mountPath: /bin, readOnly: true}, {name: lib, mountPath: /lib, readOnly: true}, {name: lib64, mountPath: /lib64, readOnly: true}]
  volumes: [{name: bin, hostPath: {path: /usr/bin}}, {name: lib, hostPath: {path: /usr/lib}}, {name: lib64, hostPath: {path: /usr/lib64}}]
`

// rdevDeployment is deploy/kubernetes/rdev-api.yaml at work.
type rdevDeployment struct {
	*cluster.Cluster
	api *client.Rdev // with a key that may run commands
	// person is the namespace of a pod in which somebody can reach the service.
	person string
}

// deployRdev does what the manifest's head says, with the test's image.
func deployRdev(t *testing.T, c *cluster.Cluster) *rdevDeployment {
	t.Helper()
	d := &rdevDeployment{Cluster: c, person: c.Namespace(t)}
	text, err := os.ReadFile(rdevManifest)
	if err != nil {
		t.Fatal(err)
	}
	const image = "        image: rdev-api:VERSION\n"
	manifest := strings.Replace(string(text), image, "        image: "+c.Load(t, "stella/cmd/rdev-api", "curl")+"\n        imagePullPolicy: Never\n", 1)
	if manifest == string(text) {
		t.Fatalf("%s: there is no %s", rdevManifest, image)
	}
	if err := os.Mkdir(c.Path("/var/lib/rdev-volume"), 0o700); err != nil {
		t.Fatal(err)
	}
	c.Apply(t, "", fmt.Sprintf(rdevVolume, cluster.NodeName))
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", `
kubectl create namespace rdev
kubectl --namespace rdev create secret generic rdev-api --from-literal=admin-key="$(openssl rand -hex 32)"
kubectl apply --filename -`)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig, "PATH="+c.Programs+":"+os.Getenv("PATH"))
	cmd.Stdin = strings.NewReader(manifest)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.Apply(t, "rdev-projects", strings.ReplaceAll(workshop, `rdev: "yes"`, "rdev: project"))
	d.describe(t)
	d.serve(t)
	c.Apply(t, d.person, fmt.Sprintf(personPod, cage.NodeIP))
	for ns, name := range map[string]string{d.person: "person", "rdev-projects": "workshop"} {
		pod := &corev1.Pod{}
		pod.Namespace, pod.Name = ns, name
		running(t, c, pod)
	}
	d.pod(t, "")
	d.login(t)
	return d
}

// describe says more where the test fails.
func (d *rdevDeployment) describe(t *testing.T) {
	t.Cleanup(func() {
		if t.Failed() {
			for _, args := range [][]string{{"describe", "pods"}, {"get", "events"}, {"logs", "deployment/rdev-api"}} {
				out, err := d.Kubectl(context.Background(), append(args, "--namespace", "rdev")...).CombinedOutput()
				t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
			}
		}
	})
}

// login makes a key with the admin's, as anybody would from outside.
func (d *rdevDeployment) login(t *testing.T) {
	t.Helper()
	secret, err := d.Client.CoreV1().Secrets("rdev").Get(t.Context(), "rdev-api", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + d.Forward(t, cage.NodeIP+":8080")
	with := func(key string) *client.Rdev {
		r, err := client.NewRdev(client.Options{Address: address, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		return r
	}
	key, err := with(string(secret.Data["admin-key"])).CreateKey(t.Context(), rdev.KeyRequest{Name: "ci", Scope: rdev.ScopeRun})
	if err != nil {
		t.Fatal(err)
	}
	d.api = with(key.Secret)
}

// pod waits for the service's one pod, which is ready and not the old one.
func (d *rdevDeployment) pod(t *testing.T, old string) (pod *corev1.Pod) {
	t.Helper()
	cluster.Eventually(t, settle, func(ctx context.Context) error {
		pods, err := d.Client.CoreV1().Pods("rdev").List(ctx, metav1.ListOptions{LabelSelector: "app=rdev-api"})
		if err != nil {
			return err
		}
		if len(pods.Items) != 1 {
			return fmt.Errorf("there are %d pods of the service", len(pods.Items))
		}
		pod = &pods.Items[0]
		if pod.Name == old || pod.DeletionTimestamp != nil {
			return fmt.Errorf("the pod is still %s", pod.Name)
		}
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("the pod is not ready: %+v", pod.Status)
	})
	return pod
}

// serve stands for kube-proxy: it leads from the node's address to what the Service has as its endpoint at that time.
func (d *rdevDeployment) serve(t *testing.T) {
	t.Helper()
	listener, err := d.Listen(cage.NodeIP + ":8080")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		listener.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { d.lead(ctx, from) })
		}
	})
}

// lead connects one who came with the service, or nobody where there is none.
func (d *rdevDeployment) lead(ctx context.Context, from net.Conn) {
	defer from.Close()
	list, err := d.Client.DiscoveryV1().EndpointSlices("rdev").List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=rdev-api"})
	if err != nil {
		return
	}
	for _, s := range list.Items {
		for _, e := range s.Endpoints {
			if e.Conditions.Ready == nil || !*e.Conditions.Ready {
				continue
			}
			to, err := d.Dial(ctx, fmt.Sprintf("%s:%d", e.Addresses[0], *s.Ports[0].Port))
			if err != nil {
				return
			}
			join(ctx, from, to)
			return
		}
	}
}

// join copies both ways until one side ends, or ctx.
func join(ctx context.Context, a, b net.Conn) {
	stop := context.AfterFunc(ctx, func() {
		a.Close()
		b.Close()
	})
	defer stop()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // the other end says how it went
			a.Close()
			b.Close()
		})
	}
	both.Wait()
}
