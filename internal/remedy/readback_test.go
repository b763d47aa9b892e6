package remedy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"stella/internal/oom"
)

// What the kubelet says of a resize, in the words of Kubernetes 1.35.
func TestReadStatus(t *testing.T) {
	condition := func(kind, reason string, generation int) string {
		return fmt.Sprintf(`{"type":%q,"status":"True","reason":%q,"message":"so","observedGeneration":%d}`, kind, reason, generation)
	}
	for name, c := range map[string]struct {
		seen       int
		conditions string
		limit      string
		want       State
		text       string
		final      bool
	}{
		"granted":                  {3, "", "96Mi", Yes, "a limit of 96Mi", false},
		"not yet":                  {3, "", "64Mi", No, "a limit of 64Mi", false},
		"not seen yet":             {2, condition("PodResizePending", "Infeasible", 2), "64Mi", No, "has not seen the change", false},
		"infeasible":               {3, condition("PodResizePending", "Infeasible", 3), "64Mi", No, "cannot grant it to pod web-1: Infeasible: so", true},
		"infeasible before":        {3, condition("PodResizePending", "Infeasible", 2), "96Mi", Yes, "a limit of 96Mi", false},
		"deferred":                 {3, condition("PodResizePending", "Deferred", 3), "64Mi", No, "Deferred: so", false},
		"at it":                    {3, condition("PodResizeInProgress", "", 3), "64Mi", No, "is at it", false},
		"failed":                   {3, condition("PodResizeInProgress", "Error", 3), "64Mi", No, "failed at it", false},
		"ready is nothing of that": {3, condition("Ready", "Infeasible", 3), "96Mi", Yes, "a limit of 96Mi", false},
	} {
		pod := object(t, fmt.Sprintf(`{"kind":"Pod","metadata":{"name":"web-1","uid":"1","generation":3},"status":{"observedGeneration":%d,"conditions":[%s],
 "containerStatuses":[{"name":"c","resources":{"limits":{"memory":%q}}}]}}`, c.seen, c.conditions, c.limit))
		var r Reading
		r.status(pod, &Want{"c", 96 << 20})
		if len(r.Checks) != 1 || r.Checks[0].State != c.want || !strings.Contains(r.Checks[0].Text, c.text) || r.final != c.final {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// The limit of a pod's cgroup follows from all of its containers.
func TestPodLimit(t *testing.T) {
	with := func(bytes string) string {
		return fmt.Sprintf(`{"name":"x","resources":{"limits":{"memory":%q}}}`, bytes)
	}
	for spec, want := range map[string]int64{
		`"containers":[` + with("64Mi") + `]`:                                         64 << 20,
		`"containers":[` + with("64Mi") + `,` + with("32Mi") + `]`:                    96 << 20,
		`"containers":[` + with("64Mi") + `,{"name":"y"}]`:                            0,
		`"containers":[` + with("64Mi") + `],"initContainers":[` + with("80Mi") + `]`: 80 << 20,
		`"containers":[` + with("64Mi") + `],"initContainers":[{"name":"s","restartPolicy":"Always","resources":{"limits":{"memory":"16Mi"}}},` + with("80Mi") + `]`: 96 << 20,
		`"containers":[` + with("64Mi") + `],"overhead":{"memory":"8Mi"}`:                                                                                            72 << 20,
		`"containers":[` + with("64Mi") + `],"resources":{"limits":{"memory":"128Mi"}}`:                                                                              128 << 20,
	} {
		pod := object(t, `{"kind":"Pod","metadata":{"name":"web-1","uid":"1"},"spec":{`+spec+`}}`)
		if got := pod.podLimit(); got != want {
			t.Errorf("%s: %d, want %d", spec, got, want)
		}
	}
}

// node is an agent that says what it was told to.
type node struct {
	usage  []oom.Usage
	limits []oom.CgroupLimit
	err    error
}

func (n node) Usage(context.Context) ([]oom.Usage, error) { return n.usage, nil }
func (n node) Limits(context.Context, string) ([]oom.CgroupLimit, error) {
	return n.limits, n.err
}

// Both cgroups have to have it, and what cannot be read is never yes.
func TestReadCgroups(t *testing.T) {
	pod := object(t, `{"kind":"Pod","metadata":{"name":"web-1","uid":"a-b"},"spec":{"nodeName":"n1","containers":[{"name":"c","resources":{"limits":{"memory":"96Mi"}}}]},
 "status":{"containerStatuses":[{"name":"c","resources":{"limits":{"memory":"96Mi"}}}]}}`)
	usage := []oom.Usage{{Container: oom.Container{PodUID: "a-b", Name: "c"}, Cgroup: "/kubepods/poda-b/c"}}
	chain := func(container, pod int64, name string) []oom.CgroupLimit {
		return []oom.CgroupLimit{{Cgroup: name + "/c", Bytes: container}, {Cgroup: name, Bytes: pod}, {Cgroup: "/kubepods"}}
	}
	const limit = 96 << 20
	for name, c := range map[string]struct {
		node Node
		want State
		text string
	}{
		"both":              {node{usage, chain(limit, limit, "/kubepods/poda-b"), nil}, Yes, ""},
		"systemd's names":   {node{usage, chain(limit, limit, "/kubepods.slice/kubepods-poda_b.slice"), nil}, Yes, ""},
		"the container's":   {node{usage, chain(limit, 64<<20, "/kubepods/poda-b"), nil}, No, "has a limit of 64Mi in the cgroup of the pod"},
		"the pod's":         {node{usage, chain(64<<20, limit, "/kubepods/poda-b"), nil}, No, "has a limit of 64Mi in the cgroup of the container"},
		"another pod's":     {node{usage, chain(limit, limit, "/kubepods/podx"), nil}, Unknown, "not where they are known to be"},
		"no agent":          {nil, Unknown, "could not tell"},
		"another node's":    {node{nil, nil, nil}, Unknown, "ask the one of node n1"},
		"it cannot be read": {node{usage, nil, errors.New("gone")}, Unknown, "gone"},
	} {
		var r Reading
		r.pods(t.Context(), []*Object{pod}, &Want{"c", limit}, c.node)
		text := ""
		for _, check := range r.Checks {
			if check.State != Yes {
				text += check.Text
			}
		}
		if all(r.Checks) != c.want || !strings.Contains(text, c.text) {
			t.Errorf("%s: %+v", name, r.Checks)
		}
	}
}
