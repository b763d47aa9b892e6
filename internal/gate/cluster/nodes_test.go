package cluster

import (
	"strings"
	"testing"

	"stella/internal/gate"
)

func TestNodes(t *testing.T) {
	const readyTrue, readyFalse = `"type":"Ready","status":"True"`, `"type":"Ready","status":"False"`
	testCases(t, "nodes", map[string]testCase{
		"a node is not ready":         {nodesPath, readyTrue, readyFalse, nil, ReasonNotReady, "1 of 3 nodes not Ready: c1 (Ready is False since 20"},
		"a node says unknown":         {nodesPath, readyTrue, `"type":"Ready","status":"Unknown"`, nil, ReasonNotReady, "Ready is Unknown"},
		"a node says true otherwise":  {nodesPath, readyTrue, `"type":"Ready","status":"true"`, nil, ReasonNotReady, "Ready is true"},
		"a node says nothing":         {nodesPath, `"type":"Ready"`, `"type":"Steady"`, nil, ReasonNotReady, "nothing says"},
		"no conditions":               {nodesPath, `"conditions":[`, `"conditions":null,"x":[`, nil, ReasonNotReady, "nothing says"},
		"ready twice, once not":       {nodesPath, `"type":"MemoryPressure"`, `"type":"Ready"`, nil, ReasonNotReady, "Ready is False"},
		"a field in another case":     {nodesPath, `"conditions"`, `"Conditions"`, nil, ReasonNotReady, "nothing says"},
		"a field twice":               {nodesPath, readyTrue, `"type":"Ready","status":"False","status":"True"`, nil, ReasonBadAnswer, "status comes twice"},
		"a field of another type":     {nodesPath, `"spec":{`, `"spec":{"unschedulable":"no",`, nil, ReasonBadAnswer, "unschedulable"},
		"a field too long":            {nodesPath, `"reason":"KubeletReady"`, `"reason":"` + strings.Repeat("x", 20000) + `"`, nil, ReasonBadAnswer, "more than"},
		"a node without a name":       {nodesPath, `"name":"c1"`, `"name":""`, nil, ReasonBadAnswer, "without a name"},
		"no nodes":                    {nodesPath, "", listJSON("Node"), nil, ReasonNoNodes, "no nodes"},
		"the own node is missing":     {nodesPath, `"name":"n1"`, `"name":"n7"`, nil, ReasonNodeMissing, "n1 is not among the 3 nodes"},
		"another is cordoned":         {nodesPath, `"spec":{`, `"spec":{"unschedulable":true,`, nil, ReasonCordoned, "1 of 3 nodes cordoned: c1"},
		"cordoned, as is allowed":     {nodesPath, `"spec":{`, `"spec":{"unschedulable":true,`, func(o *options) { o.nodes.AllowCordoned = []string{"c1"} }, "", "allowed: c1"},
		"cordoned, a label allows":    {nodesPath, `"spec":{`, `"spec":{"unschedulable":true,`, func(o *options) { o.nodes.AllowCordoned = []string{"os=linux"} }, "", "allowed: c1"},
		"cordoned, allowed elsewhere": {nodesPath, `"spec":{`, `"spec":{"unschedulable":true,`, func(o *options) { o.nodes.AllowCordoned = []string{"os=plan9", "c2", "os"} }, ReasonCordoned, "c1"},
		"the own node is cordoned":    {nodesPath, nodeJSON("n1", ownBoot, ""), strings.Replace(nodeJSON("n1", ownBoot, ""), `"spec":{`, `"spec":{"unschedulable":true,`, 1), nil, "", "allowed: n1"},
	})
}

func TestControlPlane(t *testing.T) {
	const readyTrue, readyFalse = `"type":"Ready","status":"True"`, `"type":"Ready","status":"False"`
	testCases(t, "control_plane", map[string]testCase{
		"one master is left":          {nodesPath, readyTrue, readyFalse, nil, ReasonTooFew, "1 nodes of the control plane Ready besides the own node, and 2 have to be; these are not: c1"},
		"one master is enough":        {nodesPath, readyTrue, readyFalse, func(o *options) { o.masters = 1 }, "", ""},
		"zero masters are one":        {nodesPath, "", listJSON("Node", nodeJSON("n1", ownBoot, `,"node-role.kubernetes.io/control-plane":""`)), func(o *options) { o.masters = 0 }, ReasonTooFew, "1 have to be there"},
		"a master is cordoned":        {nodesPath, `"spec":{`, `"spec":{"unschedulable":true,`, nil, ReasonTooFew, "c1 (cordoned)"},
		"an old label":                {nodesPath, `node-role.kubernetes.io/control-plane`, `node-role.kubernetes.io/master`, nil, "", "2 nodes"},
		"a label of another":          {nodesPath, `node-role.kubernetes.io/control-plane`, `node-role.kubernetes.io/worker`, nil, ReasonTooFew, "1 nodes"},
		"labels of another type":      {nodesPath, `"os":"linux"`, `"os":7`, nil, ReasonBadAnswer, "another kind"},
		"the own node does not count": {nodesPath, "", listJSON("Node", nodeJSON("c1", "b", `,"node-role.kubernetes.io/master":""`), nodeJSON("n1", ownBoot, `,"node-role.kubernetes.io/master":""`)), nil, ReasonTooFew, "1 nodes"},
	})
}

// A look is for one cycle: what was true then must not open the gate later.
func TestLookIsUsedOnce(t *testing.T) {
	client, o := serve(t, world()), defaults(t)
	l := NewLook(client, "n1")
	for _, c := range []gate.Check{l.Nodes(o.nodes), l.Soak(o.soak), l.Hold("gates")} {
		if r := c.Run(t.Context()); r.Outcome != gate.Pass {
			t.Errorf("%+v", r)
		}
		if r := c.Run(t.Context()); r.Outcome != gate.Unknown || r.Reason != gate.ReasonInvalid {
			t.Errorf("%s again: %+v", c.Name, r)
		}
	}
	// One that is made when the nodes were listed has seen none of them.
	if r := l.Soak(o.soak).Run(t.Context()); r.Outcome != gate.Unknown {
		t.Errorf("%+v", r)
	}
}

func TestManyNames(t *testing.T) {
	var n names
	for range 7 {
		n.add("%s", "x")
	}
	if r := n.blocked("r", "c", "%d nodes", 7); r.Detail != "7 nodes: x, x, x, x, x and 2 more" || len(r.Blockers) != gate.MaxNames {
		t.Errorf("%+v", r)
	}
}

func TestOwnNodeUnknown(t *testing.T) {
	w := world()
	delete(w, ownPath)
	if r := run(t.Context(), serve(t, w), defaults(t), "hold")[0]; r.Outcome != gate.Unknown || r.Reason != ReasonNodeMissing {
		t.Errorf("%+v", r)
	}
}
