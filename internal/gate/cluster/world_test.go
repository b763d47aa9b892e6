package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"stella/internal/gate"
	"stella/internal/kube"
)

// The paths that the checks ask for.
const (
	nodesPath   = "/api/v1/nodes"
	ownPath     = "/api/v1/nodes/n1"
	leasePath   = "/apis/coordination.k8s.io/v1/namespaces/gates/leases/kured-sentinel-gate"
	calicoPath  = "/api/v1/namespaces/calico-system/pods"
	setPath     = "/apis/apps/v1/namespaces/kube-system/daemonsets/proxy"
	claimsPath  = "/api/v1/persistentvolumeclaims"
	classesPath = "/apis/storage.k8s.io/v1/storageclasses"
	podsPath    = "/api/v1/pods"
	budgetsPath = "/apis/policy/v1/poddisruptionbudgets"
)

const ownBoot = "0fc542e4-ea54-48ac-946a-98c44b713180"

var started = time.Now()

// ago is a time that is the same throughout a run.
func ago(d time.Duration) string { return started.Add(-d).UTC().Format(time.RFC3339) }

func nodeJSON(name, boot, labels string) string {
	told := fmt.Sprintf(`{"id":%q,"at":%q}`, boot, ago(50*time.Hour))
	return fmt.Sprintf(`{"metadata":{"name":%q,"creationTimestamp":%q,"labels":{"os":"linux"%s},"annotations":{"gate.stella/boot":%q}},"spec":{"podCIDR":"10.0.0.0/24"},`+
		`"status":{"conditions":[{"type":"MemoryPressure","status":"False"},{"type":"Ready","status":"True","reason":"KubeletReady","lastTransitionTime":%q}],"nodeInfo":{"bootID":%q}}}`,
		name, ago(1000*time.Hour), labels, told, ago(49*time.Hour), boot)
}

func podJSON(namespace, name, labels string) string {
	return fmt.Sprintf(`{"metadata":{"namespace":%q,"name":%q,"labels":{%s},"ownerReferences":[{"kind":"ReplicaSet","controller":true}]},"spec":{"nodeName":"n1"},`+
		`"status":{"phase":"Running","conditions":[{"type":"Initialized","status":"True"},{"type":"Ready","status":"True"}]}}`, namespace, name, labels)
}

func listJSON(kind string, items ...string) string {
	return fmt.Sprintf(`{"kind":"%sList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[%s]}`, kind, strings.Join(items, ","))
}

// world is a healthy cluster: what the API answers, by path.
func world() map[string]string {
	const master = `,"node-role.kubernetes.io/control-plane":""`
	return map[string]string{
		nodesPath:  listJSON("Node", nodeJSON("c1", "boot-1", master), nodeJSON("c2", "boot-2", master), nodeJSON("n1", ownBoot, "")),
		ownPath:    `{"kind":"Node",` + nodeJSON("n1", ownBoot, "")[1:],
		leasePath:  `{"kind":"Lease","metadata":{"name":"kured-sentinel-gate","annotations":{}},"spec":{}}`,
		calicoPath: listJSON("Pod", podJSON("calico-system", "calico-a", ""), podJSON("calico-system", "calico-b", "")),
		setPath: `{"kind":"DaemonSet","metadata":{"name":"proxy","generation":3},"spec":{"updateStrategy":{"type":"RollingUpdate"}},` +
			`"status":{"observedGeneration":3,"desiredNumberScheduled":2,"numberReady":2,"updatedNumberScheduled":2}}`,
		claimsPath: listJSON("PersistentVolumeClaim", `{"metadata":{"namespace":"shop","name":"data"},"spec":{"storageClassName":"fast"},"status":{"phase":"Bound"}}`,
			`{"metadata":{"namespace":"hermes","name":"data","creationTimestamp":"2026-04-22T00:00:00Z"},"spec":{"storageClassName":"late"},"status":{"phase":"Bound"}}`),
		classesPath: listJSON("StorageClass", `{"metadata":{"name":"fast"},"volumeBindingMode":"Immediate"}`, `{"metadata":{"name":"late"},"volumeBindingMode":"WaitForFirstConsumer"}`),
		podsPath:    listJSON("Pod", podJSON("shop", "web-1", `"app":"web"`), podJSON("shop", "db-1", `"app":"db"`)),
		budgetsPath: listJSON("PodDisruptionBudget", `{"metadata":{"namespace":"shop","name":"web","generation":2},"spec":{"selector":{"matchLabels":{"app":"web"}}},`+
			`"status":{"observedGeneration":2,"disruptionsAllowed":1,"currentHealthy":3,"desiredHealthy":2}}`),
	}
}

// proc is a procfs of a machine that was booted so long ago.
func proc(t testing.TB, up time.Duration) string {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sys/kernel/random"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"sys/kernel/random/boot_id": ownBoot + "\n", "uptime": fmt.Sprintf("%.2f 1.00\n", up.Seconds())} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// server is an API server that answers as a test wants.
func server(t testing.TB, answer http.HandlerFunc) *kube.Client {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return clientOf(t, s.URL)
}

// clientOf is a client of the API server there.
func clientOf(t testing.TB, url string) *kube.Client {
	t.Helper()
	name := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("current-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: %q}}]\nusers: [{name: u, user: {token: t}}]\n", url)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := kube.Kubeconfig(name, "")
	if err != nil {
		t.Fatal(err)
	}
	c := kube.New(config, "test/1")
	t.Cleanup(c.Close)
	return c
}

// serve is a server of a world.
func serve(t testing.TB, w map[string]string) *kube.Client {
	return server(t, func(rw http.ResponseWriter, r *http.Request) {
		text, ok := w[r.URL.Path]
		if !ok {
			rw.WriteHeader(http.StatusNotFound)
			text = `{"kind":"Status","reason":"NotFound","message":"not found","code":404}`
		}
		io.WriteString(rw, text)
	})
}

// options are those of a case.
type options struct {
	nodes     NodesOptions
	claims    ClaimsOptions
	masters   int
	soak      SoakOptions
	workloads []Workload
}

func defaults(t testing.TB) options {
	return options{
		masters:   2,
		soak:      SoakOptions{For: 24 * time.Hour, Proc: proc(t, 100*time.Hour)},
		workloads: []Workload{{Namespace: "calico-system", Selector: "k8s-app=calico-node", Minimum: 2}, {Namespace: "kube-system", DaemonSet: "proxy", Minimum: 2}},
	}
}

// paths are what each check asks for.
var paths = map[string][]string{
	"nodes": {nodesPath}, "soak": {nodesPath, ownPath}, "control_plane": {nodesPath}, "hold": {ownPath, leasePath},
	"workloads": {calicoPath, setPath}, "claims": {claimsPath, classesPath}, "budgets": {podsPath, budgetsPath},
}

// run runs one check, as if it were the only one, or all of a look.
func run(ctx context.Context, client *kube.Client, o options, names ...string) []gate.Result {
	l := NewLook(client, "n1")
	var results []gate.Result
	for _, c := range []gate.Check{
		l.Nodes(o.nodes), l.Soak(o.soak), l.ControlPlane(o.masters), l.Hold("gates"), Workloads(client, o.workloads...), Claims(client, o.claims), Budgets(client, "n1"),
	} {
		for _, name := range names {
			if c.Name == name {
				results = append(results, c.Run(ctx))
			}
		}
	}
	return results
}

func TestHealthy(t *testing.T) {
	var asked atomic.Int32
	w := world()
	client := server(t, func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if want := map[string]string{calicoPath: "labelSelector=k8s-app%3Dcalico-node", podsPath: "fieldSelector=spec.nodeName%3Dn1"}[r.URL.Path]; !strings.Contains(r.URL.RawQuery, want) {
			t.Errorf("%s", r.URL)
		}
		io.WriteString(rw, w[r.URL.Path])
	})
	o := defaults(t)
	o.claims.IgnoreUnplaced = true
	for _, r := range run(t.Context(), client, o, "nodes", "soak", "control_plane", "hold", "workloads", "claims", "budgets") {
		t.Logf("%+v", r)
		if r.Outcome != gate.Pass {
			t.Errorf("%+v", r)
		}
	}
	if n := asked.Load(); n != 9 { // one each, the nodes once for three checks
		t.Errorf("%d requests", n)
	}
}

// testCase changes one text of a healthy world, or a whole answer where from is "".
type testCase struct {
	path, from, to string
	options        func(*options)
	// want is the reason, "" for a pass, and says is in the detail.
	want, says string
}

func testCases(t *testing.T, check string, cases map[string]testCase) {
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w, o := world(), defaults(t)
			if c.options != nil {
				c.options(&o)
			}
			switch {
			case c.from == "":
				w[c.path] = c.to
			case !strings.Contains(w[c.path], c.from):
				t.Fatalf("%s has no %s", c.path, c.from)
			default:
				w[c.path] = strings.Replace(w[c.path], c.from, c.to, 1)
			}
			r := run(t.Context(), serve(t, w), o, check)[0]
			if r.Reason != c.want || (r.Outcome == gate.Pass) != (c.want == "") || !strings.Contains(r.Detail, c.says) {
				t.Errorf("%+v\nwant %q, %s", r, c.want, c.says)
			}
			if r.Outcome != gate.Pass && r.Clears == "" {
				t.Errorf("%+v says not what clears it", r)
			}
		})
	}
}
