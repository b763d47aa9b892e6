package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stella/internal/incident"
	"stella/internal/incident/files"
	"stella/internal/sse"
)

// kept are incidents in files, to which nothing but the API adds.
type kept struct{ *files.Store }

func (k kept) Add(e incident.Event) (int, error) { return k.Append(e) }

// serveIncidents serves the API on a Unix socket, and returns the store and a client of it.
func serveIncidents(t *testing.T) (kept, *http.Client) {
	t.Helper()
	store, err := files.Open(t.TempDir(), files.Options{Log: slog.New(slog.DiscardHandler)}, func(incident.Details) {})
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"shop/web", "shop/db"} {
		_, err := store.Append(incident.Event{
			Incident: fmt.Sprint("i", i), ID: "opened", Time: time.Now(), Kind: incident.Opened, Source: incident.SourceNode, Subject: &incident.Subject{Name: name, Namespace: "shop"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(nil)
	s.Config = newAPI(newShown(t), incidentsAPI{keeps: kept{store}}, slog.New(slog.DiscardHandler), nil)
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return kept{store}, &http.Client{Transport: &http.Transport{DialContext: dial}}
}

// do makes a request, and returns the status and the body.
func do(t *testing.T, c *http.Client, method, path, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://agent"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func TestIncidentsAPI(t *testing.T) {
	store, c := serveIncidents(t)
	for query, want := range map[string]int{"": 2, "?state=going": 2, "?state=held": 0, "?name=shop/db": 1, "?namespace=x": 0, "?source=node": 2, "?limit=1": 1, "?since=2999-01-01T00:00:00Z": 0} {
		var all []incident.Incident
		status, text := do(t, c, http.MethodGet, "/v1/incidents"+query, "")
		if err := json.Unmarshal([]byte(text), &all); err != nil || status != http.StatusOK || len(all) != want {
			t.Errorf("%s: %d %s", query, status, text)
		}
	}
	event := func(change func(*incident.Event)) string {
		e := incident.Event{Incident: "i0", ID: "n1", Time: time.Now(), Kind: incident.Noted, Actor: "the pope", Text: "a note", Source: incident.SourceWorker, Subject: &incident.Subject{Name: "x"}, Cause: "x", Kills: 9}
		change(&e)
		text, err := json.Marshal(map[string]any{"events": []incident.Event{e}})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	same := func(*incident.Event) {}
	for _, want := range []string{`{"new":1}`, `{"new":0}`} {
		if status, text := do(t, c, http.MethodPost, "/v1/incidents/events", event(same)); status != http.StatusOK || strings.TrimSpace(text) != want {
			t.Errorf("%d %s, want %s", status, text, want)
		}
	}
	d, err := store.Details("i0")
	if err != nil {
		t.Fatal(err)
	}
	note := d.Timeline[len(d.Timeline)-1]
	if !strings.HasPrefix(note.Actor, "uid ") || note.Text != "a note" || note.Subject != nil || note.Source != "" || d.Kills != 0 || d.Cause != "" {
		t.Errorf("%+v", note)
	}
	for name, tt := range map[string]struct {
		method, path, body string
		status             int
		want               string
	}{
		"another's kind":       {"POST", "/v1/incidents/events", event(func(e *incident.Event) { e.Kind = incident.Killed }), 200, "told by the agent alone"},
		"a bad event":          {"POST", "/v1/incidents/events", event(func(e *incident.Event) { e.ID = "../x" }), 200, "is no ID"},
		"no such incident":     {"POST", "/v1/incidents/events", event(func(e *incident.Event) { e.Incident = "i9" }), 200, "no incident"},
		"a replaced kill":      {"POST", "/v1/incidents/events", event(func(e *incident.Event) { e.Replaces = "opened" }), 200, "replaces"},
		"no JSON":              {"POST", "/v1/incidents/events", "{", 422, "no JSON"},
		"no events":            {"POST", "/v1/incidents/events", "{}", 422, "0, and not 1 to 100"},
		"too many":             {"POST", "/v1/incidents/events", `{"events":[` + strings.Repeat("{},", 100) + `{}]}`, 422, "101"},
		"too large":            {"POST", "/v1/incidents/events", `{"events":[{"text":"` + strings.Repeat("x", maxPosted) + `"}]}`, 413, "1048576"},
		"only told":            {"DELETE", "/v1/incidents/i0", "", 405, "can only be read"},
		"nothing there":        {"GET", "/v1/incidents/%1b", "", 404, "no incident"},
		"a state that is none": {"GET", "/v1/incidents?state=x", "", 422, "state"},
		"a source":             {"GET", "/v1/incidents?source=x", "", 422, "source"},
		"a time":               {"GET", "/v1/incidents?since=x", "", 422, "RFC 3339"},
	} {
		if status, text := do(t, c, tt.method, tt.path, tt.body); status != tt.status || !strings.Contains(text, tt.want) {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	// Over a connection of which nobody knows who is at its end nothing is told.
	w := httptest.NewRecorder()
	newAPI(newShown(t), incidentsAPI{keeps: store}, slog.New(slog.DiscardHandler), nil).Handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/incidents/events", strings.NewReader(event(same))))
	if w.Code != http.StatusForbidden {
		t.Errorf("without a peer: %d %s", w.Code, w.Body)
	}
	w = httptest.NewRecorder()
	newAPI(newShown(t), incidentsAPI{why: errors.New("no disk")}, slog.New(slog.DiscardHandler), nil).Handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/incidents", bytes.NewReader(nil)))
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "no disk") {
		t.Errorf("without incidents: %d %s", w.Code, w.Body)
	}
}

func TestIncidentsStream(t *testing.T) {
	store, c := serveIncidents(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://agent/v1/incidents/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Last-Event-ID", "other-7")
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := store.Append(incident.Event{Incident: "i0", ID: "n1", Time: time.Now(), Kind: incident.Noted, Text: "late", Data: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	stream := sse.NewReader(answer.Body)
	for _, want := range []string{"opened", "opened", "n1"} {
		sent, err := stream.Next()
		var e incident.Event
		if err = errors.Join(err, json.Unmarshal(sent.Data, &e)); err != nil || e.ID != want || e.Data != nil || sent.ID == "" {
			t.Errorf("%s: %v %q %s", want, err, sent.ID, sent.Data)
		}
	}
	r, err = http.NewRequestWithContext(t.Context(), http.MethodGet, "http://agent/v1/incidents/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Last-Event-ID", "what")
	refused, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer refused.Body.Close()
	if refused.StatusCode != http.StatusBadRequest {
		t.Errorf("no cursor: %s", refused.Status)
	}
}
