package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"stella/internal/apikey"
	"stella/internal/rdev"
	"stella/internal/rdev/stream"
	"stella/internal/routes"
	"stella/internal/store"
)

// Errors of requests that never get to a handler, or not to the end of their body.
var (
	errBusy     = rdev.Errorf(rdev.ErrTooMany, "too many requests at a time: wait a moment").After(time.Second)
	errTooLarge = errors.New("the body of the request is too large")
	errBody     = errors.New("the body of the request cannot be read")
	errNoJSON   = errors.New("the body of the request must be JSON, with Content-Type: application/json")
	errRead     = errors.New("the request cannot be read")
	errCrossing = errors.New("a browser sent this request for another site")
	errRange    = errors.New("the output has no such range")
)

// kinds is the one table of errors, statuses and kinds; docs/rdev.md shows it. The first row that an error matches counts; what
// matches none is 500. text takes the place of the error's own, where that is about the service's inside.
var kinds = []struct {
	err    error
	status int
	kind   string
	text   string
}{
	{rdev.ErrInvalid, http.StatusUnprocessableEntity, "invalid", ""},
	{rdev.ErrDenied, http.StatusForbidden, "denied", ""},
	{rdev.ErrNotFound, http.StatusNotFound, "not_found", ""},
	{rdev.ErrConflict, http.StatusConflict, "conflict", ""},
	{rdev.ErrGone, http.StatusGone, "gone", ""},
	{rdev.ErrTooMany, http.StatusTooManyRequests, "too_many", ""},
	{rdev.ErrUnavailable, http.StatusServiceUnavailable, "unavailable", ""},
	{apikey.ErrTooMany, http.StatusTooManyRequests, "too_many", ""},
	{apikey.ErrNoKey, http.StatusUnauthorized, "unauthorized", ""},
	{apikey.ErrBadKey, http.StatusUnauthorized, "unauthorized", ""},
	{errTooLarge, http.StatusRequestEntityTooLarge, "invalid", ""},
	{errNoJSON, http.StatusUnsupportedMediaType, "invalid", ""},
	{errRead, http.StatusBadRequest, "invalid", ""},
	{errBody, http.StatusBadRequest, "invalid", ""},
	{errRange, http.StatusRequestedRangeNotSatisfiable, "invalid", ""},
	{routes.ErrNoPath, http.StatusNotFound, "not_found", ""},
	{routes.ErrMethod, http.StatusMethodNotAllowed, "invalid", ""},
	{errCrossing, http.StatusForbidden, "denied", ""},
	{store.ErrUnavailable, http.StatusServiceUnavailable, "unavailable", "the service's database does not answer"},
	{store.ErrFull, http.StatusServiceUnavailable, "unavailable", "the disk of the service's database is full"},
}

// problem is an answer that is an error (RFC 9457).
type problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail"`
	Kind     string `json:"kind"`
	Instance string `json:"instance,omitempty"`

	retry time.Duration
}

// problem makes a problem of an error. What the caller should not see is logged, and the problem says where.
func (a *API) problem(ctx context.Context, err error) problem {
	p := problem{Type: "about:blank", Status: http.StatusInternalServerError, Kind: "internal", Detail: "the service failed at this"}
	opaque := true
	if r, ok := errors.AsType[*stream.Refused](err); ok {
		p.Status, p.Detail, p.retry, opaque = r.Status, r.Detail, r.RetryAfter, false
		p.Kind = kindOf(r.Status)
	} else {
		for _, k := range kinds {
			if !errors.Is(err, k.err) {
				continue
			}
			p.Status, p.Kind, p.Detail, opaque = k.status, k.kind, err.Error(), k.text != ""
			if opaque {
				p.Detail = k.text
			}
			break
		}
	}
	if e, ok := errors.AsType[*rdev.Error](err); ok {
		p.retry = e.RetryAfter
	} else if errors.Is(err, apikey.ErrTooMany) {
		p.retry = time.Minute // as it says
	}
	p.Title = http.StatusText(p.Status)
	if opaque && ctx.Err() == nil { // else nobody waits for the answer, and that is why
		id := rand.Text()[:12]
		p.Instance = "urn:rdev:error:" + id
		p.Detail += "; its log has the cause, as error " + id
		v := visitOf(ctx)
		a.Log.Error("request failed", "id", id, "method", v.method, "path", v.path, "error", err)
	}
	return p
}

// kindOf is the kind of a stream that was refused with a status.
func kindOf(status int) string {
	switch status {
	case http.StatusTooManyRequests:
		return "too_many"
	case http.StatusServiceUnavailable:
		return "unavailable"
	}
	return "invalid"
}

// fail answers with a problem, or cuts an answer that has begun.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	if begun(w) {
		a.Log.Debug("an answer was cut", "path", r.URL.EscapedPath(), "error", err)
		panic(http.ErrAbortHandler)
	}
	p := a.problem(r.Context(), err)
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
		h.Set("Connection", "close") // strangers do not keep connections
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		seconds := max(1, int((p.retry+time.Second-1)/time.Second))
		h.Set("Retry-After", strconv.Itoa(seconds))
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // an error is that the client is gone
}

// unreadable is an error of a part of a request.
func unreadable(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errRead, fmt.Sprintf(format, args...))
}
