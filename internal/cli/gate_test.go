package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"stella/internal/gate"
)

// gateAPI is an API server with nodes, the Lease and events, as far as the commands about the gate use it.
type gateAPI struct {
	t       *testing.T
	nodes   map[string]map[string]string // annotations by name
	lease   map[string]string            // its annotations, nil where there is none
	events  string                       // items
	version int                          // of all objects
	// meanwhile is called before each change: somebody else is faster.
	meanwhile func()
	// fail answers in place of the server where it returns true.
	fail func(http.ResponseWriter, *http.Request) bool

	asked   *[]string
	changes []string // method, path with query, and body
}

func newGateAPI(t *testing.T) *gateAPI {
	t.Helper()
	a := &gateAPI{t: t, nodes: make(map[string]map[string]string), version: 7}
	a.asked = fakeCluster(t, a.answer)
	return a
}

const gateLeases = "/apis/coordination.k8s.io/v1/namespaces/stella/leases"

func (a *gateAPI) answer(w http.ResponseWriter, r *http.Request) {
	if a.fail != nil && a.fail(w, r) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	name, isNode := strings.CutPrefix(r.URL.Path, "/api/v1/nodes/")
	switch {
	case r.Method != http.MethodGet:
		a.change(w, r)
	case r.URL.Path == "/api/v1/nodes":
		var items []any
		for _, name := range slices.Sorted(maps.Keys(a.nodes)) {
			items = append(items, a.object(name, a.nodes[name]))
		}
		send(w, map[string]any{"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": map[string]string{"resourceVersion": "7"}, "items": items})
	case isNode && a.nodes[name] != nil:
		send(w, a.object(name, a.nodes[name]))
	case r.URL.Path == gateLeases+"/"+gate.LeaseName && a.lease != nil:
		send(w, a.object(gate.LeaseName, a.lease))
	case r.URL.Path == "/api/v1/namespaces/default/events":
		fmt.Fprintf(w, `{"kind":"EventList","apiVersion":"v1","metadata":{},"items":[%s]}`, a.events)
	default:
		refuseKube(w, http.StatusNotFound, "NotFound", r.URL.Path+" not found")
	}
}

// change merges annotations into an object of the version that the caller has read.
func (a *gateAPI) change(w http.ResponseWriter, r *http.Request) {
	if a.meanwhile != nil {
		a.meanwhile()
	}
	var body struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Name        string             `json:"name"`
			Version     string             `json:"resourceVersion"`
			Annotations map[string]*string `json:"annotations"`
		} `json:"metadata"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		a.t.Error(err)
	}
	name, isNode := strings.CutPrefix(r.URL.Path, "/api/v1/nodes/")
	annotations := a.nodes[name]
	switch {
	case isNode && r.Method == http.MethodPatch && annotations != nil:
	case r.URL.Path == gateLeases && r.Method == http.MethodPost && body.Kind == "Lease" && body.Metadata.Name == gate.LeaseName && a.lease == nil:
		annotations, name = make(map[string]string), gate.LeaseName
		body.Metadata.Version = fmt.Sprint(a.version)
		a.lease = annotations
	case r.URL.Path == gateLeases+"/"+gate.LeaseName && r.Method == http.MethodPatch && a.lease != nil:
		annotations, name = a.lease, gate.LeaseName
	default:
		refuseKube(w, http.StatusConflict, "AlreadyExists", "this cannot be made")
		return
	}
	if body.Metadata.Version != fmt.Sprint(a.version) {
		refuseKube(w, http.StatusConflict, "Conflict", "the object has been modified")
		return
	}
	a.changes = append(a.changes, r.Method+" "+r.URL.RequestURI())
	for key, value := range body.Metadata.Annotations {
		switch {
		case r.URL.Query().Has("dryRun"):
		case value == nil:
			delete(annotations, key)
		default:
			annotations[key] = *value
		}
	}
	a.version++
	send(w, a.object(name, annotations))
}

func (a *gateAPI) object(name string, annotations map[string]string) any {
	return map[string]any{"kind": "PartialObjectMetadata", "metadata": map[string]any{"name": name, "resourceVersion": fmt.Sprint(a.version), "annotations": annotations}}
}

func send(w http.ResponseWriter, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(err)
	}
}

func refuseKube(w http.ResponseWriter, code int, reason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	send(w, map[string]any{"kind": "Status", "code": code, "reason": reason, "message": message})
}

// run runs a command as the user ann.
func (a *gateAPI) run(args ...string) ran {
	a.t.Helper()
	return runWith(a.t.Context(), a.t, map[string]string{"USER": "ann"}, append([]string{"gate"}, args...)...)
}

// hold is the hold in an object's annotations.
func (a *gateAPI) hold(annotations map[string]string) gate.Hold {
	a.t.Helper()
	h, err := gate.ReadHold(annotations[gate.HoldAnnotation])
	if err != nil {
		a.t.Fatal(err)
	}
	return h
}

// starving is the verdict of seeds: a node that three alerts held back for days.
func starving(node string, now time.Time) *gate.Verdict {
	began := now.Add(-3 * day)
	return &gate.Verdict{
		Node: node, Period: 5 * time.Minute, Time: now.Add(-2 * time.Minute), Pending: began, Since: began,
		Results: []gate.Result{
			{Check: "nodes", Outcome: gate.Pass, Detail: "7 of 7 nodes are Ready"},
			{Check: "alerts", Outcome: gate.Block, Reason: "firing", Detail: "2 alerts fire that no rule ignores", Clears: "that they end, or a rule that ignores them for a time", Since: began,
				Blockers: []string{`NodeFilesystemFull{mountpoint="/mnt/backup"}`, `PVCStuckPending{namespace="hermes"}`}},
			{Check: "window", Outcome: gate.Block, Reason: "closed", Detail: "it is Saturday", Since: began.Add(time.Hour), Until: now.Add(6 * time.Hour)},
			{Check: "soak", Outcome: gate.Unknown, Reason: "forbidden", Detail: "the server does not allow it", Since: now.Add(-time.Hour)},
		},
	}
}

func annotated(v *gate.Verdict) map[string]string {
	return map[string]string{gate.VerdictAnnotation: v.Annotation()}
}
