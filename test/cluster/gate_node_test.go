package cluster_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"stella/internal/gate"
	"stella/test/cluster"
	"stella/test/cluster/internal/cage"
	"stella/test/cluster/internal/programs"
	"stella/test/cluster/internal/supervise"
	"stella/test/cluster/monitoring"
)

const (
	gateManifest  = "../../deploy/kubernetes/gate.yaml"
	gateNamespace = "stella"
	gatePeriod    = "3s"
	// The sentinels on the node: the manifest says /var/run, which is /run.
	rawFile   = "/run/reboot-required"
	gatedFile = "/run/gated-reboot-required"
	// prometheusAt is where pods reach Prometheus.
	prometheusAt = cage.NodeIP + ":9090"
)

// gateNode is a cluster with deploy/kubernetes/gate.yaml at work, deploy/alerts/gate.yaml, and a kured.
type gateNode struct {
	*cluster.Cluster
	*monitoring.Monitoring
	seed   *seed
	stella string // the program
	// rebooted is what the dry reboot copies the gated file to.
	rebooted string
	targets  string // a file that tells Prometheus of the gate and kured
}

// readGateManifest reads the DaemonSet, and as it is what comes before it.
func readGateManifest(t *testing.T) (before string, set *appsv1.DaemonSet) {
	t.Helper()
	text, err := os.ReadFile(gateManifest)
	if err != nil {
		t.Fatal(err)
	}
	before, after, ok := cutDaemonSet(string(text))
	if !ok {
		t.Fatalf("%s does not end with a DaemonSet", gateManifest)
	}
	set = &appsv1.DaemonSet{}
	if err := yaml.UnmarshalStrict([]byte(after), set); err != nil {
		t.Fatalf("%s: %v", gateManifest, err)
	}
	return before, set
}

func encoded(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

// deployGate does what the manifest's head says, with a period of seconds.
func deployGate(t *testing.T, c *cluster.Cluster) *gateNode {
	t.Helper()
	g := &gateNode{Cluster: c, rebooted: c.Path("/var/lib/kured/rebooted"), targets: filepath.Join(t.TempDir(), "targets.json")}
	g.seed = newSeed(t, c)
	token := rand.Text() + rand.Text()
	g.monitor(t, token)
	var err error
	if g.stella, err = programs.Static(t.Context(), "stella/cmd/stella", t.TempDir()); err != nil {
		t.Fatal(err)
	}
	image := c.Load(t, "stella/cmd/kured-sentinel-gate")
	before, set := readGateManifest(t)
	c.Apply(t, "", before)
	kubectl(t, c, "", "--namespace", gateNamespace, "create", "secret", "generic", "kured-sentinel-gate", "--from-literal=token="+token)
	for i := range set.Spec.Template.Spec.Containers {
		container := &set.Spec.Template.Spec.Containers[i]
		if container.Image != "kured-sentinel-gate:VERSION" {
			t.Errorf("%s: the image of %s is %s", gateManifest, container.Name, container.Image)
		}
		container.Image, container.ImagePullPolicy = image, corev1.PullNever
		put(t, container, "--period=300s", "--period="+gatePeriod)
	}
	container := &set.Spec.Template.Spec.Containers[0]
	put(t, container, "--prometheus-url=PROMETHEUS", "--prometheus-url=http://"+prometheusAt)
	container.Args = append(container.Args, "--delay=6s", "--workload=kube-system/app=web:1")
	text, err := yaml.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(t, "", string(text))
	t.Cleanup(func() {
		if t.Failed() {
			for _, args := range [][]string{
				{"get", "pods", "--all-namespaces", "-o", "wide"}, {"logs", "daemonset/kured-sentinel-gate", "--container", "gate"},
				{"logs", "daemonset/kured-sentinel-gate", "--container", "expire"}, {"logs", "daemonset/kured", "--namespace", "kube-system"},
			} {
				out, err := c.Kubectl(context.Background(), append([]string{"--namespace", gateNamespace}, args...)...).CombinedOutput()
				t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
			}
		}
	})
	return g
}

// put replaces an argument that the manifest has to have.
func put(t *testing.T, c *corev1.Container, old, replacement string) {
	t.Helper()
	for i, arg := range c.Args {
		if arg == old {
			c.Args[i] = replacement
			return
		}
	}
	t.Fatalf("%s: the container %s has no argument %s: %v", gateManifest, c.Name, old, c.Args)
}

// monitor starts Prometheus where the gate and kured reach it. It finds them by a file, since Debian's knows no Kubernetes.
func (g *gateNode) monitor(t *testing.T, token string) {
	t.Helper()
	rules, err := os.ReadFile("../../deploy/alerts/gate.yaml")
	if err != nil {
		t.Fatal(err)
	}
	g.Monitoring = monitoring.Start(t, g.Cluster, monitoring.Options{Rules: []string{string(rules), seedRules}, Scrape: fmt.Sprintf(`
- job_name: kured-sentinel-gate
  honor_labels: true
  authorization: {credentials: %s}
  file_sd_configs: [{files: [%q]}]
  relabel_configs: [{source_labels: [app], regex: kured-sentinel-gate, action: keep}]
- job_name: kured
  file_sd_configs: [{files: [%[2]q]}]
  relabel_configs: [{source_labels: [app], regex: kured, action: keep}]
- job_name: seed
  static_configs: [{targets: [%q]}]
`, token, g.targets, seedAt)})
	listener, err := g.Listen(prometheusAt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go supervise.Forward(listener, filepath.Join(g.Dir, supervise.DialSocket), g.Prometheus())
}

// scrape waits until the gate and kured are ready, and has Prometheus ask these pods.
func (g *gateNode) scrape(t *testing.T) {
	t.Helper()
	type target struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	var all []target
	for _, app := range []struct {
		namespace, label, port string
	}{{gateNamespace, "kured-sentinel-gate", "9329"}, {"kube-system", "kured", "8080"}} {
		kubectl(t, g.Cluster, "", "--namespace", app.namespace, "rollout", "status", "daemonset/"+app.label, "--timeout", settle.String())
		pods, err := g.Client.CoreV1().Pods(app.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + app.label})
		if err != nil {
			t.Fatal(err)
		}
		for i := range pods.Items {
			if pods.Items[i].DeletionTimestamp == nil {
				all = append(all, target{[]string{pods.Items[i].Status.PodIP + ":" + app.port}, map[string]string{"app": app.label}})
			}
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	next := g.targets + ".next"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, g.targets); err != nil {
		t.Fatal(err)
	}
	g.Await(t, settle, `up{job="kured-sentinel-gate"} == 1 and on () up{job="kured"} == 1`)
}

// wish makes the system want a reboot, since a while ago.
func (g *gateNode) wish(t *testing.T, ago time.Duration) {
	t.Helper()
	file := g.Path(rawFile)
	if err := os.WriteFile(file+".next", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	since := time.Now().Add(-ago)
	if err := os.Chtimes(file+".next", since, since); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".next", file); err != nil {
		t.Fatal(err)
	}
}

// verdict waits until the node says that this, and nothing else, keeps the gate shut: the reasons by their checks. None is that it is open.
func (g *gateNode) verdict(t *testing.T, reasons map[string]string) *gate.Verdict {
	t.Helper()
	var v *gate.Verdict
	cluster.Eventually(t, settle, func(ctx context.Context) error {
		n, err := g.Client.CoreV1().Nodes().Get(ctx, cluster.NodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if v, err = gate.ReadVerdict(n.Annotations[gate.VerdictAnnotation]); err != nil {
			return err
		}
		got := map[string]string{}
		for _, r := range v.Blocking() {
			got[r.Check] = r.Reason
		}
		if !maps.Equal(got, reasons) || v.Pending.IsZero() || v.Open != (len(reasons) == 0) {
			return fmt.Errorf("pending since %v, open: %v, blocked by %+v; want %v", v.Pending, v.Open, v.Blocking(), reasons)
		}
		return nil
	})
	if _, err := os.Stat(g.rebooted); err == nil && !v.Open {
		t.Fatalf("the node was rebooted while the gate was shut: %+v", v)
	}
	return v
}

// says runs stella until its answer has all these words.
func (g *gateNode) says(t *testing.T, words []string, args ...string) {
	t.Helper()
	var all []byte
	cluster.Eventually(t, settle, func(ctx context.Context) (err error) {
		if all, err = exec.CommandContext(ctx, g.stella, append(args, "--kubeconfig", g.Kubeconfig)...).CombinedOutput(); err != nil {
			return fmt.Errorf("stella %v: %w: %s", args, err, all)
		}
		for _, w := range words {
			if !bytes.Contains(all, []byte(w)) {
				return fmt.Errorf("stella %v does not say %q: %s", args, w, all)
			}
		}
		return nil
	})
	t.Logf("stella %s\n%s", strings.Join(args, " "), all)
}

// event waits for an event of the node whose message has all these words.
func (g *gateNode) event(t *testing.T, reason string, words ...string) {
	t.Helper()
	cluster.Eventually(t, settle, func(ctx context.Context) error {
		events, err := g.Client.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=Node,reason=" + reason})
		if err != nil {
			return err
		}
		var all []string
		for i := range events.Items {
			message := events.Items[i].Message
			missing := ""
			for _, w := range words {
				if !strings.Contains(message, w) {
					missing = w
				}
			}
			if missing == "" {
				return nil
			}
			all = append(all, message)
		}
		return fmt.Errorf("no event %s with %q among %q", reason, words, all)
	})
}
