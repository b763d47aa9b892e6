package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// The namespaces of what is there by name.
const (
	system = "kube-system" // kured, kube-proxy, the gates and their Lease
	calico = "calico-system"
	shop   = "shop"
)

// maxBody bounds what a gate sends.
const maxBody = 64 << 10

// api is the API server.
func (c *cluster) api() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern, resource string, do http.HandlerFunc) {
		method, _, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			c.count(method + " " + resource)
			if r.Header.Get("Authorization") != "Bearer "+token {
				status(w, http.StatusUnauthorized, "Unauthorized")
				return
			}
			w.Header().Set("Content-Type", "application/json")
			do(w, r)
		})
	}
	handle("GET /api/v1/nodes", "nodes", c.list("Node", func() int { return c.nodes }, c.writeNode, nil))
	handle("GET /api/v1/nodes/{name}", "nodes", c.getNode)
	handle("PATCH /api/v1/nodes/{name}", "nodes", c.patchNode)
	handle("GET /api/v1/pods", "pods", c.list("Pod", c.podCount, c.writePod, c.podMatches))
	handle("GET /api/v1/namespaces/{namespace}/pods", "pods", c.list("Pod", c.podCount, c.writePod, c.podMatches))
	handle("GET /api/v1/namespaces/{namespace}/pods/{name}", "pods", c.getPod)
	handle("GET /apis/apps/v1/namespaces/{namespace}/daemonsets/{name}", "daemonsets", c.getDaemonSet)
	handle("GET /api/v1/persistentvolumeclaims", "persistentvolumeclaims", c.list("PersistentVolumeClaim", c.claimCount, c.writeClaim, nil))
	handle("GET /apis/policy/v1/poddisruptionbudgets", "poddisruptionbudgets", c.list("PodDisruptionBudget", func() int { return 10 }, c.writeBudget, nil))
	handle("POST /api/v1/namespaces/{namespace}/events", "events", c.postEvent)
	const leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
	handle("POST "+leases, "leases", c.postLease)
	handle("GET "+leases+"/{name}", "leases", c.getLease)
	handle("PATCH "+leases+"/{name}", "leases", c.patchLease)
	c.discovery(mux)
	return mux
}

// body reads what a gate sends; false is that the answer was given.
func body(w http.ResponseWriter, r *http.Request, kind string) (map[string]any, bool) {
	var sent map[string]any
	err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(&sent)
	if err != nil || r.Header.Get("Content-Type") != kind {
		status(w, http.StatusUnsupportedMediaType, "UnsupportedMediaType")
		return nil, false
	}
	return sent, true
}

// merge is a merge patch (RFC 7396).
func merge(into, patch map[string]any) {
	for key, value := range patch {
		switch value := value.(type) {
		case nil:
			delete(into, key)
		case map[string]any:
			below, ok := into[key].(map[string]any)
			if !ok {
				below = map[string]any{}
				into[key] = below
			}
			merge(below, value)
		default:
			into[key] = value
		}
	}
}

func (c *cluster) postEvent(w http.ResponseWriter, r *http.Request) {
	sent, ok := body(w, r, "application/json")
	if !ok {
		return
	}
	reason, _ := sent["reason"].(string)
	c.event(reason)
	w.WriteHeader(http.StatusCreated)
	io.WriteString(w, `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"event"}}`)
}
