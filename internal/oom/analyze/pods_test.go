package analyze_test

import (
	"fmt"
	"strings"
	"testing"

	"stella/internal/oom"
	"stella/internal/oom/analyze"
)

// What a list of pods adds to a kill.
func TestPods(t *testing.T) {
	log := header(1, inPod(one), inPod(one), 7) + killed(1, 7)
	list := func(metadata, spec, status string, more ...string) string {
		pod := fmt.Sprintf(`{"kind":"Pod","metadata":{"name":"p-1","namespace":"n",%s},"spec":{"nodeName":"node-1",%s},"status":{"qosClass":"Burstable",%s}}`, metadata, spec, status)
		return `{"apiVersion":"v1","items":[` + strings.Join(append(more, pod), ",") + `]}`
	}
	uid := `"uid":"` + poduid + `"`
	owned := func(kind, name string) string {
		return fmt.Sprintf(`%s,"labels":{"pod-template-hash":"6b7"},"ownerReferences":[{"kind":%q,"name":%q,"uid":"o-1","controller":true}]`, uid, kind, name)
	}
	spec := `"containers":[{"name":"c","image":"i:1","resources":{"limits":{"memory":"64Mi"},"requests":{"memory":"32M"}}}]`
	status := `"containerStatuses":[{"name":"c","containerID":"cri-o://` + one + `","restartCount":2,"state":{"waiting":{"reason":"CrashLoopBackOff"}}}]`
	c := oom.Container{
		ID: one, Runtime: "cri-o", Name: "c", Namespace: "n", Pod: "p-1", PodUID: poduid, QoS: "Burstable", Workload: "Pod/p-1", Image: "i:1", Node: "node-1", Request: 32_000_000, LimitBytes: 64 << 20,
	}
	with := func(change func(*oom.Container)) oom.Container {
		changed := c
		change(&changed)
		return changed
	}
	workload := func(name string, guessed bool) oom.Container {
		return with(func(c *oom.Container) { c.Workload, c.WorkloadGuessed = name, guessed })
	}
	for name, test := range map[string]struct {
		list string
		want oom.Container
	}{
		"no owner":                    {list(uid, spec, status), c},
		"an owner":                    {list(owned("StatefulSet", "p"), spec, status), workload("StatefulSet/p", false)},
		"a Deployment by its name":    {list(owned("ReplicaSet", "web-6b7"), spec, status), workload("Deployment/web", true)},
		"a ReplicaSet of its own":     {list(owned("ReplicaSet", "web"), spec, status), workload("ReplicaSet/web", false)},
		"a CronJob by its name":       {list(owned("Job", "backup-28607040"), spec, status), workload("CronJob/backup", true)},
		"a Job":                       {list(owned("Job", "backup-now"), spec, status), workload("Job/backup-now", false)},
		"a Deployment that is listed": {list(owned("ReplicaSet", "web-6b7"), spec, status, `{"kind":"ReplicaSet","metadata":{"uid":"o-1","ownerReferences":[{"kind":"Rollout","name":"web","uid":"o-2","controller":true}]}}`), workload("Rollout/web", false)},
		"owners in a circle":          {list(owned("ReplicaSet", "web-6b7"), spec, status, `{"metadata":{"uid":"o-1","ownerReferences":[{"kind":"X","name":"x","uid":"o-1","controller":true}]}}`), workload("X/x", false)},
		"a static pod":                {list(`"uid":"of the mirror","annotations":{"kubernetes.io/config.mirror":"`+poduid+`","kubernetes.io/config.hash":"`+poduid+`"}`, spec, status), c},
		"a container that is gone, the only one": {
			list(uid, spec, strings.ReplaceAll(status, one, two)), with(func(c *oom.Container) { c.Runtime = "" }),
		},
		"a container that is gone, one of two": {
			list(uid, strings.Replace(spec, "]", `,{"name":"d"}]`, 1), strings.ReplaceAll(status, one, two)),
			oom.Container{ID: one, Namespace: "n", Pod: "p-1", PodUID: poduid, QoS: "Burstable", Workload: "Pod/p-1", Node: "node-1"},
		},
	} {
		for order, logs := range map[string][]string{"log first": {log, test.list}, "list first": {test.list, log}} {
			r := text(t, analyze.Options{}, logs...)
			if len(r.Kills) != 1 || len(r.Unread) != 0 {
				t.Fatalf("%s, %s: %+v", name, order, r)
			}
			if got := r.Kills[0].Container; got != test.want {
				t.Errorf("%s, %s:\n got %+v\nwant %+v", name, order, got, test.want)
			}
		}
	}
}

// More pods than are kept are counted, and said.
func TestManyPods(t *testing.T) {
	var list strings.Builder
	list.WriteString(`{"apiVersion":"v1","items":[{}`)
	for i := range 10_050 {
		fmt.Fprintf(&list, `,{"metadata":{"name":"p","uid":"u-%d"},"spec":{"containers":[{"name":"c"}]}}`, i)
	}
	list.WriteString("]}")
	r := text(t, analyze.Options{}, list.String())
	if r.Totals.Pods != 10_050 || !strings.Contains(strings.Join(r.Missing, "\n"), "50 pods beyond the first 10000") {
		t.Errorf("%d pods, missing %q", r.Totals.Pods, r.Missing)
	}
}
