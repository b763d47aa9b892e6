package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"stella/internal/apikey"
	"stella/internal/feed"
	"stella/internal/incident"
	"stella/internal/incident/files"
	"stella/internal/sse"
)

// maxPosted bounds a request with events, in bytes: a plan or two with all that was changed. The agent's memory is not there for more.
const maxPosted = 1 << 20

// told are the kinds of events that people tell over the socket: what they did, and what came of it. What happened, the agent tells.
var told = []incident.Kind{
	incident.Noted, incident.Ended, incident.Planned, incident.Approved, incident.Remedied, incident.ReadBack, incident.Verified, incident.Failed, incident.RolledBack,
}

// keeps is what the API needs of incidents.
type keeps interface {
	List(incident.Filter) []incident.Incident
	// Details and Add have errors that match [files.ErrNotFound] where there is no such incident.
	Details(id string) (incident.Details, error)
	Add(incident.Event) (news int, err error)
	Follow(ctx context.Context, after string, fn func(cursor string, e incident.Event) error) error
}

// incidentsAPI are the incidents for the API, or why there are none.
func (n *node) incidentsAPI() incidentsAPI {
	return incidentsAPI{keeps: n.incidents, why: n.noIncidents}
}

type incidentsAPI struct {
	keeps
	why error
}

// handleIncidents adds the paths of incidents.
func (a *api) handleIncidents(mux *http.ServeMux) {
	for pattern, handle := range map[string]http.HandlerFunc{
		"GET /v1/incidents": a.listIncidents, "GET /v1/incidents/{id}": a.incident, "GET /v1/incidents/stream": a.followIncidents, "POST /v1/incidents/events": a.tell,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if why := a.incidents.why; why != nil {
				refuse(w, http.StatusServiceUnavailable, fmt.Sprintf("this agent keeps no incidents: %v; stella oom list has the kills", why))
				return
			}
			handle(w, r)
		})
	}
}

func (a *api) listIncidents(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f := incident.Filter{State: q.Get("state"), Source: incident.Source(q.Get("source")), Namespace: q.Get("namespace"), Name: q.Get("name")}
	states := []string{"", incident.Going, incident.AllEnded}
	for _, s := range incident.States {
		states = append(states, string(s))
	}
	if !slices.Contains(states, f.State) {
		refuse(w, http.StatusUnprocessableEntity, fmt.Sprintf("state: %.80q is none of %q", f.State, states[1:]))
		return
	}
	if f.Source != "" && !slices.Contains(incident.Sources, f.Source) {
		refuse(w, http.StatusUnprocessableEntity, fmt.Sprintf("source: %.80q is none of %q", f.Source, incident.Sources))
		return
	}
	var ok bool
	if f.Since, ok = moment(w, q.Get("since"), "since"); !ok {
		return
	}
	if f.Limit, ok = number(w, q.Get("limit"), "limit", incident.MaxList); !ok {
		return
	}
	a.answer(w, list(a.incidents.List(f)))
}

func (a *api) incident(w http.ResponseWriter, r *http.Request) {
	d, err := a.incidents.Details(r.PathValue("id"))
	switch {
	case errors.Is(err, files.ErrNotFound):
		refuse(w, http.StatusNotFound, noIncident(r.PathValue("id")))
	case err != nil:
		refuse(w, http.StatusInternalServerError, err.Error())
	default:
		a.answer(w, d)
	}
}

func noIncident(id string) string {
	return fmt.Sprintf("this node has no incident %.80q; stella incidents list has those that are kept", id)
}

// tell takes in what a person tells, of those alone who could stop the agent: the members of the socket's group only read.
func (a *api) tell(w http.ResponseWriter, r *http.Request) {
	who, known := apikey.PeerOf(r.Context())
	if !known || !who.CouldStopUs() {
		refuse(w, http.StatusForbidden, "only root, and the user that the agent runs as, tell of incidents; others read")
		return
	}
	var sent struct {
		Events []incident.Event `json:"events"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxPosted)).Decode(&sent); err != nil {
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the events have more than %d bytes", maxPosted))
			return
		}
		refuse(w, http.StatusUnprocessableEntity, fmt.Sprintf("the body is no JSON with events: %v", err))
		return
	}
	if len(sent.Events) == 0 || len(sent.Events) > incident.MaxBatch {
		refuse(w, http.StatusUnprocessableEntity, fmt.Sprintf("events: %d, and not 1 to %d", len(sent.Events), incident.MaxBatch))
		return
	}
	actor := who.String()
	if who == 0 {
		actor += " (root)"
	}
	var receipt incident.Receipt
	for _, e := range sent.Events {
		e.Actor = actor
		news, err := a.take(e)
		switch {
		case errors.As(err, new(*refusedError)):
			receipt.Refused = append(receipt.Refused, incident.Refusal{Incident: e.Incident, ID: e.ID, Reason: err.Error()})
		case err != nil:
			refuse(w, http.StatusInternalServerError, fmt.Sprintf("event %s of incident %s is not kept: %v", e.ID, e.Incident, err))
			return
		}
		receipt.New += news
	}
	a.answer(w, receipt)
}

// refusedError says why an event is not taken, and never will be.
type refusedError struct{ reason string }

func (e *refusedError) Error() string { return e.reason }

// take checks and keeps one event.
func (a *api) take(e incident.Event) (news int, err error) {
	if err := e.Check(time.Now()); err != nil {
		return 0, &refusedError{err.Error()}
	}
	if !slices.Contains(told, e.Kind) {
		return 0, &refusedError{fmt.Sprintf("kind: %q is told by the agent alone; people tell %v", e.Kind, told)}
	}
	e.Source, e.Subject, e.Kills, e.Cause, e.Confidence = "", nil, 0, "", 0
	news, err = a.incidents.Add(e)
	switch {
	case errors.Is(err, files.ErrNotFound):
		return 0, &refusedError{noIncident(e.Incident)}
	case errors.Is(err, files.ErrFull):
		return 0, &refusedError{err.Error()}
	}
	return news, err
}

// followIncidents streams events until the client goes away.
func (a *api) followIncidents(w http.ResponseWriter, r *http.Request) {
	after := r.Header.Get("Last-Event-ID")
	if err := feed.CheckCursor(after); err != nil {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("Last-Event-ID: %v; leave it out to follow from now on", err))
		return
	}
	a.stream(w, r, "incidents", func(ctx context.Context, send func(sse.Event) error) error {
		return a.incidents.Follow(ctx, after, func(cursor string, e incident.Event) error {
			data, err := json.Marshal(e)
			if err != nil {
				return err
			}
			return send(sse.Event{ID: cursor, Data: data})
		})
	})
}
