package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"stella/internal/incident"
	"stella/internal/sse"
)

// Incidents returns incidents, the one in which something happened last first.
func (c *Client) Incidents(ctx context.Context, f incident.Filter) ([]incident.Incident, error) {
	q := url.Values{}
	setTime(q, "since", f.Since)
	set(q, "state", f.State)
	set(q, "source", string(f.Source))
	set(q, "namespace", f.Namespace)
	set(q, "name", f.Name)
	setInt(q, "limit", int64(f.Limit))
	var all []incident.Incident
	err := c.call(ctx, get("/v1/incidents", q), &all)
	return all, err
}

// Incident returns one incident with its timeline.
func (c *Client) Incident(ctx context.Context, id string) (incident.Details, error) {
	var details incident.Details
	err := c.call(ctx, get("/v1/incidents/"+url.PathEscape(id), nil), &details)
	return details, err
}

// AppendEvents adds events to incidents, at most [incident.MaxBatch]. An error says that not all of them are kept.
func (c *Client) AppendEvents(ctx context.Context, events []incident.Event) error {
	receipt, err := c.SendEvents(ctx, events)
	if err != nil {
		return err
	}
	return receipt.Err()
}

// SendEvents adds events to incidents, at most [incident.MaxBatch], and says what became of each. An error says that this is not known: they can be
// sent again, as each counts once.
func (c *Client) SendEvents(ctx context.Context, events []incident.Event) (incident.Receipt, error) {
	body := struct {
		Events []incident.Event `json:"events"`
	}{events}
	var receipt incident.Receipt
	err := c.call(ctx, request{method: http.MethodPost, path: "/v1/incidents/events", body: body, again: true}, &receipt)
	return receipt, err
}

// FollowIncidents calls fn with each event of all incidents as it comes, without its data: those behind the cursor after, or for "" from now on. It ends with
// ctx, or with the error of fn, and comes back by itself when the connection breaks.
func (c *Client) FollowIncidents(ctx context.Context, after string, fn func(incident.Event) error) error {
	r := request{method: http.MethodGet, path: "/v1/incidents/stream", accept: sse.ContentType, lastID: after}
	return c.follow(ctx, r, func(sent sse.Event) (bool, error) {
		if sent.Name == "begin" { // it has the cursor alone
			return false, nil
		}
		var e incident.Event
		if err := json.Unmarshal(sent.Data, &e); err != nil {
			return false, c.strange(err)
		}
		return false, fn(e)
	})
}
