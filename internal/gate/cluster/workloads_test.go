package cluster

import (
	"strings"
	"testing"

	"stella/internal/gate"
)

func TestWorkloads(t *testing.T) {
	const readyTrue, readyFalse = `"type":"Ready","status":"True"`, `"type":"Ready","status":"False"`
	testCases(t, "workloads", map[string]testCase{
		"a pod is not ready":         {calicoPath, readyTrue, readyFalse, nil, ReasonUnhealthy, "calico-system/k8s-app=calico-node: 1 of 2 pods: calico-a (Ready is False)"},
		"a pod is being deleted":     {calicoPath, `"name":"calico-a"`, `"name":"calico-a","deletionTimestamp":"2026-01-01T00:00:00Z"`, nil, ReasonUnhealthy, "being deleted"},
		"no pods":                    {calicoPath, "", listJSON("Pod"), nil, ReasonNoPods, "no pods"},
		"too few pods":               {calicoPath, "", listJSON("Pod", podJSON("calico-system", "a", "")), nil, ReasonTooFew, "1 pods are Ready, and 2"},
		"a pod has ended":            {calicoPath, `"phase":"Running"`, `"phase":"Failed"`, nil, ReasonTooFew, "1 pods are Ready"},
		"all pods have ended":        {calicoPath, "", strings.ReplaceAll(world()[calicoPath], "Running", "Succeeded"), nil, ReasonNoPods, "2 that have ended"},
		"a pod without a name":       {calicoPath, `"calico-a"`, `null`, nil, ReasonBadAnswer, "without a name"},
		"a DaemonSet rolls out":      {setPath, `"updatedNumberScheduled":2`, `"updatedNumberScheduled":1`, nil, ReasonRollingOut, "1 of 2 pods are of its newest"},
		"a DaemonSet was changed":    {setPath, `"observedGeneration":3`, `"observedGeneration":2`, nil, ReasonRollingOut, "does not tell"},
		"a DaemonSet is not ready":   {setPath, `"numberReady":2`, `"numberReady":1`, nil, ReasonUnhealthy, "1 of 2"},
		"a DaemonSet is nowhere":     {setPath, `"desiredNumberScheduled":2`, `"desiredNumberScheduled":0`, nil, ReasonNoPods, "no node"},
		"a DaemonSet is too small":   {setPath, "", world()[setPath], func(o *options) { o.workloads[1].Minimum = 3 }, ReasonTooFew, "2 pods are Ready, and 3"},
		"a DaemonSet has no status":  {setPath, `"status"`, `"Status"`, nil, ReasonRollingOut, "does not tell"},
		"a DaemonSet counts in text": {setPath, `"numberReady":2`, `"numberReady":"2"`, nil, ReasonBadAnswer, "numberReady"},
		"a DaemonSet counts in part": {setPath, `"numberReady":2`, `"numberReady":2.5`, nil, ReasonBadAnswer, "numberReady"},
		"no workloads":               {setPath, "", world()[setPath], func(o *options) { o.workloads = nil }, ReasonNone, "none"},
		"a workload of nothing":      {setPath, "", world()[setPath], func(o *options) { o.workloads = []Workload{{Namespace: "x"}} }, ReasonNone, "neither"},
	})
}

// Where pods are replaced when somebody deletes them, old ones are meant to stay.
func TestOnDelete(t *testing.T) {
	w := world()
	w[setPath] = strings.NewReplacer("RollingUpdate", "OnDelete", `"updatedNumberScheduled":2`, `"updatedNumberScheduled":0`).Replace(w[setPath])
	if r := run(t.Context(), serve(t, w), defaults(t), "workloads")[0]; r.Outcome != gate.Pass {
		t.Errorf("%+v", r)
	}
}

func TestParseWorkload(t *testing.T) {
	for text, want := range map[string]Workload{
		"calico-system/k8s-app=calico-node:3":    {Namespace: "calico-system", Selector: "k8s-app=calico-node", Minimum: 3},
		"a/app.kubernetes.io/name in (x,y),!z:1": {Namespace: "a", Selector: "app.kubernetes.io/name in (x,y),!z", Minimum: 1},
		"kube-system/daemonset/kube-proxy:2":     {Namespace: "kube-system", DaemonSet: "kube-proxy", Minimum: 2},
	} {
		if got, err := ParseWorkload(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "x/", "/a=b:1", "x/a=b", "x/a=b:", "x/a=b:0", "x/a=b:-1", "x/:1", "x/daemonset/:1", "x/a=b:1.5"} {
		if got, err := ParseWorkload(text); err == nil || !strings.Contains(err.Error(), "NAMESPACE/SELECTOR:MINIMUM") {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}
