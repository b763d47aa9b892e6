package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"stella/internal/gate"
	"stella/internal/gate/cluster"
	"stella/internal/gate/loop"
	"stella/internal/gate/turn"
	"stella/internal/kube"
	testcluster "stella/test/cluster"
)

// rights is a cluster of an API server alone, in which all is as the gate wants it, and the roles of the gate's manifest.
type rights struct {
	*testcluster.Cluster
	dir   string // of the sentinels
	pod   string // the gate's own
	roles []*rbacv1.ClusterRole
}

// right is a verb of a rule of a role.
type right struct {
	role *rbacv1.ClusterRole
	rule int
	verb string
}

func (r right) String() string {
	return r.role.Kind + " " + r.verb + " " + r.role.Rules[r.rule].Resources[0]
}

// The roles of deploy/kubernetes/gate.yaml are the smallest: with them every check passes and all is told. Without any one verb of
// theirs something says that it is forbidden, and no gate is open whose check was.
func TestGateRights(t *testing.T) {
	r := newRights(t)
	var all []right
	for _, role := range r.roles {
		for i, rule := range role.Rules {
			if len(rule.Resources) != 1 {
				t.Errorf("the %s %s has a rule of %v: write one for each, so that what it is for can be said", role.Kind, role.Name, rule.Resources)
			}
			for _, verb := range rule.Verbs {
				all = append(all, right{role, i, verb})
			}
		}
	}
	t.Run("all", func(t *testing.T) {
		heard := r.life(t, "all", right{})
		if len(heard.forbidden) > 0 || !heard.opened {
			t.Errorf("opened: %v, forbidden: %v; all that it said:\n%s", heard.opened, heard.forbidden, strings.Join(heard.all, "\n"))
		}
		r.wasTold(t)
	})
	for i, without := range all {
		t.Run("without "+without.String(), func(t *testing.T) {
			heard := r.life(t, fmt.Sprintf("without-%d", i), without)
			if len(heard.forbidden) == 0 {
				t.Errorf("nothing is missed, so it does not belong into the manifest; all that was said:\n%s", strings.Join(heard.all, "\n"))
			}
			slices.Sort(heard.forbidden)
			t.Log(strings.Join(slices.Compact(heard.forbidden), "; "))
		})
	}
}

func newRights(t *testing.T) *rights {
	t.Helper()
	r := &rights{Cluster: own(t, testcluster.Options{Level: testcluster.API}), dir: t.TempDir()}
	before, set := readGateManifest(t)
	r.Apply(t, "", before)
	for _, document := range strings.Split(before, "\n---\n") {
		role := &rbacv1.ClusterRole{} // a Role has the same fields
		if err := yaml.Unmarshal([]byte(document), role); err != nil {
			t.Fatal(err)
		}
		if role.Kind == "ClusterRole" || role.Kind == "Role" {
			r.roles = append(r.roles, role)
		}
	}
	if len(r.roles) != 3 {
		t.Fatalf("%d roles in %s, want 3", len(r.roles), gateManifest)
	}
	r.nodes(t)
	r.kured(t)
	pod := &corev1.Pod{ObjectMeta: set.Spec.Template.ObjectMeta, Spec: set.Spec.Template.Spec}
	pod.Namespace, pod.GenerateName = gateNamespace, set.Name+"-"
	pod.Spec.PriorityClassName = "" // nobody here makes it
	for i := range pod.Spec.Containers {
		for j := range pod.Spec.Containers[i].VolumeMounts {
			if m := &pod.Spec.Containers[i].VolumeMounts[j]; m.Name == "sentinel" {
				m.MountPath = r.dir
			}
		}
	}
	r.pod = r.runs(t, pod, "127.0.0.1")
	return r
}

// nodes makes two, of which this machine is the first.
func (r *rights) nodes(t *testing.T) {
	t.Helper()
	boot, err := cluster.ReadBoot("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]string{"node1": boot.ID, "node2": "another"} {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"node-role.kubernetes.io/control-plane": ""}}}
		if name == "node2" {
			n.Annotations = map[string]string{cluster.BootAnnotation: `{"id":"another","at":"2026-01-01T00:00:00Z"}`}
		}
		if n, err = r.Client.CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		n.Status.NodeInfo.BootID = id
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
		if _, err := r.Client.CoreV1().Nodes().UpdateStatus(t.Context(), n, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// kured makes one that reads the gated file, and whose metric says that it does.
func (r *rights) kured(t *testing.T) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, `kured_reboot_required{node="node1"} 0`)
	}))
	t.Cleanup(server.Close)
	at := netip.MustParseAddrPort(server.Listener.Addr().String())
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := r.Client.CoreV1().ServiceAccounts("kube-system").Create(t.Context(), account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	r.Apply(t, "", fmt.Sprintf(`
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kured, namespace: kube-system}
spec:
  selector: {matchLabels: {name: kured}}
  template:
    metadata: {labels: {name: kured}}
    spec:
      containers:
      - name: kured
        image: kured
        args: [--reboot-sentinel=/sentinel/gated-reboot-required, --metrics-port=%d]
        volumeMounts: [{name: sentinel, mountPath: /sentinel}]
      volumes: [{name: sentinel, hostPath: {path: /var/run}}]
`, at.Port()))
	set, err := r.Client.AppsV1().DaemonSets("kube-system").Get(t.Context(), "kured", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	set.Status.ObservedGeneration, set.Status.DesiredNumberScheduled, set.Status.NumberReady, set.Status.UpdatedNumberScheduled = set.Generation, 1, 1, 1
	if _, err := r.Client.AppsV1().DaemonSets("kube-system").UpdateStatus(t.Context(), set, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: set.Spec.Template.ObjectMeta, Spec: set.Spec.Template.Spec}
	pod.Namespace, pod.GenerateName = "kube-system", "kured-"
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: set.Name, UID: set.UID, Controller: new(true)}}
	r.runs(t, pod, at.Addr().String())
}

// runs makes a pod on node1 of which a kubelet would say that it is ready, and returns its name.
func (r *rights) runs(t *testing.T, pod *corev1.Pod, ip string) string {
	t.Helper()
	pod.Spec.NodeName = "node1"
	pod, err := r.Client.CoreV1().Pods(pod.Namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod.Status.Phase, pod.Status.PodIP, pod.Status.PodIPs = corev1.PodRunning, ip, []corev1.PodIP{{IP: ip}}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
	if _, err := r.Client.CoreV1().Pods(pod.Namespace).UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	return pod.Name
}

// life is that of a gate whose account has all roles without one verb: a look that finds no Lease, one that finds a turn that is free, and one
// after the reboot.
func (r *rights) life(t *testing.T, account string, without right) *gateLog {
	t.Helper()
	kubeconfig := r.account(t, account, without)
	leases := r.Client.CoordinationV1().Leases(gateNamespace)
	if err := leases.Delete(t.Context(), gate.LeaseName, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	if _, err := r.Client.CoreV1().Nodes().Patch(t.Context(), "node1", types.MergePatchType,
		fmt.Appendf(nil, `{"metadata": {"annotations": {%q: null, %q: null}}}`, gate.VerdictAnnotation, cluster.BootAnnotation), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(r.dir, "reboot-required")
	if err := os.WriteFile(raw, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	all := &gateLog{}
	all.add(r.look(t, kubeconfig))
	r.Apply(t, gateNamespace, fmt.Sprintf(`
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: %s, annotations: {%s: "2026-01-01T00:00:00Z"}}
`, gate.LeaseName, turn.ReleasedAnnotation))
	all.add(r.look(t, kubeconfig))
	if err := os.Remove(raw); err != nil {
		t.Fatal(err)
	}
	all.add(r.look(t, kubeconfig))
	return all
}

// account makes a service account that is bound to copies of all roles, and returns a kubeconfig of it. The copies are without a verb.
func (r *rights) account(t *testing.T, account string, without right) (kubeconfig string) {
	t.Helper()
	r.Apply(t, "", fmt.Sprintf("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: %s, namespace: %s}", account, gateNamespace))
	for _, original := range r.roles {
		role := original.DeepCopy()
		for i := range role.Rules {
			role.Rules[i].Verbs = slices.DeleteFunc(role.Rules[i].Verbs, func(verb string) bool { return without == right{original, i, verb} })
		}
		role.Rules = slices.DeleteFunc(role.Rules, func(rule rbacv1.PolicyRule) bool { return len(rule.Verbs) == 0 })
		role.Name += "-" + account
		binding := rbacv1.ClusterRoleBinding{
			TypeMeta: metav1.TypeMeta{APIVersion: role.APIVersion, Kind: role.Kind + "Binding"}, ObjectMeta: metav1.ObjectMeta{Name: role.Name, Namespace: role.Namespace},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: role.Kind, Name: role.Name},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: gateNamespace}},
		}
		for _, object := range []any{role, &binding} {
			text, err := yaml.Marshal(object)
			if err != nil {
				t.Fatal(err)
			}
			r.Apply(t, "", string(text))
		}
		r.known(t, account, role)
	}
	token, err := r.Client.CoreV1().ServiceAccounts(gateNamespace).CreateToken(t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
"clusters": [{"name": "c", "cluster": {"server": %q, "certificate-authority-data": %q}}], "users": [{"name": "u", "user": {"token": %q}}]}`,
		r.Config.Host, encoded(r.Config.CAData), token.Status.Token)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// known waits until the API server goes by a role, which it learns by a watch.
func (r *rights) known(t *testing.T, account string, role *rbacv1.ClusterRole) {
	t.Helper()
	if len(role.Rules) == 0 {
		return
	}
	rule := role.Rules[0]
	attributes := &authorizationv1.ResourceAttributes{Namespace: role.Namespace, Group: rule.APIGroups[0], Resource: rule.Resources[0], Verb: rule.Verbs[0]}
	if len(rule.ResourceNames) > 0 {
		attributes.Name = rule.ResourceNames[0]
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: "system:serviceaccount:" + gateNamespace + ":" + account, ResourceAttributes: attributes,
	}}
	testcluster.Eventually(t, soon, func(ctx context.Context) error {
		answer, err := r.Client.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err == nil && !answer.Status.Allowed {
			err = fmt.Errorf("%s may not %s %s yet", account, rule.Verbs[0], rule.Resources[0])
		}
		return err
	})
}

// look runs a gate with all checks that ask Kubernetes for one look.
func (r *rights) look(t *testing.T, kubeconfig string) *gateLog {
	t.Helper()
	h := &gateLog{}
	o := loop.Options{
		Node: "node1", PodName: r.pod, Namespace: gateNamespace, Kubeconfig: kubeconfig, Kured: "kube-system/kured",
		Raw: filepath.Join(r.dir, "reboot-required"), Gated: filepath.Join(r.dir, "gated-reboot-required"),
		Period: time.Minute, MaxIter: 1, Delay: time.Hour, Soak: time.Hour, Claims: true, ClaimsUnplaced: true, Budgets: true, ControlPlane: 1,
		Workloads: []string{"kube-system/name=kured:1", "kube-system/daemonset/kured:1"}, Log: slog.New(h),
	}
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := loop.Serve(t.Context(), o, func() {}); err != nil {
		t.Error(err)
	}
	if h.shut && h.opened {
		t.Errorf("a check was forbidden, and the gate is open:\n%s", strings.Join(h.all, "\n"))
	}
	return h
}

// wasTold looks for what a gate with all rights has told.
func (r *rights) wasTold(t *testing.T) {
	t.Helper()
	events, err := r.Client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=node1"})
	if err != nil {
		t.Fatal(err)
	}
	var reasons []string
	for i := range events.Items {
		reasons = append(reasons, events.Items[i].Reason)
	}
	for _, want := range []string{loop.EventShut, loop.EventOpen, loop.EventNotPending} {
		if !slices.Contains(reasons, want) {
			t.Errorf("no event %s among %v", want, reasons)
		}
	}
	n, err := r.Client.CoreV1().Nodes().Get(t.Context(), "node1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := gate.ReadVerdict(n.Annotations[gate.VerdictAnnotation]); err != nil || v.Open || !v.Pending.IsZero() {
		t.Errorf("the last verdict is %+v, %v", v, err)
	}
}

// gateLog is what is read of the log of a gate.
type gateLog struct {
	mu        sync.Mutex
	all       []string
	forbidden []string
	// shut says that a check was forbidden, opened that all passed.
	shut, opened bool
}

func (h *gateLog) add(more *gateLog) {
	h.all, h.forbidden = append(h.all, more.all...), append(h.forbidden, more.forbidden...)
	h.shut, h.opened = h.shut || more.shut, h.opened || more.opened
}

// Enabled implements [slog.Handler], as do the others.
func (*gateLog) Enabled(context.Context, slog.Level) bool { return true }

func (h *gateLog) WithAttrs([]slog.Attr) slog.Handler { panic("not used by the gate") }

func (h *gateLog) WithGroup(string) slog.Handler { panic("not used by the gate") }

func (h *gateLog) Handle(_ context.Context, record slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	line, check, reason := record.Message, "", ""
	record.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		switch err, _ := a.Value.Any().(error); {
		case a.Key == "check":
			check = a.Value.String()
		case a.Key == "reason":
			reason = a.Value.String()
		case errors.Is(err, kube.ErrForbidden):
			h.forbidden = append(h.forbidden, record.Message)
		}
		return true
	})
	if reason == cluster.ReasonForbidden {
		h.forbidden, h.shut = append(h.forbidden, check+": forbidden"), true
	}
	h.opened = h.opened || strings.Contains(line, "ALL CHECKS PASSED")
	h.all = append(h.all, line)
	return nil
}
