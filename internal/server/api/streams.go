package api

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"stella/internal/scan/sbom"
	"stella/internal/scanner"
	"stella/internal/sse"
)

const ndjson = "application/x-ndjson"

type eventsInput struct {
	ID     int64  `path:"id" minimum:"1" doc:"the job's number"`
	After  int64  `query:"after" minimum:"0" doc:"only events with a higher number"`
	LastID string `header:"Last-Event-ID" doc:"as after, sent by a client that comes back" maxLength:"20"`
}

// from is the last event that the client has seen, 0 for none.
func (in *eventsInput) from() (int64, error) {
	if in.LastID == "" {
		return in.After, nil
	}
	n, err := strconv.ParseInt(in.LastID, 10, 64)
	if err != nil || n < 0 {
		return 0, scanner.Errorf(scanner.ErrInvalid, "Last-Event-ID: %q is no number of an event", in.LastID)
	}
	return n, nil
}

type sbomInput struct {
	ID     int64  `path:"id" minimum:"1" doc:"the job's number"`
	Format string `query:"format" default:"cyclonedx-json" doc:"the format, with @VERSION behind it for another than the newest" maxLength:"64"`
	None   string `header:"If-None-Match" doc:"the ETag of a copy" maxLength:"1024"`
}

type logsInput struct {
	Text   string    `query:"text" doc:"only lines with this in their message" maxLength:"256"`
	Level  string    `query:"level" enum:"debug,info,warn,error" default:"info" doc:"the least level"`
	Job    int64     `query:"job" minimum:"1" doc:"only lines about this job"`
	Since  time.Time `query:"since" doc:"only lines after this"`
	After  int64     `query:"after" minimum:"0" doc:"only lines with a higher number"`
	Tail   int       `query:"tail" minimum:"1" maximum:"5000" default:"1000" doc:"the most lines, the newest"`
	Follow bool      `query:"follow" doc:"go on with lines to come, as a stream of events"`
	LastID string    `header:"Last-Event-ID" doc:"as after, sent by a client that comes back" maxLength:"20"`
}

func (a *API) registerStreams() {
	events := operation(scanner.ScopeRead, http.MethodGet, "/v1/jobs/{id}/events", "follow-job", "The events of a job, as they happen, until it has ended")
	registerStream(a, events, []string{sse.ContentType}, a.events)
	document := operation(scanner.ScopeRead, http.MethodGet, "/v1/jobs/{id}/sbom", "get-sbom", "The SBOM that a job made")
	registerStream(a, document, slices.Sorted(maps.Values(mediaTypes)), a.sbom)
	logs := operation(scanner.ScopeRead, http.MethodGet, "/v1/logs", "get-logs", "Lines of the service's log: one JSON object a line, or events where they are followed")
	registerStream(a, logs, []string{ndjson, sse.ContentType}, a.logs)
}

// events is a job's stream. A client that comes back after the job's last event is told
// by 204 that there is nothing to come back for.
func (a *API) events(w http.ResponseWriter, r *http.Request, in *eventsInput) error {
	after, err := in.from()
	if err != nil {
		return err
	}
	job, err := a.service.Job(r.Context(), in.ID)
	if err != nil {
		return err
	}
	if n := len(job.Events); job.Status.Final() && n > 0 && after >= job.Events[n-1].ID {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return sse.Serve(w, r, a.closing, func(ctx context.Context, send func(sse.Event) error) error {
		return a.service.Events(ctx, in.ID, after, func(e scanner.Event) error {
			return sendJSON(send, e.ID, string(e.Kind), e)
		})
	})
}

// sendJSON sends a value as an event; the ID 0 is none.
func sendJSON(send func(sse.Event) error, id int64, name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	e := sse.Event{Name: name, Data: data}
	if id != 0 {
		e.ID = strconv.FormatInt(id, 10)
	}
	return send(e)
}

// mediaTypes are those of the formats' names.
var mediaTypes = map[string]string{
	"cyclonedx-json": "application/vnd.cyclonedx+json",
	"spdx-json":      "application/spdx+json",
	"json":           "application/json",
	"table":          "text/plain; charset=utf-8",
}

// sbom streams the document of a job. Its ETag is made of what it is made from: the
// inventory, the format, and this version.
func (a *API) sbom(w http.ResponseWriter, r *http.Request, in *sbomInput) error {
	f, err := sbom.ParseFormat(in.Format)
	if err != nil {
		return scanner.Errorf(scanner.ErrInvalid, "format: %w", err)
	}
	job, err := a.service.Job(r.Context(), in.ID)
	if err != nil {
		return err
	}
	h := w.Header()
	if job.Result != nil {
		tag := fmt.Sprintf("%q", job.Result.Inventory+"/"+f.String()+"/"+a.version)
		h.Set("ETag", tag)
		h.Set("Cache-Control", "private, no-cache") // to be kept, and asked for each time
		if strings.Contains(in.None, tag) {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	h.Set("Content-Type", mediaTypes[f.Name])
	return a.service.SBOM(r.Context(), in.ID, f, patient{w})
}

// logs are lines of the log, as they are now or as they come.
func (a *API) logs(w http.ResponseWriter, r *http.Request, in *logsInput) error {
	f := scanner.LogFilter{Text: in.Text, Level: in.Level, Job: in.Job, Since: in.Since, After: in.After, Tail: in.Tail}
	if !in.Follow {
		w.Header().Set("Content-Type", ndjson)
		lines := json.NewEncoder(patient{w})
		return a.service.Logs(r.Context(), f, false, func(l scanner.LogLine) error { return lines.Encode(l) })
	}
	if in.LastID != "" {
		var err error
		if f.After, err = strconv.ParseInt(in.LastID, 10, 64); err != nil {
			return scanner.Errorf(scanner.ErrInvalid, "Last-Event-ID: %q is no number of a line", in.LastID)
		}
		f.Tail = scanner.MaxLogPage // all that it has missed
	}
	return sse.Serve(w, r, a.closing, func(ctx context.Context, send func(sse.Event) error) error {
		return a.service.Logs(ctx, f, true, func(l scanner.LogLine) error { return sendJSON(send, l.ID, "line", l) })
	})
}

// patient gives the client time for each write, however many there are.
type patient struct{ w http.ResponseWriter }

func (p patient) Write(b []byte) (int, error) {
	extend(p.w)
	return p.w.Write(b)
}
