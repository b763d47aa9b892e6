package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"stella/internal/incident"
	"stella/internal/incident/book"
	"stella/internal/scanner"
	"stella/internal/server/auth"
	"stella/internal/sse"
)

// eventsPath is where events are sent to, with larger bodies than anything else.
const eventsPath = "/v1/incidents/events"

type incidentsFilter struct {
	Since     time.Time       `query:"since" doc:"only incidents with an event at or after this"`
	State     string          `query:"state" enum:"open,applied,not_held,held,closed,going,has_ended" doc:"only incidents in this state; going is all that have not ended, has_ended those that have"`
	Source    incident.Source `query:"source" enum:"node,worker,command,daemon" doc:"only incidents that this source opened"`
	Namespace string          `query:"namespace" doc:"only incidents of this namespace" maxLength:"4096"`
	Name      string          `query:"name" doc:"only incidents of a workload, pod, container or subject of this name" maxLength:"4096"`
	Limit     int             `query:"limit" minimum:"1" maximum:"1000" default:"1000" doc:"the most incidents"`
}

type incidentID struct {
	ID string `path:"id" doc:"the incident's ID" maxLength:"64"`
}

// eventsBody is a batch of events.
type eventsBody struct {
	Events []incident.Event `json:"events"`
}

// rawEvents are the same, each of which is looked at alone: what is wrong with one does not keep out the others, and one of a newer version may have more
// in it than this one knows.
type rawEvents struct {
	RawBody []byte `contentType:"application/json"`
}

type incidentsInput struct {
	After  int64  `query:"after" minimum:"0" doc:"the cursor of the last event that was seen; without it events come from now on"`
	LastID string `header:"Last-Event-ID" doc:"as after, sent by a client that comes back" maxLength:"20"`
}

func (a *API) registerIncidents() {
	register(a, operation(scanner.ScopeRead, http.MethodGet, "/v1/incidents", "list-incidents", "List incidents, the one in which something happened last first"),
		func(ctx context.Context, _ scanner.Caller, in *incidentsFilter) ([]incident.Incident, error) {
			return list(a.incidents.List(ctx, incident.Filter(*in)))
		})
	register(a, operation(scanner.ScopeRead, http.MethodGet, "/v1/incidents/{id}", "get-incident", "An incident with its timeline"),
		func(ctx context.Context, _ scanner.Caller, in *incidentID) (incident.Details, error) {
			return a.incidents.Get(ctx, in.ID)
		})
	tell := operation(scanner.ScopeIncidents, http.MethodPost, eventsPath, "tell-incidents", "Add events to incidents; one that is sent again counts once")
	tell.MaxBodyBytes, tell.SkipValidateBody = incident.MaxBody, true
	tell.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{}}
	register(a, tell, func(ctx context.Context, _ scanner.Caller, in *rawEvents) (incident.Receipt, error) {
		return a.tell(ctx, in.RawBody)
	})
	tell.RequestBody.Content["application/json"] = &huma.MediaType{ // in the place of that of bytes
		Schema: a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[eventsBody](), true, "Events"),
	}
	stream := operation(scanner.ScopeRead, http.MethodGet, "/v1/incidents/stream", "follow-incidents", "The events of all incidents as they come, without their data")
	registerStream(a, stream, []string{sse.ContentType}, a.followIncidents)
}

// tell adds a batch of events, each of which is checked alone.
func (a *API) tell(ctx context.Context, text []byte) (incident.Receipt, error) {
	var raw struct {
		Events []json.RawMessage `json:"events"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return incident.Receipt{}, scanner.Errorf(scanner.ErrInvalid, "the body is no JSON with events: %w", err)
	}
	if len(raw.Events) > incident.MaxBatch {
		return incident.Receipt{}, scanner.Errorf(scanner.ErrInvalid, "%d events are too many: at most %d at a time", len(raw.Events), incident.MaxBatch)
	}
	var refused []incident.Refusal
	var events []incident.Event
	for i, text := range raw.Events {
		var e incident.Event
		if err := json.Unmarshal(text, &e); err != nil {
			refused = append(refused, incident.Refusal{Incident: fmt.Sprintf("%.80s", e.Incident), ID: fmt.Sprintf("%.80s", e.ID), Reason: fmt.Sprintf("event %d of the request: %v", i+1, err)})
			continue
		}
		events = append(events, e)
	}
	receipt, err := a.incidents.Tell(ctx, teller(visitOf(ctx).Identity), events)
	receipt.Refused = append(refused, receipt.Refused...)
	return receipt, err
}

// teller is who sends events, and what their scope lets them tell.
func teller(id auth.Identity) book.Teller {
	return book.Teller{
		Name:     id.Name,
		Machine:  id.Scope == scanner.ScopeIncidents,
		Remedies: id.Scope.Includes(scanner.ScopeRemedies),
		Others:   id.Scope.Includes(scanner.ScopeAdmin),
	}
}

// followIncidents is the stream of events. It begins with a cursor, so that who loses the connection before the first event misses none.
func (a *API) followIncidents(w http.ResponseWriter, r *http.Request, in *incidentsInput) error {
	after := in.After
	var err error
	switch {
	case in.LastID != "":
		if after, err = strconv.ParseInt(in.LastID, 10, 64); err != nil || after < 0 {
			return scanner.Errorf(scanner.ErrInvalid, "Last-Event-ID: %q is no cursor", in.LastID)
		}
	case !r.URL.Query().Has("after"):
		if after, err = a.incidents.Last(r.Context()); err != nil {
			return err
		}
	}
	return sse.Serve(w, r, a.closing, func(ctx context.Context, send func(sse.Event) error) error {
		if err := send(sse.Event{ID: strconv.FormatInt(after, 10), Name: "begin", Data: []byte("{}")}); err != nil {
			return err
		}
		return a.incidents.Follow(ctx, after, func(number int64, e incident.Event) error {
			return sendJSON(send, number, string(e.Kind), e)
		})
	})
}
