package cluster_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stella/internal/gate"
	"stella/internal/gate/loop"
	"stella/internal/testkit"
	"stella/test/cluster"
	"stella/test/cluster/internal/programs"
)

// kuredManifest runs kured as its chart does: the host's directory of the sentinel is /sentinel. It has the node's programs, for its nsenter. What it runs, it
// runs among the mounts of process 1, which would be the host's; here it is without the host's processes, so that this is the container itself: the node of a test has no process 1 of
// its own, and that of the machine is none of a test's business.
const kuredManifest = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: kured, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: kured}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: kured, namespace: kube-system}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kured, namespace: kube-system}
spec:
  selector: {matchLabels: {app.kubernetes.io/name: kured}}
  template:
    metadata: {labels: {app.kubernetes.io/name: kured}}
    spec:
      serviceAccountName: kured
      terminationGracePeriodSeconds: 1
      tolerations: [{operator: Exists}]
      containers:
      - name: kured
        image: ` + cluster.Hog + `
        imagePullPolicy: Never
        command: [/opt/kured/kured]
        args: [--reboot-sentinel=/sentinel/gated-reboot-required, --period=1s, '--reboot-command=/bin/sh -c "cat /sentinel/gated-reboot-required > /opt/kured/rebooted"'%[1]s]
        env: [{name: PATH, value: /usr/bin:/bin}, {name: KURED_NODE_ID, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
        securityContext: {privileged: true}
        ports: [{containerPort: 8080}]
        volumeMounts:
        - {name: sentinel, mountPath: /sentinel, readOnly: true}
        - {name: kured, mountPath: /opt/kured}
        - {name: bin, mountPath: /usr/bin, readOnly: true}
        - {name: bin, mountPath: /bin, readOnly: true}
        - {name: lib, mountPath: /lib, readOnly: true}
        - {name: lib64, mountPath: /lib64, readOnly: true}
      volumes:
      - {name: sentinel, hostPath: {path: "%[2]s"}}
      - {name: kured, hostPath: {path: /var/lib/kured}}
      - {name: bin, hostPath: {path: /usr/bin}}
      - {name: lib, hostPath: {path: /usr/lib}}
      - {name: lib64, hostPath: {path: /usr/lib64}}
`

// asksPrometheus is kured without a list of alerts to ignore, but for what always fires, and what docs/gate.md asks for.
const asksPrometheus = `, "--prometheus-url=http://` + prometheusAt + `", --alert-firing-only, "--alert-filter-regexp=^(Watchdog|Kured.*|GateHoldForgotten)$"`

// obstacles keep a node from its reboot, until they are taken away.
const obstacles = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: hermes-agent-data, namespace: kube-system}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web, namespace: kube-system}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      readinessGates: [{conditionType: test/ready}]
      containers: [{name: c, image: ` + cluster.Hog + `, imagePullPolicy: Never, args: [pause]}]
`

// The gate of deploy/kubernetes/gate.yaml before a kured, with Prometheus and deploy/alerts/gate.yaml: kured reboots the node exactly when the gate
// allows it, and whatever holds it back is said. kured is test/gate/kured, which follows what is known of kured; KURED_BIN=/path/to/kured, a static
// binary, runs the same with that. The reboot is a dry one: a copy of the file that allowed it, empty if none did.
func TestGate(t *testing.T) {
	testkit.Need(t, testkit.Program("prometheus"), testkit.Program("prometheus-alertmanager"))
	g := deployGate(t, own(t, cluster.Options{Kubelet: map[string]any{"syncFrequency": "1s", "configMapAndSecretChangeDetectionStrategy": "Watch"}}))
	g.installKured(t)
	g.Apply(t, "", obstacles)
	g.deployKured(t, "/var/lib/kured-sentinel", asksPrometheus) // the mistake that lasted for six days
	steps := []struct {
		name string
		run  func(*testing.T)
	}{
		{"shut", g.shut}, {"each reason by itself", g.clear}, {"reboot", g.reboot},
		{"three alerts", g.threeAlerts}, {"held by kured", g.heldByKured}, {"a rule lapses", g.lapse}, {"memory", g.memory},
	}
	for _, s := range steps {
		if !t.Run(s.name, s.run) {
			return // each goes on where the last one ended
		}
	}
}

// installKured puts the program on the node.
func (g *gateNode) installKured(t *testing.T) {
	t.Helper()
	program := os.Getenv("KURED_BIN")
	if program == "" {
		var err error
		if program, err = programs.Static(t.Context(), "stella/test/gate/kured", t.TempDir()); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	dir := g.Path("/var/lib/kured")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kured"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(g.Path("/var/lib/kured-sentinel"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// deployKured runs kured with the host's directory as that of the sentinel, and waits until it does.
func (g *gateNode) deployKured(t *testing.T, directory, more string) {
	t.Helper()
	g.Apply(t, "", fmt.Sprintf(kuredManifest, more, directory))
	g.scrape(t)
}

// shut: whatever blocks is said everywhere, and kured's own metric shows nothing of it.
func (g *gateNode) shut(t *testing.T) {
	g.says(t, []string{"held: ", "disk is being replaced"}, "gate", "hold", cluster.NodeName, "--reason", "disk is being replaced", "--by", "kim", "--for", "1h")
	g.wish(t, 0)
	reasons := map[string]string{"hold": "held", "claims": "unbound", "workloads": "unhealthy", "path": "mismatch"}
	g.verdict(t, reasons)
	g.event(t, loop.EventShut, "disk is being replaced", "hermes-agent-data", "web-", "/var/lib/kured-sentinel")
	var words []string
	for check, reason := range reasons {
		g.Await(t, settle, fmt.Sprintf(`stella_gate_verdict{node=%q, check=%q, reason=%q} == 1`, cluster.NodeName, check, reason))
		words = append(words, check+": "+reason)
	}
	g.heldByGate(t)
	g.says(t, append(words, "shut"), "gate", "status")
	g.says(t, []string{"disk is being replaced", "kim", "kube-system/hermes-agent-data", "web-", "/var/lib/kured-sentinel/gated-reboot-required", gatedFile},
		"gate", "explain", cluster.NodeName)
}

// heldByGate: a backlog that kured's own metric does not have.
func (g *gateNode) heldByGate(t *testing.T) {
	t.Helper()
	g.Await(t, settle, `stella_gate_reboot_required{sentinel="raw"} == 1 and on () stella_gate_reboot_required{sentinel="gated"} == 0 and on () kured_reboot_required == 0 and on () stella_gate_reboot_pending_seconds > 0`)
}

// clear takes one reason after another away; each of them alone keeps the gate shut.
func (g *gateNode) clear(t *testing.T) {
	g.says(t, []string{"released"}, "gate", "release", cluster.NodeName)
	g.verdict(t, map[string]string{"claims": "unbound", "workloads": "unhealthy", "path": "mismatch"})
	kubectl(t, g.Cluster, "", "--namespace", "kube-system", "delete", "persistentvolumeclaim", "hermes-agent-data")
	g.verdict(t, map[string]string{"workloads": "unhealthy", "path": "mismatch"})
	g.ready(t)
	g.verdict(t, map[string]string{"path": "mismatch"})
}

// ready meets the condition that the pod of the DaemonSet waits for.
func (g *gateNode) ready(t *testing.T) {
	t.Helper()
	pods, err := g.Client.CoreV1().Pods("kube-system").List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil || len(pods.Items) != 1 {
		t.Fatalf("%d pods, %v", len(pods.Items), err)
	}
	const patch = `{"status": {"conditions": [{"type": "test/ready", "status": "True"}]}}`
	if _, err := g.Client.CoreV1().Pods("kube-system").Patch(t.Context(), pods.Items[0].Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

// reboot: the last reason goes, and kured does what it is there for, once.
func (g *gateNode) reboot(t *testing.T) {
	g.deployKured(t, "/var/run", asksPrometheus)
	g.reboots(t)
	g.event(t, loop.EventOpen)
	lease, err := g.Client.CoordinationV1().Leases(gateNamespace).Get(t.Context(), gate.LeaseName, metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity != cluster.NodeName {
		t.Errorf("the node was rebooted without the turn: %+v, %v", lease, err)
	}
	g.comesBack(t)
	g.event(t, loop.EventNotPending)
	g.says(t, []string{"no gate says"}, "gate", "status")
}

// reboots waits for the dry reboot.
func (g *gateNode) reboots(t *testing.T) {
	t.Helper()
	cluster.Eventually(t, settle, func(context.Context) error {
		text, err := os.ReadFile(g.rebooted)
		if err == nil && !strings.Contains(string(text), `"node":"`+cluster.NodeName+`"`) {
			err = fmt.Errorf("the gated file was %q when the node was rebooted", text)
		}
		return err
	})
}

// comesBack is what the reboot would do: the system's wish is over, so that the gate shuts and gives the turn back; and kured starts anew, and lets
// pods on the node again.
func (g *gateNode) comesBack(t *testing.T) {
	t.Helper()
	for _, file := range []string{g.rebooted, g.Path(rawFile)} {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	cluster.Eventually(t, settle, func(ctx context.Context) error {
		if _, err := os.Stat(g.Path(gatedFile)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("the gated file is not gone: %w", cmp.Or(err, fs.ErrExist))
		}
		lease, err := g.Client.CoordinationV1().Leases(gateNamespace).Get(ctx, gate.LeaseName, metav1.GetOptions{})
		if err == nil && lease.Spec.HolderIdentity != nil {
			err = fmt.Errorf("the turn is still that of %s", *lease.Spec.HolderIdentity)
		}
		if err != nil {
			return err
		}
		n, err := g.Client.CoreV1().Nodes().Get(ctx, cluster.NodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		v, err := gate.ReadVerdict(n.Annotations[gate.VerdictAnnotation])
		if err == nil && (v.Open || !v.Pending.IsZero()) {
			err = fmt.Errorf("the node says %+v", v)
		}
		return err
	})
	g.restartKured(t)
	cluster.Eventually(t, settle, func(ctx context.Context) error {
		n, err := g.Client.CoreV1().Nodes().Get(ctx, cluster.NodeName, metav1.GetOptions{})
		if err == nil && n.Spec.Unschedulable {
			err = errors.New("the node is cordoned")
		}
		return err
	})
}

// restartKured has it begin in another pod, as after a reboot.
func (g *gateNode) restartKured(t *testing.T) {
	t.Helper()
	kubectl(t, g.Cluster, "", "--namespace", "kube-system", "delete", "pods", "--selector", "app.kubernetes.io/name=kured", "--now")
	g.scrape(t)
}

// remindKured has it look at the sentinel for its metric, which it sets when it starts, and then once a minute. Called just after a look of the gate, it is back before
// the next one. A kured that takes no SIGTERM looks within the minute.
func (g *gateNode) remindKured(t *testing.T) {
	t.Helper()
	out, err := g.Kubectl(t.Context(), "--namespace", "kube-system", "exec", "daemonset/kured", "--", "/usr/bin/kill", "1").CombinedOutput()
	if err != nil { // the end of the container can be that of the command, too
		t.Logf("%v: %s", err, out)
	}
}
