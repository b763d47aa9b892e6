package main

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// wish is what the cluster is told to be, in place of what it was told before. Its zero value is a cluster where all is well.
type wish struct {
	// Faults are by method and path, such as "GET /api/v1/nodes"; see answers.
	Faults map[string]string
	// Fire are names of alerts that fire besides.
	Fire []string
	// Latency is what an answer of the API server takes on average, in milliseconds.
	Latency int
	// Rebooted has the node n1 have rebooted an hour ago.
	Rebooted bool
	// Down takes the servers away: connections are refused.
	Down bool
}

// state is what became of the cluster.
type state struct {
	// Requests are by method and resource, such as "GET nodes".
	Requests map[string]int
	// Verdicts are the annotations that the gates made, by node.
	Verdicts map[string]string
	// Turns are the holders of the Lease, one after another; "" is nobody.
	Turns []turn
	// Events are the reasons of the last hundred events.
	Events []string
}

// turn is that the Lease has another holder.
type turn struct {
	At     time.Time
	Holder string
}

// maxEvents bounds the events that are kept.
const maxEvents = 100

// cluster is all of it.
type cluster struct {
	nodes, pods, alerts, gates int
	dir, plainPort             string
	began                      time.Time

	mu          sync.Mutex
	wish        wish
	state       state
	annotations map[string]map[string]any // by node
	lease       map[string]any            // nil is none
	version     int
}

func newCluster() *cluster {
	c := &cluster{
		began: time.Now().UTC().Truncate(time.Second), annotations: map[string]map[string]any{},
		state: state{Requests: map[string]int{}, Verdicts: map[string]string{}},
	}
	// The turn has been free for long.
	c.changed(map[string]any{
		"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "spec": map[string]any{},
		"metadata": map[string]any{"name": "kured-sentinel-gate", "namespace": system, "annotations": map[string]any{"gate.stella/released": ago(c, time.Hour)}},
	})
	return c
}

// control is the handler for the tests.
func (c *cluster) control(s *servers) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /set", func(w http.ResponseWriter, r *http.Request) {
		var wanted wish
		if err := json.NewDecoder(r.Body).Decode(&wanted); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.wish = wanted
		if err := s.set(wanted.Down); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		encode(w, c.state)
	})
	return mux
}

// told is what the cluster is told to be.
func (c *cluster) told() wish {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.wish
	w.Faults, w.Fire = maps.Clone(w.Faults), slices.Clone(w.Fire)
	return w
}

func (c *cluster) count(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Requests[what]++
}

func (c *cluster) event(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Events = append(c.state.Events, reason); len(c.state.Events) > maxEvents {
		c.state.Events = slices.Clone(c.state.Events[1:])
	}
}

// encode answers with a value as JSON.
func encode(w http.ResponseWriter, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Write(text)
}
