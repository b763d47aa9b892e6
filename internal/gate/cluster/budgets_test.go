package cluster

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"stella/internal/gate"
)

func TestBudgets(t *testing.T) {
	testCases(t, "budgets", map[string]testCase{
		"a budget allows nothing":    {budgetsPath, `"disruptionsAllowed":1`, `"disruptionsAllowed":0`, nil, ReasonNoDisruption, "shop/web (keeps web-1; 3 healthy, 2 wanted)"},
		"a budget is in debt":        {budgetsPath, `"disruptionsAllowed":1`, `"disruptionsAllowed":-1`, nil, ReasonNoDisruption, ""},
		"a budget has no status":     {budgetsPath, `"status"`, `"x"`, nil, ReasonOutdated, ""},
		"a budget counts nothing":    {budgetsPath, `"disruptionsAllowed"`, `"x"`, nil, ReasonNoDisruption, ""},
		"a budget was changed":       {budgetsPath, `"observedGeneration":2`, `"observedGeneration":1`, nil, ReasonOutdated, "shop/web (keeps web-1)"},
		"it is of others":            {budgetsPath, `{"app":"web"}}},"status":{"observedGeneration":2,"disruptionsAllowed":1`, `{"app":"x"}}},"status":{"observedGeneration":2,"disruptionsAllowed":0`, nil, "", "2 pods"},
		"it is of another namespace": {budgetsPath, `"shop","name":"web","generation":2},"spec":{"selector":{"matchLabels":{"app":"web"}}},"status":{"observedGeneration":2,"disruptionsAllowed":1`, `"x","name":"web","generation":2},"spec":{"selector":{}},"status":{"observedGeneration":2,"disruptionsAllowed":0`, nil, "", "2 pods"},
		"it is of all":               {budgetsPath, `{"matchLabels":{"app":"web"}}},"status":{"observedGeneration":2,"disruptionsAllowed":1`, `{}},"status":{"observedGeneration":2,"disruptionsAllowed":0`, nil, ReasonNoDisruption, "shop/web (keeps web-1;"},
		"it is of none":              {budgetsPath, `{"matchLabels":{"app":"web"}}},"status":{"observedGeneration":2,"disruptionsAllowed":1`, `null},"status":{"observedGeneration":2,"disruptionsAllowed":0`, nil, "", "2 pods"},
		"an unknown operator":        {budgetsPath, `"matchLabels":{"app":"web"}`, `"matchExpressions":[{"key":"app","operator":"Like","values":["w*"]}]`, nil, ReasonBadSelector, "Like"},
		"an operator without values": {budgetsPath, `"matchLabels":{"app":"web"}`, `"matchExpressions":[{"key":"app","operator":"In"}]`, nil, ReasonBadSelector, "In"},
		"labels that are none":       {budgetsPath, `"matchLabels":{"app":"web"}`, `"matchLabels":{"app":["web"]}`, nil, ReasonBadAnswer, "another kind"},
		"two budgets of a pod":       {budgetsPath, `"items":[`, `"items":[{"metadata":{"namespace":"shop","name":"all","generation":1},"spec":{"selector":{}},"status":{"observedGeneration":1,"disruptionsAllowed":5,"currentHealthy":9,"desiredHealthy":1}},`, nil, ReasonOverlapping, "shop/web-1 (of all and web)"},
		"no budgets":                 {budgetsPath, "", listJSON("PodDisruptionBudget"), nil, "", "0 budgets"},
		"no pods on this node":       {podsPath, "", listJSON("Pod"), nil, ReasonNoPods, "no pods of the own node n1"},
	})
}

// What a budget that allows nothing does to a pod depends on the pod.
func TestPodsOfADrain(t *testing.T) {
	const full = `"disruptionsAllowed":0,"currentHealthy":%d,"desiredHealthy":2`
	for name, c := range map[string]struct {
		from, to string // of the pod
		healthy  int
		policy   string
		want     string
	}{
		"as it is":                        {"", "", 3, "", ReasonNoDisruption},
		"of a DaemonSet":                  {`"ReplicaSet"`, `"DaemonSet"`, 1, "", ""},
		"owned by a DaemonSet, not its":   {`"ReplicaSet","controller":true`, `"DaemonSet","controller":false`, 1, "", ReasonNoDisruption},
		"of a file of the kubelet":        {`"labels"`, `"annotations":{"kubernetes.io/config.mirror":"x"},"labels"`, 1, "", ""},
		"ended well":                      {"Running", "Succeeded", 1, "", ""},
		"ended badly":                     {"Running", "Failed", 1, "", ""},
		"not started":                     {"Running", "Pending", 1, "", ""},
		"in no phase":                     {"Running", "", 1, "", ReasonNoDisruption},
		"being deleted":                   {`"labels"`, `"deletionTimestamp":"2026-01-01T00:00:00Z","labels"`, 1, "", ""},
		"not ready, the others are":       {`"Ready","status":"True"`, `"Ready","status":"False"`, 2, "", ""},
		"not ready, nor others":           {`"Ready","status":"True"`, `"Ready","status":"False"`, 1, "IfHealthyBudget", ReasonNoDisruption},
		"not ready, and free to go":       {`"Ready","status":"True"`, `"Ready","status":"False"`, 1, "AlwaysAllow", ""},
		"ready, whatever the policy says": {"", "", 1, "AlwaysAllow", ReasonNoDisruption},
	} {
		w := world()
		w[podsPath] = strings.Replace(w[podsPath], c.from, c.to, 1)
		w[budgetsPath] = strings.NewReplacer(fmt.Sprintf(strings.Replace(full, "0", "1", 1), 3), fmt.Sprintf(full, c.healthy), `"spec":{`, `"spec":{"unhealthyPodEvictionPolicy":"`+c.policy+`",`).Replace(w[budgetsPath])
		if r := run(t.Context(), serve(t, w), defaults(t), "budgets")[0]; r.Reason != c.want || (r.Outcome == gate.Pass) != (c.want == "") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// What is kept of the node's pods is bounded.
func TestTooManyPods(t *testing.T) {
	for name, pods := range map[string][]string{
		"pods":   make([]string, maxPods+1),
		"labels": make([]string, maxLabels/(10<<10)+1),
	} {
		for i := range pods {
			label := ""
			if name == "labels" {
				label = `"x":"` + strings.Repeat("x", 10<<10) + `"`
			}
			pods[i] = podJSON("shop", fmt.Sprint(i), label)
		}
		w := world()
		w[podsPath] = listJSON("Pod", pods...)
		if r := run(t.Context(), serve(t, w), defaults(t), "budgets")[0]; r.Outcome != gate.Unknown || r.Reason != ReasonTooLarge {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// Requirements of random selectors mean what the documentation says: a label is one of these, or not; is there, or not.
func TestSelector(t *testing.T) {
	values := []string{"", "a", "b"}
	for range 20_000 {
		labels := map[string]string{}
		for _, k := range []string{"x", "y"} {
			if rand.N(3) > 0 {
				labels[k] = values[rand.N(3)]
			}
		}
		s := selector{given: rand.N(10) > 0, labels: map[string]string{}}
		want := s.given
		if rand.N(2) == 0 {
			s.labels["x"] = values[rand.N(3)]
			v, ok := labels["x"]
			want = want && ok && v == s.labels["x"]
		}
		for range rand.N(3) {
			r := requirement{key: []string{"x", "y", "z"}[rand.N(3)]}
			one := values[rand.N(3)]
			v, ok := labels[r.key]
			switch rand.N(4) {
			case 0:
				r.operator, r.values, want = "In", []string{"c", one}, want && ok && v == one
			case 1:
				r.operator, r.values, want = "NotIn", []string{one, "c"}, want && !(ok && v == one)
			case 2:
				r.operator, want = "Exists", want && ok
			case 3:
				r.operator, want = "DoesNotExist", want && !ok
			}
			s.requirements = append(s.requirements, r)
		}
		if got := s.matches(labels); got != want {
			t.Fatalf("%+v of %v: %v", s, labels, got)
		}
	}
}
