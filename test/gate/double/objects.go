package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ownBoot is the boot of the nodes with a gate; the gates are given a procfs that says the same.
const ownBoot = "0fc542e4-ea54-48ac-946a-98c44b713180"

// images and spec are what objects have besides what a gate reads, to their real sizes.
var (
	images = filler(`{"names":["registry.example/shop/service-%02d@sha256:9b7bd1b2d8ba2a3f9e8f5a7c3c4e2d10c5a5b1f1d1c8a0b3f6e1d2c3b4a59687","registry.example/shop/service-%02d:1.2.3"],"sizeBytes":123456789}`, 40)
	spec   = filler(`{"name":"VARIABLE_%02d","valueFrom":{"secretKeyRef":{"name":"credentials-%02d","key":"password","optional":false}}}`, 13)
)

// filler is a list of n objects.
func filler(format string, n int) string {
	items := make([]string, n)
	for i := range items {
		items[i] = fmt.Sprintf(format, i, i)
	}
	return "[" + strings.Join(items, ",") + "]"
}

func nodeName(i int) string { return "n" + strconv.Itoa(i) }

// nodeNumber is false where there is no such node.
func (c *cluster) nodeNumber(name string) (int, bool) {
	i, err := strconv.Atoi(strings.TrimPrefix(name, "n"))
	return i, err == nil && i >= 0 && i < c.nodes && nodeName(i) == name
}

func ago(c *cluster, d time.Duration) string { return c.began.Add(-d).Format(time.RFC3339) }

// up is how long ago a node was booted.
func (c *cluster) up(i int) time.Duration {
	if i == 1 && c.told().Rebooted {
		return time.Hour
	}
	return 50 * time.Hour
}

// nodeMetadata is all of it.
func (c *cluster) nodeMetadata(i int) string {
	annotations := map[string]any{"node.alpha.kubernetes.io/ttl": "0"}
	if i >= c.gates {
		annotations["gate.stella/boot"] = fmt.Sprintf(`{"id":"boot-%d","at":%q}`, i, ago(c, c.up(i)))
	} else {
		c.mu.Lock()
		maps.Copy(annotations, c.annotations[nodeName(i)])
		c.mu.Unlock()
	}
	text, err := json.Marshal(annotations)
	if err != nil {
		panic(err) // of texts
	}
	role := ""
	if i >= c.nodes-3 {
		role = `"node-role.kubernetes.io/control-plane":"",`
	}
	return fmt.Sprintf(`{"name":"n%d","uid":"uid-of-n%d","resourceVersion":"1","creationTimestamp":%q,"labels":{%s"kubernetes.io/hostname":"n%d"},"annotations":%s}`, i, i, ago(c, 1000*time.Hour), role, i, text)
}

func (c *cluster) writeNode(w *bufio.Writer, i int) {
	boot := ownBoot
	if i >= c.gates {
		boot = "boot-" + strconv.Itoa(i)
	}
	fmt.Fprintf(w, `{"kind":"Node","apiVersion":"v1","metadata":%s,"spec":{"podCIDR":"10.0.0.0/24"},"status":{"capacity":{"cpu":"16","memory":"65536Mi","pods":"110"},"conditions":[`+
		`{"type":"MemoryPressure","status":"False","reason":"KubeletHasSufficientMemory","lastTransitionTime":%q},`+
		`{"type":"Ready","status":"True","reason":"KubeletReady","message":"kubelet is posting ready status","lastTransitionTime":%q}],"images":%s,"nodeInfo":{"bootID":%q,"kernelVersion":"6.1.0"}}}`,
		c.nodeMetadata(i), ago(c, 49*time.Hour), ago(c, c.up(i)), images, boot)
}

func (c *cluster) getNode(w http.ResponseWriter, r *http.Request) {
	i, ok := c.nodeNumber(r.PathValue("name"))
	if !ok {
		status(w, http.StatusNotFound, "NotFound")
		return
	}
	c.answerNode(w, r, i)
}

func (c *cluster) answerNode(w io.Writer, r *http.Request, i int) {
	out := bufio.NewWriter(w)
	defer out.Flush()
	if strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata") {
		fmt.Fprintf(out, `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":%s}`, c.nodeMetadata(i))
		return
	}
	c.writeNode(out, i)
}

// patchNode keeps annotations, which are all that a gate changes of a node.
func (c *cluster) patchNode(w http.ResponseWriter, r *http.Request) {
	i, ok := c.nodeNumber(r.PathValue("name"))
	if !ok {
		status(w, http.StatusNotFound, "NotFound")
		return
	}
	sent, ok := body(w, r, "application/merge-patch+json")
	if !ok {
		return
	}
	name := nodeName(i)
	c.mu.Lock()
	if c.annotations[name] == nil {
		c.annotations[name] = map[string]any{}
	}
	merge(c.annotations[name], below(below(sent, "metadata"), "annotations"))
	c.state.Verdicts[name], _ = c.annotations[name]["gate.stella/verdict"].(string)
	c.mu.Unlock()
	c.answerNode(w, r, i)
}

func (c *cluster) claimCount() int { return c.pods / 10 }

func (c *cluster) writeClaim(w *bufio.Writer, i int) {
	fmt.Fprintf(w, `{"metadata":{"namespace":"shop","name":"data-%d","creationTimestamp":%q},"spec":{"accessModes":["ReadWriteOnce"],"storageClassName":"fast","volumeName":"pv-%d"},"status":{"phase":"Bound"}}`,
		i, ago(c, 500*time.Hour), i)
}

func (c *cluster) writeBudget(w *bufio.Writer, i int) {
	fmt.Fprintf(w, `{"metadata":{"namespace":"shop","name":"budget-%d","generation":1},"spec":{"minAvailable":1,"selector":{"matchLabels":{"app":"shop","tenth":"%d"}}},`+
		`"status":{"observedGeneration":1,"disruptionsAllowed":1,"currentHealthy":2,"desiredHealthy":1,"expectedPods":2}}`, i, i)
}

// daemonSets are those that there are, and the labels of their pods.
var daemonSets = map[string]string{"kured": `{"name":"kured"}`, "kube-proxy": `{"k8s-app":"kube-proxy"}`}

func (c *cluster) getDaemonSet(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	labels, ok := daemonSets[name]
	if !ok || r.PathValue("namespace") != system {
		status(w, http.StatusNotFound, "NotFound")
		return
	}
	fmt.Fprintf(w, `{"kind":"DaemonSet","apiVersion":"apps/v1","metadata":{"namespace":"kube-system","name":%q,"uid":"uid-of-%s","generation":3},"spec":{"selector":{"matchLabels":%s},"updateStrategy":{"type":"RollingUpdate"}},`+
		`"status":{"observedGeneration":3,"desiredNumberScheduled":%d,"numberReady":%d,"updatedNumberScheduled":%d}}`, name, name, labels, c.nodes, c.nodes, c.nodes)
}
