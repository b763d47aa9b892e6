package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stella/internal/testkit"
	"stella/test/cluster"
)

// kubectl runs kubectl and returns its standard output.
func kubectl(t *testing.T, c *cluster.Cluster, stdin string, args ...string) string {
	t.Helper()
	cmd := c.Kubectl(t.Context(), args...)
	cmd.Stdin = strings.NewReader(stdin)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, complaints.String())
	}
	return string(out)
}

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: c, image: ` + cluster.Hog + `, imagePullPolicy: Never, args: [hold, 1Mi], resources: {limits: {memory: 32Mi, cpu: 100m}}}
`

func TestDeploymentRollsOut(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	ns := c.Namespace(t)
	kubectl(t, c, deployment, "apply", "--namespace", ns, "--filename", "-")
	kubectl(t, c, "", "rollout", "status", "deployment/web", "--namespace", ns, "--timeout", "60s")
	kubectl(t, c, "", "patch", "deployment/web", "--namespace", ns, "--type", "json", "--patch",
		`[{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": ["hold", "2Mi"]}]`)
	kubectl(t, c, "", "rollout", "status", "deployment/web", "--namespace", ns, "--timeout", "60s")
	cluster.Eventually(t, settle, func(ctx context.Context) error {
		pods, err := c.Client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil {
			return err
		}
		for _, pod := range pods.Items {
			if args := pod.Spec.Containers[0].Args; len(pods.Items) != 2 || args[1] != "2Mi" {
				return fmt.Errorf("%d pods, one with %v", len(pods.Items), args)
			}
		}
		return nil
	})
	out := kubectl(t, c, "", "logs", "deployment/web", "--namespace", ns)
	if !strings.Contains(out, "hog: ") {
		t.Errorf("kubectl logs: %q", out)
	}
	if out := kubectl(t, c, "", "exec", "deployment/web", "--namespace", ns, "--", "/hog", "exit", "0"); out != "hog: exits with 0\n" {
		t.Errorf("kubectl exec: %q", out)
	}
}

// A kubectl that somebody else installed on this machine works with the kubeconfig as well.
func TestOtherKubectl(t *testing.T) {
	testkit.Need(t, testkit.Program("kubectl"))
	c := cluster.Start(t, cluster.Options{})
	out, err := exec.CommandContext(t.Context(), "kubectl", "--kubeconfig", c.Kubeconfig, "get", "node", cluster.NodeName, "--output", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var node corev1.Node
	if err := json.Unmarshal(out, &node); err != nil || node.Status.NodeInfo.KubeletVersion == "" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestResizeInPlace(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	pod := run(t, c, corev1.RestartPolicyAlways, "hold", "16Mi")
	pod = running(t, c, pod)
	wantLimits(t, c, pod, 64<<20)
	kubectl(t, c, "", "patch", "pod", pod.Name, "--namespace", pod.Namespace, "--subresource", "resize", "--patch",
		`{"spec": {"containers": [{"name": "c", "resources": {"requests": {"memory": "96Mi"}, "limits": {"memory": "96Mi"}}}]}}`)
	wantLimits(t, c, pod, 96<<20)
	cluster.Eventually(t, settle, func(context.Context) error {
		status := get(t, c, pod).Status.ContainerStatuses[0]
		if status.RestartCount != 0 {
			return fmt.Errorf("the container was restarted %d times", status.RestartCount)
		}
		if status.Resources == nil || status.Resources.Limits.Memory().Cmp(resource.MustParse("96Mi")) != 0 {
			return fmt.Errorf("the status does not have the new limit: %+v", status.Resources)
		}
		return nil
	})
}

// wantLimits reads the limit where the kernel has it, in the container's cgroup and in the pod's.
func wantLimits(t *testing.T, c *cluster.Cluster, pod *corev1.Pod, want int64) {
	t.Helper()
	container, err := c.ContainerCgroup(pod, "c")
	if err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, settle, func(context.Context) error {
		for where, g := range map[string]cluster.Cgroup{"container": container, "pod": c.PodCgroup(pod)} {
			got, err := g.Limit()
			if err != nil {
				return err
			}
			if got != want {
				return fmt.Errorf("the limit of the %s's cgroup is %d, want %d", where, got, want)
			}
		}
		return nil
	})
}

// A pod reaches the API server at the address in its environment, and the test reaches a pod.
func TestNetworkOfPods(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	probe := c.Load(t, "stella/test/cluster/testdata/apiprobe")
	ns := c.Namespace(t)
	c.Apply(t, ns, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: probe}
spec:
  containers: [{name: c, image: %s, imagePullPolicy: Never}]
`, probe))
	var ip string
	cluster.Eventually(t, settle, func(ctx context.Context) error {
		pod, err := c.Client.CoreV1().Pods(ns).Get(ctx, "probe", metav1.GetOptions{})
		if err == nil && (pod.Status.PodIP == "" || pod.Status.Phase != corev1.PodRunning) {
			err = fmt.Errorf("the pod is %s and has the address %q", pod.Status.Phase, pod.Status.PodIP)
		}
		if err == nil {
			ip = pod.Status.PodIP
		}
		return err
	})
	address := c.Forward(t, ip+":8080")
	client := http.Client{Timeout: 10 * time.Second}
	cluster.Eventually(t, settle, func(context.Context) error {
		resp, err := client.Get("http://" + address)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
		if err == nil && !strings.Contains(string(body), `"gitVersion": "v1.35.4"`) {
			err = fmt.Errorf("the pod got from the API server: %s", body)
		}
		return err
	})
}

func TestDialToNobody(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	_, err := c.Dial(t.Context(), "127.0.0.1:9")
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("dial a port that nobody listens at: %v", err)
	}
}
