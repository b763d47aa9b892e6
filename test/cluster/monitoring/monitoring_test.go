package monitoring

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stella/internal/testkit"
	"stella/test/cluster"
)

func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }

// soon bounds what takes seconds, or minutes in an emulated machine.
const soon = 3 * time.Minute

func startCluster(t *testing.T) *cluster.Cluster {
	t.Helper()
	testkit.Need(t, testkit.Program("prometheus"), testkit.Program("prometheus-alertmanager"))
	return cluster.Start(t, cluster.Options{})
}

func TestMetrics(t *testing.T) {
	c := startCluster(t)
	t.Parallel()
	began := time.Now()
	m := Start(t, c, Options{Scrape: `
- job_name: health
  metrics_path: /healthz
  static_configs: [{targets: ["127.0.0.1:10248"]}]
`})
	t.Logf("ready after %v", time.Since(began))
	pod := hold(t, c, "48Mi")
	m.Await(t, soon, `count(up{job="kubelet"} == 1) == 4 and on() up{job="apiserver"} == 1`)
	t.Logf("targets are up after %v", time.Since(began))
	m.Await(t, soon, `up{job="health"} == 0`) // asked, but "ok" is no metric

	version := m.Await(t, soon, `kubernetes_build_info{metrics_path="/metrics"}`)
	if got := version[0].Labels["git_version"]; got != "v1.35.4" {
		t.Errorf("the kubelet is of version %q", got)
	}
	name := m.Await(t, soon, "kubelet_node_name")
	if got := name[0].Labels; got["node"] != cluster.NodeName || got["exported_node"] != "" {
		t.Errorf("the kubelet's own label and the target's are not one: %v", got)
	}

	series := fmt.Sprintf(`container_memory_working_set_bytes{namespace=%q,pod="hog",container="c",job="kubelet",metrics_path="/metrics/cadvisor"}`, pod.Namespace)
	held := m.Await(t, soon, series+" > 48*1024*1024")
	t.Logf("the pod's memory is seen after %v", time.Since(began))
	// The usage has what the working set leaves out: file cache that nobody needs now, such as the program's.
	if usage := usage(t, c, pod); len(held) != 1 || math.Abs(held[0].Value-usage) > 8<<20 {
		t.Errorf("the working set is %v, and the usage of the cgroup %v", held, usage)
	} else {
		t.Logf("working set %v, usage %v", held[0].Value, usage)
	}

	remove(t, c, pod)
	gone := time.Now()
	m.Await(t, time.Minute, "absent("+series+")") // and not only after five
	t.Logf("the pod's series ended %v after the pod", time.Since(gone))
}

const rules = `
groups:
- name: memory
  rules:
  - alert: HoldsMuch
    expr: container_memory_working_set_bytes{container="c",metrics_path="/metrics/cadvisor"} > 48*1024*1024
    labels: {severity: warning}
    annotations: {summary: '{{ $labels.pod }} holds {{ $value | humanize1024 }}B'}
`

func TestAlerts(t *testing.T) {
	c := startCluster(t)
	t.Parallel()
	m := Start(t, c, Options{Rules: []string{rules, "groups: []"}})
	m.Await(t, soon, `up{metrics_path="/metrics/cadvisor"} == 1`)
	began := time.Now()
	pod := hold(t, c, "56Mi")
	labels := map[string]string{"alertname": "HoldsMuch", "namespace": pod.Namespace}
	alert := m.Alert(t, soon, labels)
	t.Logf("%v from pod to alert, %v from alert to webhook", alert.StartsAt.Sub(began), alert.Received.Sub(alert.StartsAt))
	if alert.Status != "firing" || alert.Labels["pod"] != pod.Name || alert.Labels["severity"] != "warning" || alert.Labels["node"] != cluster.NodeName {
		t.Errorf("got %+v", alert)
	}
	if summary := alert.Annotations["summary"]; !strings.HasPrefix(summary, "hog holds ") || !strings.HasSuffix(summary, "MiB") {
		t.Errorf("summary %q", summary)
	}
	remove(t, c, pod)
	gone := time.Now()
	if alert = m.Alert(t, soon, labels); alert.Status != "resolved" {
		t.Errorf("after the pod's end: %+v", alert)
	}
	t.Logf("resolved %v after the pod's end", alert.Received.Sub(gone))
}

func TestEnd(t *testing.T) {
	c := startCluster(t)
	programs := map[string]*os.Process{}
	t.Run("run", func(t *testing.T) {
		m := Start(t, c, Options{})
		for _, p := range []*process{m.prometheus, m.alertmanager} {
			pid := p.cmd.Process.Pid
			name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			if err != nil {
				t.Fatal(err)
			}
			// A handle of its own: it tells the process from a later one with the same pid.
			if programs[strings.TrimSpace(string(name))], err = os.FindProcess(pid); err != nil {
				t.Fatal(err)
			}
			if network(t, pid) == network(t, os.Getpid()) {
				t.Errorf("%s is in this machine's network", name)
			}
		}
	})
	for _, name := range []string{"prometheus", "prometheus-aler"} { // 15 bytes of the name
		if programs[name] == nil {
			t.Fatalf("no %s in %v", name, programs)
		}
		if err := programs[name].Signal(syscall.Signal(0)); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("%s after the test's end: %v", name, err)
		}
	}
}

func network(t *testing.T, pid int) string {
	t.Helper()
	name, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// hold starts a pod with one container "c" that holds memory.
func hold(t *testing.T, c *cluster.Cluster, size string) *corev1.Pod {
	t.Helper()
	namespace := c.Namespace(t)
	c.Apply(t, namespace, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: hog}
spec:
  automountServiceAccountToken: false
  containers:
  - name: c
    image: %s
    imagePullPolicy: Never
    args: [hold, %s]
    resources: {limits: {memory: 128Mi}}
`, cluster.Hog, size))
	var pod *corev1.Pod
	cluster.Eventually(t, soon, func(ctx context.Context) (err error) {
		pod, err = c.Client.CoreV1().Pods(namespace).Get(ctx, "hog", metav1.GetOptions{})
		if err == nil && pod.Status.Phase != corev1.PodRunning {
			err = fmt.Errorf("the pod is %s", pod.Status.Phase)
		}
		return err
	})
	return pod
}

func remove(t *testing.T, c *cluster.Cluster, pod *corev1.Pod) {
	t.Helper()
	if err := c.Client.CoreV1().Pods(pod.Namespace).Delete(t.Context(), pod.Name, *metav1.NewDeleteOptions(0)); err != nil {
		t.Fatal(err)
	}
}

// usage is what the kernel says that the pod's container uses, in bytes.
func usage(t *testing.T, c *cluster.Cluster, pod *corev1.Pod) float64 {
	t.Helper()
	g, err := c.ContainerCgroup(pod, "c")
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := g.Usage()
	if err != nil {
		t.Fatal(err)
	}
	return float64(bytes)
}
