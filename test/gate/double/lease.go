package main

import (
	"maps"
	"net/http"
	"strconv"
	"time"
)

func (c *cluster) getLease(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.isLease(r.PathValue("name")) {
		status(w, http.StatusNotFound, "NotFound")
		return
	}
	encode(w, c.lease)
}

func (c *cluster) postLease(w http.ResponseWriter, r *http.Request) {
	sent, ok := body(w, r, "application/json")
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lease != nil {
		status(w, http.StatusConflict, "AlreadyExists")
		return
	}
	c.changed(sent)
	w.WriteHeader(http.StatusCreated)
	encode(w, c.lease)
}

// patchLease changes it, unless somebody did since it was read.
func (c *cluster) patchLease(w http.ResponseWriter, r *http.Request) {
	sent, ok := body(w, r, "application/merge-patch+json")
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.isLease(r.PathValue("name")) {
		status(w, http.StatusNotFound, "NotFound")
		return
	}
	if want, ok := below(sent, "metadata")["resourceVersion"]; ok && want != below(c.lease, "metadata")["resourceVersion"] {
		status(w, http.StatusConflict, "Conflict")
		return
	}
	lease := maps.Clone(c.lease)
	merge(lease, sent)
	c.changed(lease)
	encode(w, c.lease)
}

func (c *cluster) isLease(name string) bool {
	return c.lease != nil && below(c.lease, "metadata")["name"] == name
}

// changed makes a Lease the one that is there.
func (c *cluster) changed(lease map[string]any) {
	holder, _ := below(lease, "spec")["holderIdentity"].(string)
	if last := len(c.state.Turns) - 1; last < 0 || c.state.Turns[last].Holder != holder {
		c.state.Turns = append(c.state.Turns, turn{time.Now(), holder})
	}
	c.version++
	below(lease, "metadata")["resourceVersion"] = strconv.Itoa(c.version)
	c.lease = lease
}

// below is an object in an object, empty where there is none.
func below(object map[string]any, key string) map[string]any {
	found, ok := object[key].(map[string]any)
	if !ok {
		found = map[string]any{}
	}
	return found
}
