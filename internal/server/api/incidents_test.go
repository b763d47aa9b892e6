package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/client"
	"stella/internal/incident"
	"stella/internal/scanner"
)

// event is one of an incident.
func event(in, id string, kind incident.Kind) incident.Event {
	return incident.Event{Incident: in, ID: id, Time: time.Date(2026, 5, 30, 3, 33, 0, 0, time.UTC), Kind: kind, Actor: "stella-agent on n1", Text: "it happened",
		Data: json.RawMessage(`{"pid":7}`)}
}

func opening(in string) incident.Event {
	e := event(in, "o", incident.Opened)
	e.Source, e.Subject, e.Limit = incident.SourceNode, &incident.Subject{Name: "shop/web", Namespace: "shop"}, &incident.Limit{Scope: "container", Bytes: 64 << 20}
	return e
}

// as is a client with a key.
func (run *running) as(t *testing.T, key string) *client.Client {
	t.Helper()
	return newClient(t, client.Options{Address: run.tcp, Key: key})
}

func (run *running) tell(t *testing.T, key string, events ...incident.Event) incident.Receipt {
	t.Helper()
	receipt, err := run.as(t, key).SendEvents(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	return receipt
}

// named makes a key of another name than its scope's.
func (run *running) named(t *testing.T, name string, scope scanner.Scope) string {
	t.Helper()
	key, err := run.keys.Create(t.Context(), scanner.Caller{Name: "test"}, scanner.KeyRequest{Name: name, Scope: scope})
	if err != nil {
		t.Fatal(err)
	}
	return key.Secret
}

func TestIncidents(t *testing.T) {
	run := start(t)
	agent, reader := run.named(t, "n1", scanner.ScopeIncidents), run.named(t, "reader", scanner.ScopeRead)
	if got := run.tell(t, agent, opening("i"), event("i", "k", incident.Killed)); got.New != 2 || got.Err() != nil {
		t.Errorf("%+v", got)
	}
	if got := run.tell(t, agent, opening("i"), event("i", "k2", incident.Killed)); got.New != 1 || got.Err() != nil {
		t.Errorf("one that is sent again counts once: %+v", got)
	}
	all, err := run.as(t, reader).Incidents(t.Context(), incident.Filter{State: incident.Going, Source: incident.SourceNode, Namespace: "shop", Name: "shop/web", Limit: 3})
	if err != nil || len(all) != 1 || all[0].Kills != 2 || all[0].Limit.Bytes != 64<<20 {
		t.Errorf("%+v, %v", all, err)
	}
	for _, f := range []incident.Filter{{State: incident.AllEnded}, {Source: incident.SourceWorker}, {Namespace: "x"}, {Name: "x"}, {Since: time.Now()}} {
		if all, err := run.as(t, reader).Incidents(t.Context(), f); err != nil || len(all) != 0 {
			t.Errorf("%+v: %+v, %v", f, all, err)
		}
	}
	details, err := run.as(t, reader).Incident(t.Context(), "i")
	if err != nil || len(details.Timeline) != 3 || details.Timeline[0].Kind != incident.Opened || string(details.Timeline[1].Data) != `{"pid":7}` {
		t.Errorf("%+v, %v", details, err)
	}
	if got := details.Timeline[1].Actor; got != "stella-agent on n1 (key n1)" {
		t.Errorf("the actor is %q", got)
	}
	if _, err := run.as(t, reader).Incident(t.Context(), "nothing"); err == nil || !strings.Contains(err.Error(), "no such incident as \"nothing\"") {
		t.Errorf("%v", err)
	}
	wantProblem(t, run.do(t, "GET", "/v1/incidents/nothing", reader, ""), http.StatusNotFound)
	wantProblem(t, run.do(t, "GET", "/v1/incidents?state=burnt", reader, ""), http.StatusUnprocessableEntity)
}

// Who may tell what of which incident, and in whose name.
func TestWhoTellsIncidents(t *testing.T) {
	run := start(t)
	keys := map[string]string{}
	for name, scope := range map[string]scanner.Scope{"n1": scanner.ScopeIncidents, "n2": scanner.ScopeIncidents, "ann": scanner.ScopeRemedies, "boss": scanner.ScopeAdmin} {
		keys[name] = run.named(t, name, scope)
	}
	run.tell(t, keys["n1"], opening("i"))
	worker := opening("w")
	worker.Source = incident.SourceWorker
	remedies := "needs the scope remedies"
	for _, tt := range []struct {
		who    string
		event  incident.Event
		actor  string
		reason string
	}{
		{"n1", event("i", "1", incident.Killed), "stella-agent on n1 (key n1)", ""},
		{"n2", event("i", "2", incident.Killed), "", "the incident is key n1's"},
		{"n2", opening("i"), "", ""}, // it is there already
		{"n2", event("i", "3", incident.Warned), "stella-agent on n1 (key n2)", ""},
		{"n1", event("i", "4", incident.Noted), "stella-agent on n1 (key n1)", ""},
		{"n1", event("i", "5", incident.Ended), "", remedies},
		{"n1", event("i", "6", incident.Remedied), "", remedies},
		{"n1", event("i", "7", incident.Verified), "", remedies},
		{"ann", event("i", "8", incident.Noted), "key ann", ""},
		{"ann", event("i", "9", incident.Approved), "key ann", ""},
		{"ann", event("i", "10", incident.Explained), "stella-agent on n1 (key ann)", ""},
		{"ann", event("i", "11", incident.Killed), "", "the incident is key n1's"},
		{"boss", event("i", "12", incident.Killed), "stella-agent on n1 (key boss)", ""},
		{"boss", worker, "", "tells itself"},
		{"n1", event("i", "earlier", incident.Killed), "", "server's own"},
		{"n1", event("i/x", "13", incident.Killed), "", "is no ID"},
		{"ann", event("i", "14", incident.Ended), "key ann", ""},
	} {
		name := fmt.Sprintf("%s: %s %s", tt.who, tt.event.Kind, tt.event.ID)
		receipt := run.tell(t, keys[tt.who], tt.event, event("i", "beside-"+tt.event.ID+tt.who, incident.Noted))
		if tt.reason != "" {
			if len(receipt.Refused) != 1 || !strings.Contains(receipt.Refused[0].Reason, tt.reason) || receipt.New != 1 {
				t.Errorf("%s: %+v; want %q, and the other event", name, receipt, tt.reason)
			}
			continue
		}
		if err := receipt.Err(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		d, err := run.incidents.Get(t.Context(), "i")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range d.Timeline {
			if tt.actor != "" && e.ID == tt.event.ID && e.Actor != tt.actor {
				t.Errorf("%s: by %q; want %q", name, e.Actor, tt.actor)
			}
		}
	}
	in, err := run.as(t, keys["ann"]).Incident(t.Context(), "i")
	if err != nil || in.State != incident.Closed || in.Kills != 2 {
		t.Errorf("%+v, %v", in.Incident, err)
	}
	if err := run.as(t, keys["n2"]).AppendEvents(t.Context(), []incident.Event{event("i", "15", incident.Killed)}); err == nil || !strings.Contains(err.Error(), "not taken: event 15 of incident i") {
		t.Errorf("%v", err)
	}
}

// What is wrong with one event, or new in it, does not keep out the others; what is wrong with all is a problem.
func TestBatches(t *testing.T) {
	run := start(t)
	key := run.key(t, scanner.ScopeIncidents)
	body := `{"events":[{"incident":"i","id":"a","time":"2026-05-30T03:33:00Z","kind":"noted","actor":"x","text":"","newer":1},{"id":7},{"incident":"i"}], "newer": true}`
	resp := run.do(t, "POST", "/v1/incidents/events", key, body)
	var receipt incident.Receipt
	if err := json.NewDecoder(resp.Body).Decode(&receipt); err != nil || resp.StatusCode != http.StatusOK || receipt.New != 1 || len(receipt.Refused) != 2 {
		t.Errorf("%s: %+v, %v", resp.Status, receipt, err)
	}
	for body, status := range map[string]int{
		`[]`: 422, `{"events":`: 422, `{"events":[` + strings.Repeat(`{},`, incident.MaxBatch) + `{}]}`: 422,
		`{"events":["` + strings.Repeat("x", incident.MaxBody) + `"]}`: 413,
	} {
		if resp := run.do(t, "POST", "/v1/incidents/events", key, body); resp.StatusCode != status {
			t.Errorf("%.40s: %s; want %d", body, resp.Status, status)
		}
	}
	// Only who may tell something may send so much.
	resp = run.do(t, "POST", "/v1/incidents/events", run.key(t, scanner.ScopeRead), `"`+strings.Repeat("x", incident.MaxBody)+`"`)
	wantProblem(t, resp, http.StatusForbidden)
}

// The stream misses nothing, also where the connection breaks before the first event.
func TestFollowIncidents(t *testing.T) {
	run := start(t)
	agent, reader := run.key(t, scanner.ScopeIncidents), run.key(t, scanner.ScopeRead)
	run.tell(t, agent, opening("before"))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	resp := run.do(t, "GET", "/v1/incidents/stream", reader, "")
	begin := make([]byte, 1024)
	for text := ""; !strings.Contains(text, "event: begin"); {
		n, err := resp.Body.Read(begin)
		if err != nil {
			t.Fatal(err)
		}
		text += string(begin[:n])
	}
	resp.Body.Close()
	run.tell(t, agent, opening("i"), event("i", "1", incident.Killed))
	var got []string
	err := run.as(t, reader).FollowIncidents(ctx, "1", func(e incident.Event) error {
		got = append(got, e.Incident+" "+e.ID)
		if e.Data != nil {
			t.Errorf("%s has its data", e.ID)
		}
		switch len(got) {
		case 2:
			run.tell(t, agent, event("i", "2", incident.Killed))
		case 3:
			cancel()
		}
		return nil
	})
	if diff := cmp.Diff([]string{"i o", "i 1", "i 2"}, got); diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	wantProblem(t, run.do(t, "GET", "/v1/incidents/stream?after=-1", reader, ""), http.StatusUnprocessableEntity)
}
