package main

import (
	"bufio"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
)

// pod is one by its number: of calico on each node, of the shop, of kured, of the gates.
type pod struct {
	set    string // what it belongs to
	number int    // in it
	node   int
}

func (c *cluster) podCount() int { return c.pods + 2*c.gates }

func (c *cluster) pod(i int) pod {
	calicos := min(c.nodes, c.pods)
	switch {
	case i < calicos:
		return pod{calico, i, i}
	case i < c.pods:
		return pod{shop, i - calicos, i % c.nodes}
	case i < c.pods+c.gates:
		return pod{"kured", i - c.pods, i - c.pods}
	}
	return pod{"gate", i - c.pods - c.gates, i - c.pods - c.gates}
}

func (p pod) namespace() string {
	if p.set == calico || p.set == shop {
		return p.set
	}
	return system
}

func (p pod) name() string { return fmt.Sprintf("%s-n%d", p.set, p.number) }

// label is what selects the pods of a set.
func (p pod) label() (key, value string) {
	switch p.set {
	case calico:
		return "k8s-app", "calico-node"
	case shop:
		return "app", "shop"
	}
	return "name", p.set
}

// podMatches knows the selectors that the tests use: one label, and the name of a node.
func (c *cluster) podMatches(r *http.Request, i int) bool {
	p := c.pod(i)
	q := r.URL.Query()
	namespace, label, field := r.PathValue("namespace"), q.Get("labelSelector"), q.Get("fieldSelector")
	key, value := p.label()
	return (namespace == "" || namespace == p.namespace()) && (label == "" || label == key+"="+value) &&
		(field == "" || field == "spec.nodeName="+nodeName(p.node))
}

func (c *cluster) getPod(w http.ResponseWriter, r *http.Request) {
	for i := range c.podCount() {
		if p := c.pod(i); p.namespace() == r.PathValue("namespace") && p.name() == r.PathValue("name") {
			out := bufio.NewWriter(w)
			c.writePod(out, i)
			out.Flush()
			return
		}
	}
	status(w, http.StatusNotFound, "NotFound")
}

func (c *cluster) writePod(w *bufio.Writer, i int) {
	p := c.pod(i)
	key, value := p.label()
	owner, volumes, container := "ReplicaSet", `[]`, `{"name":"main","image":"registry.example/shop/service:1.2.3","env":`+spec+`}`
	dir := filepath.Join(c.dir, nodeName(p.node))
	switch p.set {
	case calico:
		owner = "DaemonSet"
	case "kured":
		owner, volumes = "DaemonSet", fmt.Sprintf(`[{"name":"sentinel","hostPath":{"path":%q}}]`, dir)
		container = fmt.Sprintf(`{"name":"kured","image":"kured:1.23.0","command":["/usr/bin/kured"],"args":["--reboot-sentinel=/sentinel/gated-reboot-required","--metrics-port=%s","--period=1m"],`+
			`"volumeMounts":[{"name":"sentinel","mountPath":"/sentinel"}]}`, c.plainPort)
	case "gate":
		owner, volumes = "DaemonSet", fmt.Sprintf(`[{"name":"run","hostPath":{"path":%q}}]`, dir)
		container = fmt.Sprintf(`{"name":"gate","image":"stella","volumeMounts":[{"name":"run","mountPath":%q}]}`, dir)
	}
	fmt.Fprintf(w, `{"kind":"Pod","apiVersion":"v1","metadata":{"namespace":%q,"name":%q,"uid":"uid-of-%s","labels":{%q:%q,"tenth":"%d","pod-template-hash":"5d4f8c7b9"},"ownerReferences":[{"apiVersion":"apps/v1","kind":%q,"name":%q,"uid":"uid-of-%s","controller":true}]},`+
		`"spec":{"nodeName":"n%d","containers":[%s],"volumes":%s},"status":{"phase":"Running","podIP":%q,"conditions":[{"type":"Initialized","status":"True"},{"type":"Ready","status":"True"}],`+
		`"containerStatuses":[{"name":%q,"restartCount":0,"ready":true}]}}`,
		p.namespace(), p.name(), p.name(), key, value, p.number%10, owner, p.set, p.set, p.node, container, volumes, address(p.node), strings.TrimSuffix(p.set, "-system"))
}

// address is where the pods of a node are. All are on this machine.
func address(node int) string { return fmt.Sprintf("127.0.%d.%d", node/200, 1+node%200) }
